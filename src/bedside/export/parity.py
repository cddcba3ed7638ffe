"""Proof that what is served is what was trained.

In: base, adapter, merged model, a 16-bit GGUF file and the files that are released; held-out rows. Out: a `Parity`:
whether every place makes the same token ids of 64 conversations, whether adapter, merged model and 16-bit file continue
them alike, whether the merged weights hold the adapter once, and what each quantisation has cost. What fails is named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from bedside import progress
from bedside.errors import ModelError, UsageError
from bedside.export import architecture, readings, scales
from bedside.export.agreement import (
    Agreement,
    Item,
    Logprobs,
    Text,
    continuations,
    ids_of,
    in_groups,
    in_llama_cpp,
    in_transformers,
)
from bedside.export.conversations import Conversation, conversations
from bedside.export.ollama import problems
from bedside.export.readings import Finding, Place, Trained
from bedside.export.tensors import Tensors
from bedside.models.gguf import metadata
from bedside.recipe import ParitySection, PromptSection
from bedside.records import Example
from bedside.runtime.libllama import File
from bedside.runtime.tokenizer import encode_completion, renderer_of
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS, conversation, render_example, user_text

CONTEXT = 1024
"""Tokens of a conversation with its continuation, or of a held-out row, at most."""
TOGETHER = 16
"""Conversations that llama.cpp continues side by side."""
UNQUANTISED = ("f32", "f16")
"""Released files that are held to `max_kl_exact`."""
Endpoint = Callable[[Path], AbstractContextManager[Place]]
"""A GGUF file → the chat endpoint that serves it, as a place that reads."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is compared. `plain` is a 16-bit file made from `merged`; `files` are released, by quantisation, the served
    one first; `nf4_precision` is that of `merge`, `context` the tokens of context that the Modelfile should ask for."""

    base: Path
    adapter: Path
    merged: Path
    plain: Path
    files: Mapping[str, Path]
    modelfile: Path
    section: PromptSection
    nf4_precision: str | None = None
    context: int | None = None


@dataclass(slots=True)
class Parity:
    """What was found: `findings` is empty if all is well. `left_out` are conversations that the model cannot read.

    `skipped` tells why no model was asked what may follow; "" if all of them were.
    """

    compared: int
    left_out: int
    skipped: str = ""
    findings: list[Finding] = field(default_factory=list)
    plain: Agreement = field(default_factory=Agreement)
    adapter: Agreement = field(default_factory=Agreement)
    files: dict[str, Agreement] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        """Whether nothing is served otherwise than it was trained; None where that is not known."""
        return False if self.findings else None if self.skipped else True

    def to_json(self) -> dict[str, Any]:
        """The `parity` object of `bedside export --json`; `kl_mean` and `top1_agreement` are the served file's."""
        faults = {finding.fault for finding in self.findings}
        agreements = {} if self.skipped else {"adapter": self.adapter, "plain": self.plain, **self.files}
        measured = {name: agreement.to_json() for name, agreement in agreements.items()}
        served = {} if self.skipped else measured[next(iter(self.files))]
        return {
            "ok": self.ok,
            "tokens_equal": not faults & readings.OF_TOKENS,
            "greedy_equal": None if self.skipped else not self.plain.parted and not self.adapter.parted,
            "kl_mean": served.get("kl_mean"),
            "top1_agreement": served.get("top1_agreement"),
            "skipped": self.skipped,
            "compared": self.compared,
            "left_out": self.left_out,
            "findings": [finding.to_json() for finding in self.findings],
            "measured": measured,
        }


def check(
    release: Release,
    rows: Sequence[Example],
    limits: ParitySection,
    endpoint: Endpoint,
    lacking: str = "",
    questions: Sequence[Example] = (),
) -> Parity:
    """Compares everything; `rows` are held out, of which texts and items are taken, and more items of `questions`.

    With `lacking`, which says why the models cannot be asked, what needs none of them in memory: token ids, templates,
    and whether the weights hold the adapter. Raises UsageError if there is no row to compare on.
    """
    ours = readings.trained(release.base, release.section)
    window = min(CONTEXT, architecture.read(release.merged).context)
    texts = list(islice(_texts(ours, rows, window), limits.texts))
    if not texts and not lacking:
        raise UsageError(f"parity: no held-out row is shorter than {window} tokens, so there is nothing to compare on")
    every = conversations(ours.controls)
    asked = [it for it in every if _fits(ours, it, window - limits.tokens)]
    if not asked:
        raise UsageError(
            f"parity: of {len(every)} conversations the model can read none with parity.tokens = {limits.tokens} in its"
            f" window of {window} tokens; lower that"
        )
    found = Parity(len(asked), len(every) - len(asked), lacking)
    found.findings += _read(release, ours, asked, endpoint)
    found.findings += scales.differences(release.base, release.adapter, release.merged, release.nf4_precision)
    if lacking:
        return found
    items = list(islice(_items(ours, [*rows, *questions], window), limits.items))
    _compare(release, ours, asked, texts, items, limits, window, found)
    return found


def _fits(ours: Trained, conversation: Conversation, most: int) -> bool:
    """Whether training could read a conversation: some templates refuse a system message."""
    try:
        return len(ours.read(conversation.turns).ids) <= most
    except ModelError:
        return False


def _read(release: Release, ours: Trained, asked: Sequence[Conversation], endpoint: Endpoint) -> Iterator[Finding]:
    """How each place reads the conversations, and whether a file ends where training ends."""
    yield from readings.differences(ours, readings.of_folder(release.merged), asked)
    end = ours.tokenizer.eos_token_id
    for path in release.files.values():
        with closing(File(path, 16)) as file:
            yield from readings.differences(ours, readings.of_file(path, file), asked)
            if not file.ends(end):
                yield Finding("end-missing", path.name, f"llama.cpp goes on after token {end}, where answers end")
            yield from _rope(release.merged, path.name, file)
    served = next(iter(release.files.values()))
    with endpoint(served) as place:
        yield from readings.differences(ours, place, asked)
    yield from _modelfile(release, ours, served)


def _modelfile(release: Release, ours: Trained, served: Path) -> Iterator[Finding]:
    """What Ollama would do otherwise; what a file's template prints before training's own is meant (`convert`)."""
    about, renderer = metadata(served), renderer_of(ours.tokenizer)
    if about.template.endswith(renderer.template):
        renderer = replace(renderer, template=about.template)
    text = release.modelfile.read_text(encoding="utf-8")
    wanted = None if release.context is None else min(release.context, about.context_length)
    for line in problems(text, renderer, ours.section, [renderer.eos], about.adds_bos, wanted, served.name):
        yield Finding("stop-missing" if "PARAMETER stop" in line else "modelfile-differs", release.modelfile.name, line)


def _rope(merged: Path, name: str, file: File) -> Iterator[Finding]:
    wanted = float(architecture.read(merged).rope["rope_theta"])
    found = float(file.told(f"{file.told('general.architecture')}.rope.freq_base") or 10000.0)
    if not np.isclose(wanted, found, rtol=1e-5):
        yield Finding("rope-base", name, f"rotary base {found:g}, trained with {wanted:g}")


def _compare(
    release: Release,
    ours: Trained,
    asked: Sequence[Conversation],
    texts: Sequence[Text],
    items: Sequence[Item],
    limits: ParitySection,
    window: int,
    found: Parity,
) -> None:
    """Fills the agreements of `found`, all of them with the merged model."""
    merged = in_transformers(release.merged)
    tuned = in_transformers(release.base, release.adapter, release.nf4_precision)
    prompts = [ours.read(it.turns).ids for it in asked]
    rows: list[Text | Item] = sorted([*texts, *items], key=ids_of)  # what begins alike is read one after the other
    with progress.bar("parity", len(asked) + len(release.files) * len(rows), "comparisons") as advance:
        room = max(map(len, prompts)) + limits.tokens
        with closing(File(release.plain, room, TOGETHER)) as file:
            for ended in in_groups(continuations(file, prompts, limits.tokens), lambda one: one.text):
                said = [one.text for one in ended]
                for one, ours_TV, tuned_TV in zip(ended, merged(said), tuned(said), strict=True):
                    where = asked[one.place].question
                    found.plain.add(ours_TV, np.stack(one.rows), one.said, where)
                    found.adapter.add(ours_TV, tuned_TV, one.said, where)
                    advance(1, "adapter, 16-bit file")
        del tuned
        found.files.update((name, Agreement()) for name in release.files)
        with ExitStack() as opened:
            files = {name: opened.enter_context(closing(File(path, window))) for name, path in release.files.items()}
            for group in in_groups(rows, lambda row: row):
                ours_read = merged(group)
                for name, file in files.items():
                    _add(found.files[name], group, ours_read, in_llama_cpp(file)(group))
                    advance(len(group), name)
    found.findings += _judged(release, found, limits)


def _add(
    into: Agreement, rows: Sequence[Text | Item], reference: Sequence[Logprobs], other: Sequence[Logprobs]
) -> None:
    for row, ours_TV, theirs_TV in zip(rows, reference, other, strict=True):
        if isinstance(row, Item):
            into.add_item(ours_TV[0], theirs_TV[0], row.candidates)
        else:
            into.add(ours_TV, theirs_TV, row.completion)


def _judged(release: Release, found: Parity, limits: ParitySection) -> Iterator[Finding]:
    """What the agreements say against the recipe's limits."""
    for agreement, name in ((found.adapter, "merged model"), (found.plain, "16-bit file")):
        told = agreement.to_json()
        if agreement.broken:
            yield Finding("weights-differ", name, f"no number at {agreement.broken} places, as after an overflow")
        elif agreement.parted or told["kl_mean"] > limits.max_kl_exact:
            parted = told["first_difference"]
            where = f"; parts from token {parted['position']} on after {parted['where']!r}" if parted else ""
            shown = f"KL {told['kl_mean']:.2g} nats a token, allowed {limits.max_kl_exact:g}{where}"
            turned = agreement is found.plain and _turned(release.merged, release.plain)
            yield Finding("rotary-order" if turned else "weights-differ", name, turned or shown)
    for name, agreement in found.files.items():
        yield from _broken(name, agreement, limits)


def _broken(name: str, agreement: Agreement, limits: ParitySection) -> Iterator[Finding]:
    told = agreement.to_json()
    changed = told["flips"] / told["items"] if told["items"] else 0.0
    measured = (
        ("places without a number", told["broken"], 0),
        ("KL", told["kl_mean"], limits.max_kl_exact if name in UNQUANTISED else limits.max_kl),
        ("perplexity ratio", told["perplexity_ratio"], limits.max_perplexity_ratio),
        ("share of answers changed", changed, limits.max_flips),
        ("share of other first choices", 1 - told["top1_agreement"], 1 - limits.min_top1),
    )
    if wrong := [f"{what} {value:.3g}, allowed {most:.3g}" for what, value, most in measured if value > most]:
        yield Finding("quantisation-broke", name, "; ".join(wrong))


def _turned(merged: Path, plain: Path) -> str:
    """One line if the file holds a query projection's rows in transformers' order; "" if not."""
    model, weights = architecture.read(merged), Tensors.of_model(merged)
    name, stored = next((a, b) for a, b in model.gguf_names(weights.entries).items() if b == "blk.0.attn_q.weight")
    tensor = next(it for it in gguf.GGUFReader(plain).tensors if it.name == stored)
    held, values = gguf.quants.dequantize(tensor.data, tensor.tensor_type), weights.read(name)
    right, left = (float(np.abs(held - it).max()) for it in (model.arrange(name, values), values))
    return f"{stored} has its rows in transformers' order, so positions are turned wrongly" if left < right else ""


def _texts(ours: Trained, rows: Sequence[Example], window: int) -> Iterator[Text]:
    """Rows as they are trained, those that fit."""
    for row in rows:
        it = render_example(row, ours.section, renderer_of(ours.tokenizer))
        prompt, completion = encode_completion(ours.tokenizer, it.prompt, it.completion)
        if len(prompt) + len(completion) <= window:
            yield Text(tuple(prompt), tuple(completion))


def _items(ours: Trained, rows: Sequence[Example], window: int) -> Iterator[Item]:
    """Rows that are answered by a letter or a decision, asked for it at once."""
    for row in rows:
        words = LETTERS[: len(row.options)] if row.options else DECISIONS if row.label in DECISIONS else ()
        if not words:
            continue
        messages = conversation(user_text(row), ours.section)
        text = renderer_of(ours.tokenizer).render(messages, generation=True)
        text += think.closed(text) if ours.section.reasoning == "think" else ""
        pairs = [encode_completion(ours.tokenizer, text, word) for word in words]
        if len(pairs[0][0]) <= window:
            yield Item(tuple(pairs[0][0]), tuple(first for _, (first, *_) in pairs))
