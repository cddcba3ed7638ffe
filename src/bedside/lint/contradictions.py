"""Rows that ask the same and have other labels, so that one of the two is wrong.

In: the rows that are trained, the sets that the model is judged on, and the copies that the data stage left out for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bedside.data.questions import Questions, says
from bedside.data.stats import CONTRADICTS
from bedside.files import read_jsonl
from bedside.lint.findings import Finding, place_of
from bedside.records import Example

LeftOut = tuple[Example, str]
"""A row that is no longer there, and the place of the one that stays for it."""


def label_contradicts_copy(
    train: Sequence[Example], held: Mapping[str, Sequence[Example]], left_out: Iterable[LeftOut] = ()
) -> Iterator[Finding]:
    """A finding for each row that contradicts an earlier one."""
    for example, kept in left_out:
        yield _finding(example, f"and is left out; {kept}, which stays, asks the same and has another label")
    for name, rows in {"": train, **held}.items():
        asked = Questions(rows)
        then = f"both are in {name}, on which the model is judged" if name else "both are trained"
        for example in rows:
            if first := asked.contradicted(example):
                yield _finding(example, f"where {place_of(first)} asks the same and has {says(first)!r}; {then}")


def left_out(folder: Path) -> Iterator[LeftOut]:
    """The contradicting copies of a finished data stage."""
    for _, row in read_jsonl(folder / "dropped.jsonl"):
        reason, of = row.pop("reason"), row.pop("of", "")
        if reason == CONTRADICTS:
            yield Example.from_json(row), of


def _finding(example: Example, told: str) -> Finding:
    return Finding("label-contradicts-copy", "warning", place_of(example), f"it has {says(example)!r}, {told}")
