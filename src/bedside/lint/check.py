"""All rules over a recipe's rows, its base and what serves it → a report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bedside.errors import MissingExtra, ModelError, first_line
from bedside.export import vocabulary
from bedside.fused.packs import Row
from bedside.lint import contradictions, leaks, lengths, places, reasoning, rows, serving, shifted, weights
from bedside.lint.case import Case, Encoder, case_of
from bedside.lint.findings import Finding, NotChecked, Report, Severity, Shown, sorted_out
from bedside.lint.show import shown
from bedside.models.locate import Base
from bedside.recipe import Recipe
from bedside.records import Example
from bedside.runtime.tokenizer import load_tokenizer
from bedside.text.chat import DECISIONS

TEXTS = 16
"""Rows that llama.cpp tokenises, too."""
LOSS_TOKENS = 400
"""Tokens of the first loss, about: the shortest of the first few rows that make up so many."""
LOSS_PARAMETERS = 1_000_000_000
"""Parameters of a base from which on its first loss is left to training."""
Found = Iterator[Finding | NotChecked]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    `held` are the sets that the model is judged on, by name, and `against` the (id, text) of further ones. `gguf` is
    the file that the base's folder was made from, if it was; `served` are the finished model folders and GGUF files of
    the run, `left_out` the copies that contradict a row.
    """

    recipe: Recipe
    base: Base
    train: Sequence[Example]
    held: Mapping[str, Sequence[Example]]
    against: Mapping[str, Iterable[tuple[str, str]]] = field(default_factory=dict)
    gguf: Path | None = None
    served: tuple[Path, ...] = ()
    left_out: Sequence[contradictions.LeftOut] = ()


def lint(subject: Subject, measure_loss: bool) -> Report:
    """Everything that is wrong. With `measure_loss` a small base computes a few rows; the rest holds no weights.

    Raises ModelError if there is no tokenizer to begin with.
    """
    recipe = subject.recipe
    encoder = _encoder(subject)
    seen = rows.check(subject.train, encoder, encoder.setting(_decides(subject)))
    found = [
        *seen.findings,
        *lengths.over_max_length(seen.too_long, len(subject.train), recipe.model.max_length),
        *shifted.reasoning_shifted(seen.trained),
        *reasoning.no_reasoning(seen.trained, encoder.section),
        *contradictions.label_contradicts_copy(seen.trained, subject.held, subject.left_out),
        *leaks.train_test_leak(seen.trained, subject.held, _if_reworded(recipe), subject.against),
        *_of_templates(subject, encoder),
        *_of_tokenizer(subject, encoder, seen),
        *_of_parameters(subject),
        *_of_loss(subject, encoder, seen, measure_loss),
    ]
    findings = [one for one in found if isinstance(one, Finding)]
    allow = recipe.lint.allow if seen.trained else ()  # without a row there is nothing that could be let pass
    errors, warnings, allowed = sorted_out(findings, allow)
    return Report(
        errors=tuple(errors),
        warnings=tuple(warnings),
        allowed=tuple(allowed),
        not_checked=tuple(one for one in found if isinstance(one, NotChecked)),
        rows=len(subject.train),
        trained_tokens=seen.trained_tokens,
        tokens=seen.tokens,
        truncated_rows=len(seen.too_long),
        first=shown(seen.first[0] if seen.first else case_of(subject.train[0], encoder), encoder),
    )


def row(subject: Subject, number: int) -> Shown:
    """A training row, counted from 1, as text."""
    encoder = _encoder(subject)
    return shown(case_of(subject.train[number - 1], encoder), encoder)


def _encoder(subject: Subject) -> Encoder:
    recipe = subject.recipe
    return Encoder(recipe.prompt, load_tokenizer(subject.base.folder, recipe.prompt), recipe.model.max_length)


def _decides(subject: Subject) -> bool:
    """Whether labels are yes, no and maybe: the evaluation asks for that, or a row says so."""
    said = any(example.label in DECISIONS for example in subject.train if not example.options)
    return said or "decision" in subject.recipe.evaluate.tasks


def _if_reworded(recipe: Recipe) -> Severity:
    """Who only wants to be told of reworded items is told."""
    return "warning" if recipe.data.decontaminate == "report" else "error"


def _of_templates(subject: Subject, encoder: Encoder) -> Found:
    section, tokenizer = subject.recipe.prompt, encoder.tokenizer
    elsewhere = places.others(subject.base.folder, subject.gguf, section, tokenizer, subject.served)
    yield from serving.template_differs(places.trained(tokenizer, section), elsewhere)
    if not subject.served:
        yield NotChecked("template-differs", "nothing is exported yet that would be up to date")


def _of_tokenizer(subject: Subject, encoder: Encoder, seen: rows.Rows) -> Found:
    """Against every GGUF file that there is; where there is none yet, whether one can be written."""
    files = [path for path in (subject.gguf, *subject.served) if path and path.is_file()]
    texts = [case.served + case.said for case in seen.first[:TEXTS]]
    texts += [case.served + places.HARD_TO_SPLIT for case in seen.first[:1]]
    try:
        for path in files:
            yield from serving.tokenizer_differs(places.splits(path, encoder.tokenizer, texts))
    except (MissingExtra, ModelError) as error:
        yield NotChecked("tokenizer-differs", str(error))
    if not files:
        yield from _of_export(subject, encoder)


def _of_export(subject: Subject, encoder: Encoder) -> Found:
    """Whether the tokenizer is one that can be exported at all."""
    yield NotChecked("tokenizer-differs", "there is no GGUF file of this model yet; export compares the two")
    try:
        vocabulary.read(encoder.tokenizer, max(encoder.tokenizer.get_vocab().values()) + 1)
    except ModelError as error:
        told = f"export will refuse the tuned model: {error}"
        yield Finding("tokenizer-differs", "warning", str(subject.base.folder), told)


def _of_parameters(subject: Subject) -> Found:
    try:
        yield from weights.parameters_differ(weights.count(subject.base, subject.recipe), subject.recipe.train)
    except (ValueError, KeyError, RuntimeError) as error:  # transformers lacks it, or cannot build it without memory
        yield NotChecked("parameters-differ", first_line(error))


def _of_loss(subject: Subject, encoder: Encoder, seen: rows.Rows, measure_loss: bool) -> Found:
    size = weights.parameters(subject.base)
    chosen = _short(seen.first)
    if not measure_loss or size >= LOSS_PARAMETERS:
        reason = f"the base has {size:,} parameters; training checks its own first step"
        yield NotChecked("first-loss", reason if measure_loss else "training checks its own first step")
    elif not chosen:
        yield NotChecked("first-loss", "no row can be trained")
    else:
        try:
            loss = weights.measure(subject.base, subject.recipe, chosen, int(encoder.tokenizer.pad_token_id))
            yield from weights.first_loss(loss, subject.base.name)
        except (MissingExtra, ModelError) as error:
            yield NotChecked("first-loss", str(error))


def _short(cases: Sequence[Case]) -> list[Row]:
    """The shortest rows, up to the one that exceeds the tokens of the first loss."""
    found: list[Row] = []
    for case in sorted(cases, key=lambda case: len(case.ids)):
        if sum(len(row.ids) for row in found) < LOSS_TOKENS:
            found.append(case.row)
    return found
