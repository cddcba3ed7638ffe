"""Rows that are longer than `model.max_length`: they are left out of training whole, never cut."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bedside.lint.case import Overlong, Part
from bedside.lint.findings import Finding, Severity, place_of

MOST = 0.5
"""Share of the rows above which their loss is an error: what is left is another data set."""
PARTS: tuple[Part, ...] = ("prompt", "reasoning", "answer")


def over_max_length(overlong: Sequence[Overlong], rows: int, max_length: int) -> Iterator[Finding]:
    """One finding for all of `rows` that are too long: how many, how long, and what a cut would have gone through."""
    if not overlong:
        return
    severity: Severity = "error" if len(overlong) > MOST * rows else "warning"
    cuts = Counter(row.cut for row in overlong)
    hit = ", ".join(f"the {part} of {cuts[part]}" for part in PARTS if cuts[part])
    longest = max((row.case for row in overlong), key=lambda case: len(case.ids))
    message = (
        f"{len(overlong)} of {rows} rows are longer and are left out; a cut would have gone through {hit};"
        f" the longest has {len(longest.ids)} tokens ({place_of(longest.example)})"
    )
    yield Finding("over-max-length", severity, f"model.max_length = {max_length}", message)
