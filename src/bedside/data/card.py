"""The data card: what the rows are, whence they come, under which licence, and what was done to them.

In: the recipe's data section, the statistics of the stage, and the hashes of its files. Out: plain JSON, and the same
as Markdown. It answers those questions of "Datasheets for Datasets" (arXiv:1803.09010) that a program can answer, under
the heads of Hugging Face's dataset cards. What is not known is said to be unknown: above all, no licence is guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bedside.data.origins import ORIGINS, UNCHECKED, Origin
from bedside.data.sources import SOURCES, STARTER
from bedside.data.stats import CONTAINS, CONTRADICTS, EXACT, NEAR, OVER_LIMIT, Json
from bedside.recipe import DataSection
from bedside.text.markdown import table
from bedside.text.prompts import NOTICE

NOT_STATED = "not stated; set data.licence"
FILTERS = {
    "empty question": "data.on_empty = '{on_empty}'",
    "empty answer": "data.on_empty = '{on_empty}'",
    "over data.max_characters": "data.max_characters = {max_characters:,}",
    "encoding damage": "",
    "one-word answer": "data.min_answer_words = {min_answer_words}",
    "question equal to answer": "",
    EXACT: "",
    CONTRADICTS: "",
    OVER_LIMIT: "data.limit = {limit}",
    NEAR: "data.near_duplicates = {near_duplicates:g}",
}
"""Reason → the setting that governs it, in the order in which rows meet them."""
SHORT = "answer of fewer than "
LIMITS = (
    "The filters look at the form of a row, and not at whether it is true.",
    "No filter looks for personal data: take names, dates and numbers out of rows about real patients beforehand.",
)
ACTIONS = {"drop": "left out", "report": "kept"}
CHANGES = {
    "unicode": "Unicode composed (NFC)",
    "characters": "control and invisible characters removed",
    "html": "HTML tags and entities resolved",
    "mojibake": "wrongly decoded characters restored",
    "whitespace": "spaces and line breaks evened out",
}
"""Kinds of cleaning in words."""


def card(
    name: str, section: DataSection, stats: Mapping[str, Any], files: Sequence[Json], revision: str | None = None
) -> Json:
    """The card of a recipe's data stage; `files` is what `described` made, `revision` a hub data set's commit."""
    home = section.path or SOURCES[section.source].path
    origin = ORIGINS.get(home or "")
    licence = section.licence or (origin.licence if origin else NOT_STATED)
    return {
        "name": name,
        "source": section.source,
        "title": origin.title if origin else "",
        "home": "embedded" if home == str(STARTER / "train") else home,
        "subset": None if files else section.subset or (SOURCES[section.source].subset if origin else None),
        "revision": revision,
        "licence": licence,
        "citation": origin.citation if origin else "",
        "made": origin.made if origin else "",
        "files": list(files),
        "rows": {
            "read": stats["read"],
            "kept": stats["kept"],
            "left_out": sum(stats["dropped"].values()),
            "splits": stats["splits"],
        },
        "filters": _filters(section, stats["dropped"]),
        "changed": [{"change": CHANGES.get(kind, kind), "rows": rows} for kind, rows in stats["changed"].items()],
        "contamination": [contaminated(found) for found in stats["contamination"]],
        "limits": _limits(origin, licence, stats["contamination"]),
        "notice": NOTICE,
    }


def described(digests: Mapping[str, str]) -> list[Json]:
    """`path`, `sha256` and `bytes` of each file of `sources.fingerprint`; a data set on the hub has none."""
    files = []
    for name, sha256 in digests.items():
        path = Path(name)
        if path.is_file():
            shown = path.relative_to(STARTER.parent) if path.is_relative_to(STARTER) else path
            files.append({"path": str(shown), "sha256": sha256, "bytes": path.stat().st_size})
    return files


def contaminated(found: Mapping[str, Any]) -> str:
    """What was found of one evaluation set, in a line."""
    if not found["hit_items"]:
        return f"{found['set']}: none of its {found['items']:,} items is in the training rows"
    rows = f"{found['rows']:,} training {'row' if found['rows'] == 1 else 'rows'}"
    then = ACTIONS.get(found["action"], found["action"])
    return f"{found['set']}: {found['hit_items']:,} of its {found['items']:,} items found in {rows}, {then}"


def markdown(card: Json) -> str:
    """The card as a document; its sections are those that the model card takes over."""
    body = [f"# Data of {card['name']}", "", f"> {card['notice']}"]
    for title, lines in sections(card).items():
        body += ["", f"## {title}", "", *lines] if lines else []
    return "\n".join(body) + "\n"


def sections(card: Mapping[str, Any]) -> dict[str, list[str]]:
    """Title → Markdown lines, an empty list where there is nothing to say."""
    changed = [f"- {row['change']}: {row['rows']:,}" for row in card["changed"]]
    filters = [
        (row["reason"], f"`{row['setting']}`" if row["setting"] else "", f"{row['rows']:,}") for row in card["filters"]
    ]
    files = [(f"`{file['path']}`", f"{file['bytes']:,}", f"`{file['sha256']}`") for file in card["files"]]
    return {
        "Source": list(_source(card)),
        "Rows": [told_rows(card["rows"])],
        "Left out": list(table(("Reason", "Setting", "Rows"), filters)),
        "Altered by cleaning": ["Rows kept, by kind of change; one row may have several.", "", *changed]
        if changed
        else [],
        "Contamination": [f"- {line}" for line in card["contamination"]],
        "Files": list(table(("File", "Bytes", "SHA-256"), files)) if files else [],
        "Limits": [f"- {limit}" for limit in card["limits"]],
    }


def told_rows(rows: Any) -> str:
    """The card's `rows` in a line. They may be of any kind that has an object's keys and items and writes its numbers
    itself: the model card passes values that cite their place."""
    splits = ", ".join(f"{split} {count:,}" for split, count in rows["splits"].items())
    return f"{rows['read']:,} read = {rows['kept']:,} kept + {rows['left_out']:,} left out. Kept: {splits}."


def _filters(section: DataSection, dropped: Mapping[str, int]) -> list[Json]:
    """Every filter in force with the rows that it took, none included, and every other reason that occurred."""
    settings = section.model_dump()
    known = [reason for reason in FILTERS if reason != OVER_LIMIT or section.limit is not None]
    reasons = [*known, *(reason for reason in dropped if reason not in known)]
    return [
        {"reason": reason, "setting": _setting(reason).format(**settings), "rows": dropped.get(reason, 0)}
        for reason in reasons
    ]


def _setting(reason: str) -> str:
    if reason.startswith(CONTAINS):
        return "data.decontaminate = '{decontaminate}'"
    return FILTERS.get("one-word answer" if reason.startswith(SHORT) else reason, "")


def _limits(origin: Origin | None, licence: str, contamination: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [origin.checked if origin else UNCHECKED, *LIMITS]
    if licence == NOT_STATED:
        found.append(
            "The licence is not stated: find it before passing on these rows, or a model that was tuned on them."
        )
    if not contamination:
        found.append("These rows were not compared with any evaluation set.")
    return found


def _source(card: Mapping[str, Any]) -> Iterator[str]:
    place = f"`{card['home']}`" + "".join(f", {key} `{card[key]}`" for key in ("subset", "revision") if card[key])
    yield f"- Source: {card['title'] + ', ' if card['title'] else ''}{place}, read as `{card['source']}`"
    yield f"- Licence: {' '.join(card['licence'].split())}"
    yield from (
        f"- {head}: {card[key]}" for head, key in (("Citation", "citation"), ("How it was made", "made")) if card[key]
    )
