"""The stages of a recipe in their order, each made only if it is not done.

data → adapter → evaluation/base, evaluation/tuned → comparison → merged → export → report
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage


@dataclass(frozen=True, slots=True)
class Step:
    """A stage and how it is made; `verb` is the command that ends with it."""

    verb: str
    stage: Stage
    make: Callable[[Run, Path], None]


def steps(recipe: Recipe) -> list[Step]:
    """All steps of a recipe. Imports nothing heavy: each `make` imports what it needs."""
    from bedside.verbs import compare, data, evaluate, export, report, train

    return [
        Step("data", data.stage(recipe), data.make),
        Step("train", train.stage(recipe), train.make),
        Step("evaluate", evaluate.stage(recipe, "base"), evaluate.make_base),
        Step("evaluate", evaluate.stage(recipe, "tuned"), evaluate.make_tuned),
        Step("compare", compare.stage(recipe), compare.make),
        Step("export", export.merged(recipe), export.make_merged),
        Step("export", export.exported(recipe), export.make_exported),
        Step("report", report.stage(recipe), report.make),
    ]


VERBS = ("data", "train", "evaluate", "compare", "export", "report")


def run_until(run: Run, verb: str) -> Sequence[str]:
    """Makes what is missing or stale up to the last stage of `verb`; returns the names of the stages made."""
    made = []
    with run.lock():
        for step in steps(run.recipe):
            if VERBS.index(step.verb) > VERBS.index(verb):
                break
            if run.build(step.stage, lambda folder, step=step: step.make(run, folder)):  # type: ignore[misc]
                made.append(step.stage.name)
                say(f"{step.stage.name}: done in {run.manifest(step.stage.name)['seconds']:.0f} s")
            else:
                say(f"{step.stage.name}: unchanged")
    return made
