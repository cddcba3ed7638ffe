"""What fine-tuning may cost a model beside its task: general knowledge, and doing as it is told.

Out: items of two embedded sets (`data/forgetting/README.md`) as `Example`s, which base and tuned model answer alike,
and the score of an answer to an instruction. General questions are scored as any other choice.
"""

from functools import cache
from pathlib import Path

from bedside.data.read import Row, read_path
from bedside.data.shapes import Columns, plain
from bedside.data.sources import read_choices
from bedside.evaluate.constraints import Check
from bedside.records import Example

FORGETTING = Path(__file__).parents[1] / "data" / "forgetting"
GENERAL = FORGETTING / "general.jsonl"
INSTRUCTIONS = FORGETTING / "instructions.jsonl"


def general() -> list[Example]:
    """150 questions with four options; `subject` is the field, and the id tells field and difficulty."""
    return read_choices(str(GENERAL))


def instructions() -> list[Example]:
    """65 prompts; `answer` is one text of many that meet every check."""
    return [plain(Columns(where, row, {})) for where, row in read_path(str(INSTRUCTIONS), None)]


@cache
def checks() -> dict[str, tuple[Check, ...]]:
    """{id of an instruction: what is checked of its answer}."""
    return {row["id"]: tuple(map(_check, row["checks"])) for _, row in read_path(str(INSTRUCTIONS), None)}


def _check(row: Row) -> Check:
    return Check(row["check"], {name: value for name, value in row.items() if name != "check"})


def score_instruction(item: Example, answer: str) -> Row:
    """1 where every check is met; `loose` is the same in the loose reading, `unmet` names what was not (strictly)."""
    asked = checks()[item.id]
    return {
        "id": item.id,
        "score": float(all(check.met(answer) for check in asked)),
        "loose": float(all(check.met_loosely(answer) for check in asked)),
        "unmet": [check.name for check in asked if not check.met(answer)],
    }
