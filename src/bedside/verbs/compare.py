"""`bedside compare`: base against tuned, or a run against another, item by item."""

from pathlib import Path
from typing import Any

from bedside.files import read_json, write_json
from bedside.recipe import Recipe
from bedside.runs import Run, Stage


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
    warn_if_stale(run, "compare" if second is None else "evaluate")
    if second is None:
        return result(run)
    other = existing_run(second, runs)
    warn_if_stale(other, "evaluate")
    return paired(run.folder("evaluation/tuned"), other.folder("evaluation/tuned"), run.recipe.seed)


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    return dict(read_json(run.folder("comparison") / "comparison.json"))


def in_words(result: dict[str, Any]) -> str:
    """A table with intervals, and the verdict last."""
    head = f"{'task':<10} {'n':>4} {'base':>8} {'tuned':>8} {'difference':>11}  {'95 % interval':<18}"
    head += f" {'p adj.':>7} {'detects':>8}"
    lines = [f"base   {result['base']}", f"tuned  {result['tuned']}", "", head]
    for task in result["tasks"]:
        interval = f"[{task['ci'][0]:+.3f}, {task['ci'][1]:+.3f}]"
        lines.append(
            f"{task['task']:<10} {task['n']:>4} {task['base']:>8.3f} {task['tuned']:>8.3f} {task['difference']:>+11.3f}"
            f"  {interval:<18} {task['p_adjusted']:>7.3f} {task['detectable']:>8.3f}  {task['verdict']}"
        )
    return "\n".join([*lines, "", f"Verdict: {result['verdict']}"])
