"""A model card in Markdown, from what the stages of a run have written.

In: the JSON of the stages, as plain objects. Out: a README.md with Hugging Face's metadata on top
(https://huggingface.co/docs/hub/model-cards). A number that no stage has written is left out; none is made up here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedside.data import card as data_card
from bedside.models.locate import EMBEDDED_ID, EMBEDDED_NAME
from bedside.recipe import Recipe
from bedside.text.markdown import table
from bedside.text.numbers import probability
from bedside.text.prompts import NOTICE

Json = Mapping[str, Any]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TRAINED = (
    ("steps", "Optimiser steps", "{:,}"),
    ("rows", "Training rows", "{:,}"),
    ("rows_too_long", "Rows left out as too long", "{:,}"),
    ("rows_seen", "Rows seen, repeated ones counted each time", "{:,}"),
    ("trained_tokens", "Trained tokens", "{:,}"),
    ("trainable_parameters", "Trainable parameters", "{:,}"),
    ("total_parameters", "Parameters", "{:,}"),
    ("first_loss", "First loss", "{:.3f}"),
    ("final_loss", "Final loss", "{:.3f}"),
    ("precision", "Type of the frozen base", "{}"),
)
"""Keys of `train.json` that the card shows, with a label and a format."""
VERDICTS = {
    "better": "better than its base on at least one task below, and worse on none",
    "worse": "**worse** than its base on at least one task below",
    "no difference shown": "not shown to differ from its base",
    "underpowered": "not shown to differ from its base; the items were too few to tell",
}
LIMITS = (
    "It can state falsehoods fluently, with reasoning that sounds right. Check every claim against a source.",
    "The scores hold for the tasks, languages and number of items named here, and say nothing of patients.",
    "The licences of the base model and of the data apply to it; read them before you pass it on.",
    "No clinician has reviewed its answers as a part of this card, and no regulator has assessed it.",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the stages wrote: `data` (the data card), `train` (adapter), `scores` (`tasks` of each evaluation, by the
    model's role), `comparison`, `files` and `parity` (export); and of the base its name, `revision` (the hub's commit)
    and `licence`. What is not there stays empty."""

    base: str
    revision: str | None = None
    licence: str = ""
    data: Json = field(default_factory=dict)
    train: Json = field(default_factory=dict)
    scores: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    comparison: Json = field(default_factory=dict)
    files: Sequence[Json] = ()
    parity: Json = field(default_factory=dict)


def card(recipe: Recipe, evidence: Evidence) -> str:
    """The model card of a run."""
    sections = {
        "Base model": _base(evidence),
        "Data": _data(evidence.data),
        "Training": _training(recipe, evidence.train),
        "Evaluation": _evaluation(evidence),
        "Files": _files(evidence.files, evidence.parity),
        "Limits": [f"- {limit}" for limit in LIMITS],
    }
    body = [f"# {recipe.name}", "", f"> {NOTICE}", "", *_summary(recipe, evidence)]
    for title, lines in sections.items():
        body += ["", f"## {title}", "", *lines] if lines else []
    return "\n".join([*_front_matter(evidence), *body]) + "\n"


def _front_matter(evidence: Evidence) -> list[str]:
    """Metadata that the hub reads: base and data are named there if they came from there, not from a folder."""
    lines = ["---", "pipeline_tag: text-generation", "tags:", "- medical", "- lora", "- bedside"]
    known = EMBEDDED_ID if evidence.base == EMBEDDED_NAME else evidence.base
    if HUB_ID.fullmatch(known):
        lines += [f"base_model: {known}", "base_model_relation: finetune"]
    home = evidence.data.get("home") or ""
    if HUB_ID.fullmatch(home) and not evidence.data["files"]:
        lines += ["datasets:", f"- {home}"]
    return [*lines, "---", ""]


def _summary(recipe: Recipe, evidence: Evidence) -> list[str]:
    lines = [f"{evidence.base}, tuned with LoRA on medical questions and answers by Bedside."]
    verdict = VERDICTS.get(evidence.comparison.get("verdict", ""))
    if verdict:
        lines.append(f"By paired comparison the tuned model is {verdict}.")
    return [*lines, f"Prompt style `{recipe.prompt.style}`; the template is in the tokenizer and in every GGUF file."]


def _base(evidence: Evidence) -> list[str]:
    lines = [f"- Name: `{evidence.base}`"]
    if evidence.revision:
        lines.append(f"- Revision: `{evidence.revision}`")
    return [*lines, f"- Licence: {evidence.licence or 'not stated in its files'}"]


def _data(card: Json) -> list[str]:
    """The data card, each of its sections one level down."""
    lines: list[str] = []
    for title, told in data_card.sections(card).items() if card else ():
        lines += ["", f"### {title}", "", *told] if told else []
    return lines[1:]


def _training(recipe: Recipe, train: Json) -> list[str]:
    settings = recipe.train
    recipe_lines = [
        ("LoRA rank, alpha, dropout", f"{settings.rank}, {settings.alpha:g}, {settings.dropout:g}"),
        ("Targets", ", ".join(settings.targets)),
        ("Learning rate", f"{settings.lr:g}, {settings.schedule}, {settings.warmup} steps of warm-up"),
        ("Rows a step", f"{settings.batch_size} × {settings.accumulation}"),
        ("Seed", str(recipe.seed)),
    ]
    found = [(label, form.format(train[key])) for key, label, form in TRAINED if train.get(key) is not None]
    return list(table(("", ""), [*recipe_lines, *found]))


def _evaluation(evidence: Evidence) -> list[str]:
    lines: list[str] = []
    rows = [_score(role, task) for role, tasks in evidence.scores.items() for task in tasks]
    if rows:
        lines += table(("Model", "Task", "n", "Metric", "Value", "95 % interval", "Unparsed", "Baseline"), rows)
    if evidence.comparison.get("tasks"):
        heads = ("Task", "n", "Base", "Tuned", "Difference", "95 % interval", "p, adjusted", "Detectable", "Finding")
        lines += ["", "Tuned minus base, paired by item:", ""] if lines else []
        lines += table(heads, [_difference(task) for task in evidence.comparison["tasks"]])
    return lines


def _score(role: str, task: Json) -> tuple[str, ...]:
    low, high = task["ci"]
    baseline = "" if task.get("baseline") is None else f"{task['baseline']:.3f}"
    interval = f"{low:.3f} to {high:.3f}"
    return (
        role,
        task["task"],
        str(task["n"]),
        task["metric"],
        f"{task['value']:.3f}",
        interval,
        str(task["unparsed"]),
        baseline,
    )


def _difference(task: Json) -> tuple[str, ...]:
    interval = f"{task['ci'][0]:+.3f} to {task['ci'][1]:+.3f}"
    means = (f"{task['base']:.3f}", f"{task['tuned']:.3f}", f"{task['difference']:+.3f}")
    finding = task["verdict"] + ("" if task["counted"] else ", not counted")
    found = (probability(task["p_adjusted"]), f"{task['detectable']:.3f}", finding)
    return (task["task"], str(task["n"]), *means, interval, *found)


def _files(files: Sequence[Json], parity: Json) -> list[str]:
    rows = [(file["path"], file["quantisation"], f"{file['bytes']:,}", f"`{file['sha256']}`") for file in files]
    lines = list(table(("File", "Quantisation", "Bytes", "SHA-256"), rows)) if rows else []
    if parity:
        lines += ["", *_parity(parity)]
    return lines


def _parity(parity: Json) -> Iterator[str]:
    """What was found when the first file was run against the merged model."""
    same = "the same" if parity["tokens_equal"] else "**not the same**"
    yield f"The merged model and the first file read a conversation as {same} token ids."
    if parity["greedy_equal"]:
        yield "Their greedy answers are the same, token by token."
    elif "agreed_tokens" in parity:
        equal = f"{parity['agreed_tokens']} of {parity['total_tokens']}"
        yield f"Their greedy answers part: {equal} tokens are equal before the first that is not."
    if parity.get("kl_mean") is not None:
        kl, agreement = parity["kl_mean"], parity["top1_agreement"]
        yield f"Given the same text, their likeliest next token is the same at {agreement:.1%} of places,"
        yield f"and their distributions over the next token differ by {kl:.2g} nats (KL) on average."
