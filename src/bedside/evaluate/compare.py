"""Two evaluations of the same items → differences paired by item, Holm over the tasks, and one word.

The word over all rests on the tasks that tell right from wrong. Likelihood of the reference and overlap with its
wording rise with mere style, so by themselves they make nothing "better", unless there is no other task. One task
that is worse, whichever, makes the whole "worse".
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from bedside.errors import DataError
from bedside.evaluate.tasks import TASKS
from bedside.files import read_json, read_jsonl
from bedside.metrics import paired
from bedside.metrics.paired import Verdict
from bedside.recipe import TaskName
from bedside.records import PairedDifference

BY_GRAVITY: tuple[Verdict, ...] = ("worse", "better", "no difference shown", "underpowered")


def compare(base: Path, tuned: Path, seed: int) -> dict[str, Any]:
    """The comparison in the shape of `bedside compare --json`. Raises DataError where the items are not the same."""
    names = [task for task in get_args(TaskName) if (base / f"{task}.jsonl").exists()]
    missing = [task for task in names if not (tuned / f"{task}.jsonl").exists()]
    if not names or missing:
        raise DataError(
            f"{tuned}: has no task in common with {base}" if not names else f"{tuned}: no task '{missing[0]}'"
        )
    scores = {task: _paired_scores(base, tuned, task) for task in names}
    found = {task: paired.compare(*scores[task], seed=seed, tests=len(names)) for task in names}
    adjusted = dict(zip(names, paired.holm([found[task].p for task in names]), strict=True))
    rows = [_row(task, scores[task], found[task], adjusted[task]) for task in names]
    return {
        "verdict": overall(rows),
        "base": read_json(base / "scores.json")["model"],
        "tuned": read_json(tuned / "scores.json")["model"],
        "tasks": [asdict(row) for row in rows],
    }


def overall(rows: Sequence[PairedDifference]) -> Verdict:
    """The gravest word of the tasks that count, "worse" before "better"; see the module."""
    counted = [row for row in rows if row.verdict == "worse" or not TASKS[row.task].fit] or list(rows)  # type: ignore[index]
    words = {row.verdict for row in counted}
    return next(word for word in BY_GRAVITY if word in words)


def _row(
    task: TaskName, scores: tuple[Sequence[float], Sequence[float]], found: paired.Difference, p_adjusted: float
) -> PairedDifference:
    n = len(scores[0])
    return PairedDifference(
        task=task,
        n=n,
        metric=TASKS[task].metric,
        base=sum(scores[0]) / n,
        tuned=sum(scores[1]) / n,
        difference=found.value,
        ci=found.ci,
        p=found.p,
        p_adjusted=p_adjusted,
        detectable=found.detectable,
        verdict=paired.verdict(found, p_adjusted, n, TASKS[task].matters),
    )


def _paired_scores(base: Path, tuned: Path, task: str) -> tuple[list[float], list[float]]:
    a, b = _by_id(base / f"{task}.jsonl"), _by_id(tuned / f"{task}.jsonl")
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())[0]
        raise DataError(f"task '{task}': item '{odd}' is in one evaluation only; evaluate both on the same items")
    return list(a.values()), [b[name] for name in a]


def _by_id(path: Path) -> Mapping[str, float]:
    return {row["id"]: float(row["score"]) for _, row in read_jsonl(path)}
