"""What lint finds: single findings, what could not be checked, and the report of both.

A rule that is broken by 5,000 rows is told with its first 1,000 and the count of all.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bedside.recipe import RuleName
from bedside.records import Example, pairs

Severity = Literal["error", "warning"]
LISTED = 1_000
"""Findings of a rule and severity that are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `where` is the file and line of a row, or the setting, file or part of the model that is at fault."""

    rule: RuleName
    severity: Severity
    where: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Without the severity, which the list that it stands in tells."""
        return {"rule": self.rule, "where": self.where, "message": self.message}


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A rule that could not be applied, and why; nothing is passed over in silence."""

    rule: RuleName
    reason: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a row's text: trained or only read, special tokens or words."""

    text: str
    trained: bool
    special: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as text; `note` says why it is not trained as it stands, if it is not."""

    where: str
    pieces: tuple[Piece, ...]
    prompt_tokens: int
    trained_tokens: int
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """With the two halves as whole texts, too."""
        return {
            "where": self.where,
            "prompt": "".join(piece.text for piece in self.pieces if not piece.trained),
            "trained": "".join(piece.text for piece in self.pieces if piece.trained),
            "prompt_tokens": self.prompt_tokens,
            "trained_tokens": self.trained_tokens,
            "note": self.note,
            "pieces": [dict(pairs(piece)) for piece in self.pieces],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found. `errors` leaves out what the recipe allows, which is in `allowed`."""

    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    allowed: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]
    rows: int
    trained_tokens: int
    tokens: int
    truncated_rows: int
    first: Shown

    def to_json(self) -> dict[str, Any]:
        """The object of `bedside lint --json`."""
        kinds = {"errors": self.errors, "warnings": self.warnings, "allowed": self.allowed}
        return {
            **{kind: [finding.to_json() for finding in listed(found)] for kind, found in kinds.items()},
            "counts": {kind: counted(found) for kind, found in kinds.items()},
            "not_checked": [dict(pairs(one)) for one in self.not_checked],
            "rows": self.rows,
            "trained_tokens": self.trained_tokens,
            "tokens": self.tokens,
            "truncated_rows": self.truncated_rows,
            "first_example": self.first.to_json(),
        }


def place_of(example: Example) -> str:
    """The file and line of a row; its id where the source tells none."""
    return example.where or example.id


def counted(findings: Iterable[Finding]) -> dict[str, int]:
    """Rule → number of findings, in the order in which the rules were first broken."""
    return dict(Counter(str(finding.rule) for finding in findings))


def listed(findings: Iterable[Finding]) -> list[Finding]:
    """The first `LISTED` of each rule, rule by rule, in the order in which the rules were first broken."""
    by_rule: dict[RuleName, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    return [finding for found in by_rule.values() for finding in found[:LISTED]]


def sorted_out(findings: Sequence[Finding], allow: Sequence[RuleName]) -> tuple[list[Finding], ...]:
    """(errors, warnings, allowed): what the recipe allows is no error any more."""
    errors = [f for f in findings if f.severity == "error" and f.rule not in allow]
    warnings = [f for f in findings if f.severity == "warning"]
    return errors, warnings, [f for f in findings if f.severity == "error" and f.rule in allow]
