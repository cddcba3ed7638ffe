"""A model card in Markdown, from what the stages of a run have written.

In: the files in a release's `evidence/` folder. Out: a README.md with Hugging Face's metadata on top
(https://huggingface.co/docs/hub/model-cards). Every value that a stage found is a link to the file and the place in it
(`bedside.export.cited`), the files are listed with their SHA-256, and `bedside export --verify` reads both again. What
no stage has written is left out; a number that is not cited cannot be written.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bedside.data.card import told_rows
from bedside.export import release
from bedside.export.cited import Cited, bound, hash_row
from bedside.files import read_json
from bedside.models.locate import HUB_ID
from bedside.text.markdown import table
from bedside.text.prompts import NOTICE

SETTINGS = (
    ("rank", "LoRA rank", ""),
    ("alpha", "LoRA alpha", "g"),
    ("dropout", "LoRA dropout", "g"),
    ("targets", "Targets", ""),
    ("lr", "Learning rate", "g"),
    ("schedule", "Schedule", ""),
    ("warmup", "Steps of warm-up", ""),
    ("batch_size", "Rows at once", ""),
    ("accumulation", "Times accumulated for a step", ""),
)
"""Keys of the recipe's `[train]` that the card shows, with a label and a form."""
TRAINED = (
    ("steps", "Optimiser steps", ","),
    ("rows", "Training rows", ","),
    ("rows_too_long", "Rows left out as too long", ","),
    ("rows_seen", "Rows seen, repeated ones counted each time", ","),
    ("trained_tokens", "Trained tokens", ","),
    ("trainable_parameters", "Trainable parameters", ","),
    ("total_parameters", "Parameters", ","),
    ("first_loss", "First loss", ".3f"),
    ("final_loss", "Final loss", ".3f"),
    ("validation_loss", "Validation loss of the update kept", ".3f"),
    ("precision", "Type of the frozen base", ""),
    ("device", "Hardware", ""),
    ("processes", "Processes", ","),
    ("seconds", "Seconds", ",.1f"),
    ("tokens_per_s", "Tokens a second", ",.1f"),
    ("peak_memory_gib", "Memory at its peak, GiB", ",.1f"),
)
"""The same of `train.json`."""
COMPARED = (
    ("compared", "Conversations compared", ","),
    ("left_out", "Conversations that the model cannot read", ","),
    ("tokens_equal", "They become the same token ids in training, merged model, files and chat endpoint", ""),
    ("greedy_equal", "Adapter, merged model and unquantised file continue them alike", ""),
)
"""The same of the parity check."""
AGREED = (("kl_mean", ".2g"), ("top1_agreement", ".1%"), ("perplexity_ratio", ".3f"), ("flips", ","), ("items", ","))
"""The same of each model and file that was compared with the merged model."""
VERDICTS = {
    "better": "better than its base on at least one task below, and worse on none",
    "worse": "**worse** than its base on at least one task below",
    "no difference shown": "not shown to differ from its base",
    "underpowered": "not shown to differ from its base; the items were too few to tell",
}
NOT_CHECKED = (
    "> **Unverified.** It was not wholly checked whether the exported file says what the trained model says. Do not"
    " rely on the scores below for it."
)
UNVERIFIED = (
    "> **Unverified.** The exported file was not shown to say what the trained model says. Do not rely on the scores"
    " below for it."
)
INTENDED = (
    "Research and teaching about fine-tuning: what so many rows and steps do to a model of this size, and how to tell.",
    "Out of scope: any decision about a patient, advice to patients, triage, coding or billing, and any use in which"
    " nobody who knows the subject reads the answer before it is used.",
)
LIMITS = (
    "It can state falsehoods fluently, with reasoning that sounds right. Check every claim against a source.",
    "The scores hold for the tasks, languages and number of items named here, and say nothing of patients.",
    "The licences of the base model and of the data apply to it; read them before you pass it on.",
    "No clinician has reviewed its answers as a part of this card, and no regulator has assessed it.",
)
SOURCES = (
    "Every value above is a link to the file and the place that it was read from. `bedside export --verify README.md`"
    " reads each again, here or wherever these files lie; `sha256sum -c SHA256SUMS` compares the files alone."
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the stages wrote: the recipe, the data card, `train.json`, `scores.json` by the model's role, the
    comparison, and of the export the `base`, the `files` and the `parity`. What is not there is an empty object."""

    recipe: Cited
    data: Cited
    train: Cited
    scores: Mapping[str, Cited]
    comparison: Cited
    export: Cited

    @classmethod
    def read(cls, folder: Path) -> "Evidence":
        """The evidence of a release folder."""

        def one(path: str) -> Cited:
            file = folder / path
            if not file.is_file():
                return Cited.root(path, {})
            return Cited.root(path, parsed(file))

        return cls(
            recipe=one(release.RECIPE),
            data=one(release.DATA),
            train=one(release.TRAIN),
            scores={role: one(release.scores(role)) for role in release.ROLES},
            comparison=one(release.COMPARISON),
            export=one(release.EXPORT),
        )


def parsed(path: Path) -> object:
    """What a file of the evidence holds: TOML by its suffix, else JSON. Raises DataError if it does not."""
    if path.suffix != ".toml":
        return read_json(path)
    return tomllib.loads(path.read_text(encoding="utf-8"))


def card(evidence: Evidence, hashes: Mapping[str, str]) -> str:
    """The model card; `hashes` are the release's files by path, all but the card itself."""
    sections = {
        "Intended use": _bullets(INTENDED),
        "Base model": _base(evidence.export.get("base")),
        "Data": _data(evidence.data),
        "Training": _training(evidence),
        "Evaluation": _evaluation(evidence),
        "Files": _files(evidence.export),
        "Limits": _bullets(LIMITS),
        "Sources": _sources(hashes),
    }
    body = [f"# {evidence.recipe['name']}", "", f"> {NOTICE}", "", *_summary(evidence)]
    for title, lines in sections.items():
        body += ["", f"## {title}", "", *lines] if lines else []
    return bound("\n".join([*_front_matter(evidence), *body]))


def is_verified(export: Mapping[str, object]) -> bool:
    """Whether an export was shown to say what was trained; not where nobody has looked."""
    parity = export.get("parity")
    return isinstance(parity, Mapping) and parity.get("ok") is True


def _front_matter(evidence: Evidence) -> list[str]:
    """Metadata that the hub reads: base and data are named there if they came from there, not from a folder."""
    tags = ["medical", "lora", "gguf", "bedside"] + ([] if is_verified(evidence.export.value) else ["unverified"])
    lines = ["---", "pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in tags)]
    base = evidence.export.get("base")
    if base and (home := base.get("id")):
        lines += [f"base_model: {home.yaml()}", "base_model_relation: finetune"]
    data = _on_the_hub(evidence.data)
    if data:
        lines += ["datasets:", f"- {data.yaml()}", *_model_index(evidence, data)]
    return [*lines, "---", ""]


def _on_the_hub(data: Cited) -> Cited | None:
    home = data.get("home")
    return home if home and not data["files"] and HUB_ID.fullmatch(home.value) else None


def _model_index(evidence: Evidence, data: Cited) -> Iterator[str]:
    """Accuracies of the tuned model on held-out rows of a data set that others can find, exact and with their n.

    Format: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    tasks = [task for task in evidence.scores["tuned"].get("tasks") or () if _is_exact(task)]
    if not tasks:
        return
    yield from ("model-index:", f"- name: {evidence.recipe['name'].yaml()}", "  results:")
    for task in tasks:
        yield from ("  - task:", "      type: text-generation", f"      name: {task['task'].yaml()}", "    dataset:")
        yield from (f"      type: {data.yaml()}", f"      name: {data.yaml()}")
        if subset := evidence.data.get("subset"):
            yield f"      config: {subset.yaml()}"
        if revision := evidence.data.get("revision"):
            yield f"      revision: {revision.yaml()}"
        yield from ("    metrics:", "    - type: accuracy", f"      value: {task['value'].yaml()}", "      args:")
        yield from (f"        n: {task['n'].yaml()}", f"        low: {task['ci'][0].yaml()}")
        yield f"        high: {task['ci'][1].yaml()}"


def _is_exact(task: Cited) -> bool:
    return bool(task["metric"].value == "accuracy") and str(task["task"].value).startswith("decision")


def _summary(evidence: Evidence) -> list[str]:
    base, verdict = evidence.export.get("base"), evidence.comparison.get("verdict")
    name = f"{base['name']}" if base else "A model"
    parity = evidence.export.get("parity")
    refuted = parity is not None and (ok := parity.get("ok")) is not None and not ok.value
    lines = [] if is_verified(evidence.export.value) else [UNVERIFIED if refuted else NOT_CHECKED, ""]
    lines.append(f"{name}, tuned with LoRA on medical questions and answers by Bedside.")
    if verdict and verdict.value in VERDICTS:
        lines.append(f"Verdict of the paired comparison: **{verdict}**. The tuned model is {VERDICTS[verdict.value]}.")
    style = evidence.recipe["prompt"]["style"]
    return [*lines, f"Prompt style {style}; the template is in the tokenizer and in every GGUF file."]


def _base(base: Cited | None) -> list[str]:
    if not base:
        return []
    lines = [f"- Name: {base['name']}"]
    if revision := base.get("revision"):
        lines.append(f"- Revision: {revision}")
    return [*lines, f"- Licence: {base.get('licence') or 'not stated in its files'}"]


def _data(card: Cited) -> list[str]:
    """The data card, each of its sections one level down."""
    if not card:
        return []
    filters = [(f"{row['reason']}", f"{row.get('setting') or ''}", f"{row['rows']:,}") for row in card["filters"]]
    changed = [f"- {row['change']}: {row['rows']:,}" for row in card["changed"]]
    files = [(f"{file['path']}", f"{file['bytes']:,}", f"{file['sha256']}") for file in card["files"]]
    sections = {
        "Source": list(_source(card)),
        "Rows": [told_rows(card["rows"])],
        "Left out": list(table(("Reason", "Setting", "Rows"), filters)),
        "Altered by cleaning": ["Rows kept, by kind of change; one row may have several.", "", *changed]
        if changed
        else [],
        "Contamination": _bullets(card["contamination"]),
        "Files read": list(table(("File", "Bytes", "SHA-256"), files)) if files else [],
        "Limits of the data": _bullets(card["limits"]),
    }
    lines: list[str] = []
    for title, told in sections.items():
        lines += ["", f"### {title}", "", *told] if told else []
    return lines[1:]


def _source(card: Cited) -> Iterator[str]:
    title = f"{card['title']}, " if card["title"] else ""
    place = f"{card['home']}" + "".join(f", {key} {card[key]}" for key in ("subset", "revision") if card[key])
    yield f"- Source: {title}{place}, read as {card['source']}"
    yield f"- Licence: {card['licence']}"
    yield from (
        f"- {head}: {card[key]}" for head, key in (("Citation", "citation"), ("How it was made", "made")) if card[key]
    )


def _training(evidence: Evidence) -> list[str]:
    settings = evidence.recipe["train"]
    rows = [(label, f"{settings[key]:{form}}") for key, label, form in SETTINGS]
    rows.append(("Seed", f"{evidence.recipe['seed']}"))
    return list(table(("", ""), [*rows, *_found(evidence.train, TRAINED)]))


def _found(values: Cited, wanted: tuple[tuple[str, str, str], ...]) -> list[tuple[str, str]]:
    """Rows of a table: what is there of what is wanted, with its label."""
    return [(label, f"{value:{form}}") for key, label, form in wanted if (value := values.get(key)) is not None]


def _evaluation(evidence: Evidence) -> list[str]:
    lines: list[str] = []
    rows = [_score(role, task) for role, found in evidence.scores.items() for task in found.get("tasks") or ()]
    if rows:
        lines += table(("Model", "Task", "n", "Metric", "Value", "95 % interval", "Unparsed", "Baseline"), rows)
    if tasks := evidence.comparison.get("tasks"):
        heads = ("Task", "n", "Base", "Tuned", "Difference", "95 % interval", "p, adjusted", "Detectable", "Finding")
        lines += ["", "Tuned minus base, paired by item:", ""] if lines else []
        lines += table(heads, [_difference(task) for task in tasks])
    return lines


def _score(role: str, task: Cited) -> tuple[str, ...]:
    low, high = task["ci"]
    baseline = task.get("baseline")
    return (
        role,
        f"{task['task']}",
        f"{task['n']:,}",
        f"{task['metric']}",
        f"{task['value']:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{task['unparsed']:,}",
        "" if baseline is None else f"{baseline:.3f}",
    )


def _difference(task: Cited) -> tuple[str, ...]:
    low, high = task["ci"]
    means = (f"{task['base']:.3f}", f"{task['tuned']:.3f}", f"{task['difference']:+.3f}")
    finding = f"{task['verdict']}" + ("" if task["counted"] else ", not counted")
    found = (f"{task['p_adjusted']:p}", f"{task['detectable']:.3f}", finding)
    return (f"{task['task']}", f"{task['n']:,}", *means, f"{low:+.3f} to {high:+.3f}", *found)


def _files(export: Cited) -> list[str]:
    files = export.get("files")
    rows = [(f"{file['path']}", f"{file['quantisation']}", f"{file['bytes']:,}") for file in files or ()]
    lines = list(table(("File", "Quantisation", "Bytes"), rows)) if rows else []
    parity = export.get("parity")
    compared = _found(parity, COMPARED) if parity else []
    if compared:
        lines += ["", "Beside the merged model:", "", *table(("", ""), compared)]
    if findings := parity and parity.get("findings"):
        lines += ["", "What is served otherwise than it was trained:", ""]
        lines += [f"- {finding['fault']}" for finding in findings]
    if measured := parity and parity.get("measured"):
        heads = ("Compared", "KL, nats a token", "Same first choice", "Perplexity ×", "Answers changed", "Items")
        named = [("base with the adapter", "adapter"), ("unquantised file", "plain")]
        named += [(f"{file['quantisation']}", f"{file['quantisation'].value}") for file in files or ()]
        lines += ["", *table(heads, [_agreed(name, measured[key]) for name, key in named if measured.get(key)])]
    return lines


def _agreed(name: str, found: Cited) -> tuple[str, ...]:
    return (name, *(f"{found[key]:{form}}" for key, form in AGREED))


def _sources(hashes: Mapping[str, str]) -> list[str]:
    rows = [hash_row(path, value) for path, value in sorted(hashes.items())]
    return [SOURCES, "", *table(("File", "SHA-256"), rows)]


def _bullets(texts: "Cited | tuple[str, ...]") -> list[str]:
    return [f"- {text}" for text in texts]
