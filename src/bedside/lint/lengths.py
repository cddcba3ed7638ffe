"""Rows that are longer than `model.max_length`: they are left out of training whole, never cut."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bedside.lint.case import Part
from bedside.lint.findings import Finding, Severity

MOST = 0.5
"""Share of the rows above which their loss is an error: what is left is another data set."""
PARTS: tuple[Part, ...] = ("prompt", "reasoning", "answer")


@dataclass(frozen=True, slots=True)
class TooLong:
    """A row that is left out: its length, and what a cut at `model.max_length` would have gone through."""

    where: str
    tokens: int
    cut: Part


def over_max_length(too_long: Sequence[TooLong], rows: int, max_length: int) -> Iterator[Finding]:
    """One finding for all of `rows` that are too long."""
    if not too_long:
        return
    severity: Severity = "error" if len(too_long) > MOST * rows else "warning"
    cuts = Counter(row.cut for row in too_long)
    hit = ", ".join(f"the {part} of {cuts[part]}" for part in PARTS if cuts[part])
    longest = max(too_long, key=lambda row: row.tokens)
    all_are = len(too_long) == rows
    lost = f"{'all' if all_are else f'{len(too_long)} of'} {rows} rows are longer and are left out"
    message = (
        f"{lost}{', so that nothing is left to train' if all_are else ''}; a cut would have gone through {hit};"
        f" the longest has {longest.tokens} tokens ({longest.where})"
    )
    yield Finding("over-max-length", severity, f"model.max_length = {max_length}", message)
