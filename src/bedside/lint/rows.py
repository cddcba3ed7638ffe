"""Every row of a training set through the rules of a row, one at a time.

No tokens are held but those of the first few trained rows, which the rules of the model want.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bedside.lint import answers, reasoning, tokens
from bedside.lint.case import Case, Encoder, Overlong, Refused, Setting, cases
from bedside.lint.findings import Finding, place_of
from bedside.lint.lengths import TooLong
from bedside.lint.refusals import diagnose
from bedside.progress import bar
from bedside.recipe import RuleName
from bedside.records import Example

RowRule = Callable[[Case, Setting], str]
ROW_RULES: dict[RuleName, RowRule] = {
    "prompt-differs": tokens.prompt_differs,
    "prompt-trained": tokens.prompt_trained,
    "completion-masked": tokens.completion_masked,
    "padding-trained": tokens.padding_trained,
    "end-missing": tokens.end_missing,
    "end-doubled": tokens.end_doubled,
    "end-masked": tokens.end_masked,
    "begin-doubled": tokens.begin_doubled,
    "control-token": tokens.control_token,
    "think-unbalanced": reasoning.think_unbalanced,
    "think-whitespace": reasoning.think_whitespace,
    "reasoning-removed": reasoning.reasoning_removed,
    "text-changed": reasoning.text_changed,
    "empty-completion": answers.empty_completion,
    "letter-contradicts-answer": answers.letter_contradicts_answer,
    "label-unknown": answers.label_unknown,
    "label-contradicts-answer": answers.label_contradicts_answer,
}
"""The rules of a row; each returns what is wrong, or ""."""
ASIDE = 64


@dataclass(slots=True)
class Rows:
    """What was found, row by row: faults, the rows that are trained, those that are too long, and the first few."""

    findings: list[Finding] = field(default_factory=list)
    trained: list[Example] = field(default_factory=list)
    too_long: list[TooLong] = field(default_factory=list)
    first: list[Case] = field(default_factory=list)
    trained_tokens: int = 0
    tokens: int = 0


def check(examples: Sequence[Example], encoder: Encoder, setting: Setting) -> Rows:
    """Applies every rule of a row to every row."""
    rows = Rows()
    with bar("lint", len(examples), "rows") as advance:
        for case in cases(examples, encoder):
            match case:
                case Refused():
                    rows.findings.append(_refusal(case, setting))
                case Overlong():
                    it = case.case
                    rows.too_long.append(TooLong(place_of(it.example), len(it.ids), case.cut))
                case Case():
                    _add(rows, case, setting)
            advance(1, "")
    return rows


def faults(case: Case, setting: Setting) -> Iterator[Finding]:
    """What is wrong with a row that is trained, all errors; after a wrong prompt no place in the row means anything."""
    for name, rule in ROW_RULES.items():
        if message := rule(case, setting):
            yield Finding(name, "error", place_of(case.example), message)
            if name == "prompt-differs":
                return


def _refusal(row: Refused, setting: Setting) -> Finding:
    name, message = diagnose(row, setting)
    return Finding(name, "error", place_of(row.example), message)


def _add(rows: Rows, case: Case, setting: Setting) -> None:
    rows.findings += faults(case, setting)
    rows.trained.append(case.example)
    rows.trained_tokens += case.trained
    rows.tokens += len(case.ids)
    if len(rows.first) < ASIDE:
        rows.first.append(case)
