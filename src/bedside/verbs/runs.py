"""`bedside runs`: what was run, and which stages are done, stale or missing."""

from pathlib import Path
from typing import Any

from bedside.errors import BedsideError, UsageError
from bedside.recipe_file import KEPT
from bedside.runs import Run
from bedside.verbs.pipeline import steps


def result(runs: Path) -> dict[str, Any]:
    """What `--json` prints. A run whose recipe no longer reads is listed with the reason."""
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"--runs {runs}: a file; give the folder that holds the runs")
    folders = sorted(path.parent for path in runs.glob(f"*/{KEPT}"))
    return {"folder": str(runs), "runs": [_one(folder) for folder in folders]}


def _one(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": folder.name, "recipe": str(folder / KEPT), "stages": {}, "created": None}
    try:
        run = Run.open(folder)
        entry["stages"] = {step.stage.name: run.state(step.stage) for step in steps(run.recipe)}
    except BedsideError as error:
        return {**entry, "error": str(error)}
    made = [run.manifest(name)["created"] for name, state in entry["stages"].items() if state != "missing"]
    return {**entry, "created": min(made, default=None)}


def in_words(result: dict[str, Any]) -> str:
    """One line a run."""
    if not result["runs"]:
        return f"no runs in {result['folder']} yet; `bedside demo` makes one"
    return "\n".join(_line(entry) for entry in result["runs"])


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{entry['name']}: {entry['error']}"
    states = list(entry["stages"].values())
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("done", "stale", "missing") if state in states)
    todo = next((name for name, state in entry["stages"].items() if state != "done"), None)
    return f"{entry['name']:<32} {entry['created'] or '-':<26} {counts}" + (f"; next: {todo}" if todo else "")
