"""`bedside compare`: base against tuned, or a run against another, item by item."""

from pathlib import Path
from typing import Any

from bedside.files import read_json, write_json
from bedside.recipe import Recipe
from bedside.runs import Run, Stage
from bedside.text.numbers import probability


def stage(recipe: Recipe) -> Stage:
    """Depends on the two evaluations and the seed of the bootstrap."""
    reads = ("evaluation/base", "evaluation/tuned")
    return Stage("comparison", ("seed",), reads, rooms=("evaluate/compare", "evaluate/tasks", "metrics"))


def make(run: Run, folder: Path) -> None:
    """Compares the tuned model with its base."""
    from bedside.evaluate.compare import compare

    found = compare(run.folder("evaluation/base"), run.folder("evaluation/tuned"), run.recipe.seed)
    write_json(folder / "comparison.json", found)


def compare(first: str, second: str | None, runs: Path) -> dict[str, Any]:
    """A run's tuned model against its base or, with `second`, against that run's tuned model.

    Raises DataError if the two were not scored on the same items.
    """
    from bedside.evaluate.compare import compare as paired
    from bedside.verbs.pipeline import warn_if_stale
    from bedside.verbs.run import existing_run

    run = existing_run(first, runs)
    other = run if second is None else existing_run(second, runs)
    here = "evaluation/base" if second is None else "evaluation/tuned"
    told = [warn_if_stale(one, "evaluate") for one in dict.fromkeys((run, other))]
    found = paired(run.folder(here), other.folder("evaluation/tuned"), run.recipe.seed)
    return {**found, "stale": [warning for warning in told if warning is not None]}


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    return dict(read_json(run.folder("comparison") / "comparison.json"))


def in_words(result: dict[str, Any]) -> str:
    """A table with intervals, what it does not say, and the verdict last."""
    head = f"{'task':<10} {'n':>4} {'base':>8} {'tuned':>8} {'difference':>11}  {'95 % interval':<18}"
    head += f" {'p adj.':>7} {'detects':>8} {'baseline':>9}"
    tasks = result["tasks"]
    lines = [f"base   {result['base']}", f"tuned  {result['tuned']}", "", head, *map(_line, tasks)]
    lines += [f"{'left out':<10} {reason}" for reason in result["left_out"]]
    below = [task["task"] for task in tasks if task["above_baseline"] is False]
    if below:
        lines += [
            "",
            f"On {' and '.join(below)} the tuned model is not shown to beat ignoring the question (baseline).",
        ]
    stale = [f"STALE    {warning}" for warning in result.get("stale", [])]
    return "\n".join([*lines, "", f"Verdict: {result['verdict']}", *stale])


def _line(task: dict[str, Any]) -> str:
    interval = f"[{task['ci'][0]:+.3f}, {task['ci'][1]:+.3f}]"
    baseline = "-" if task["baseline"] is None else f"{task['baseline']:.3f}"
    means = f"{task['base']:>8.3f} {task['tuned']:>8.3f} {task['difference']:>+11.3f}"
    found = f"{probability(task['p_adjusted']):>7} {task['detectable']:>8.3f} {baseline:>9}"
    not_counted = "" if task["counted"] else ", not counted"
    return f"{task['task']:<10} {task['n']:>4} {means}  {interval:<18} {found}  {task['verdict']}{not_counted}"
