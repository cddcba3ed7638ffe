"""`bedside run`: all stages of a recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedside.errors import UsageError
from bedside.recipe_file import load
from bedside.runs import Run
from bedside.runtime.choose import find_run
from bedside.verbs import compare, pipeline, report


def prepare_run(name: str, overrides: Sequence[str], runs: Path) -> Run:
    """The run of a recipe: the folder `runs`/its name."""
    recipe = load(name, overrides)
    return Run(runs / recipe.name, recipe)


def existing_run(name: str, runs: Path) -> Run:
    """An existing run, by folder or by name. Raises RunError if there is none."""
    return find_run(name, runs) or Run.open(runs / name)


def run(name: str, overrides: Sequence[str], until: str, runs: Path) -> dict[str, Any]:
    """Makes what is missing or stale; the result says what was made and, if it got that far, how it compares."""
    if until not in pipeline.VERBS:
        raise UsageError(f"--until '{until}': want one of {', '.join(pipeline.VERBS)}")
    it = prepare_run(name, overrides, runs)
    made = pipeline.run_until(it, until)
    result: dict[str, Any] = {"run": str(it.path), "made": list(made)}
    if pipeline.VERBS.index(until) >= pipeline.VERBS.index("compare"):
        result["comparison"] = compare.result(it)
    if until == "report":
        result["report"] = str(report.path(it))
    return result


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [f"Run: {result['run']}"]
    if "comparison" in result:
        lines += ["", compare.in_words(result["comparison"])]
    if "report" in result:
        lines += ["", f"Report: {result['report']}"]
    return "\n".join(lines)
