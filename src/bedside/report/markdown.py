"""`Material` → report.md, the same verdict in a few lines for a pull request or a notebook, and results.json.

What comes from data, such as names of models, cannot end a cell or begin a line; no answer of a model is in either.
"""

from collections.abc import Iterator
from typing import Any

from bedside.report import numbers, tasks, verdict
from bedside.report.material import Material
from bedside.report.tasks import TaskRow
from bedside.text.markdown import table
from bedside.text.numbers import probability
from bedside.text.prompts import NOTICE

HEADS = ("task", "n", "smallest detectable", "base", "tuned", "difference", "95 % interval", "p adjusted", "finding")


def render(material: Material) -> str:
    """The text of report.md."""
    return "\n".join(_lines(material)) + "\n"


def results(material: Material) -> dict[str, Any]:
    """What results.json holds: every figure of evaluation and comparison with the recipe that gave them."""
    return {
        "recipe": material.recipe,
        "comparison": material.comparison,
        "base": {"model": material.base_name, "tasks": material.base_scores},
        "tuned": {"tasks": material.tuned_scores},
        "train": material.train,
        "created": material.created,
    }


def _lines(material: Material) -> Iterator[str]:
    rows = tasks.rows(material)
    word = material.comparison["verdict"]
    yield f"# {material.recipe['name']}: {word}"
    yield f"\n> {NOTICE}\n"
    yield verdict.grounds(word, rows)
    for sentence in verdict.reservations(word, rows):
        yield f"- {sentence}"
    yield ""
    yield from table(HEADS, [_cells(row) for row in rows])
    for reason in material.comparison["left_out"]:
        yield f"\nLeft out: {' '.join(reason.split())}"
    if left_open := material.comparison.get("unmeasured"):
        yield "\nNot measured:\n"
        yield from (f"- {sentence}" for sentence in left_open)
    yield f"\nBase `{material.base_name}`, compared {numbers.moment(material.created)}, seed {material.recipe['seed']}."


def _cells(row: TaskRow) -> tuple[str, ...]:
    compared = row.compared
    return (
        f"{row.label} ({row.metric})",
        numbers.count(compared["n"]),
        numbers.size(compared["detectable"] or None, row.metric),
        numbers.value(compared["base"], row.metric),
        numbers.value(compared["tuned"], row.metric),
        numbers.difference(compared["difference"], row.metric),
        numbers.differences(compared["ci"], row.metric),
        probability(compared["p_adjusted"]),
        row.word if row.counted else f"{row.word}, not counted",
    )
