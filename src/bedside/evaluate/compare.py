"""Two evaluations of the same items → differences paired by item, Holm over the tasks, and one word.

The word over all rests on the tasks that tell right from wrong. Likelihood of the reference and overlap with its
wording rise with mere style, and what tuning should not cost was no aim of it, so by themselves they make nothing
"better", unless there is no other task. One task that is worse, whichever, makes the whole "worse".
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from bedside.errors import DataError
from bedside.evaluate.tasks import SCORED_BY, TASKS, Role
from bedside.files import read_json, read_jsonl
from bedside.metrics import paired
from bedside.metrics.paired import Verdict
from bedside.metrics.win_rate import WinRate, win_rate
from bedside.recipe import TaskName
from bedside.records import PairedDifference

Paired = tuple[list[str], list[float], list[float]]
"""Ids of the items, and what base and tuned model score on them."""
BY_GRAVITY: tuple[Verdict, ...] = ("worse", "better", "no difference shown", "underpowered")


def compare(base: Path, tuned: Path, seed: int) -> dict[str, Any]:
    """The comparison in the shape of `bedside compare --json`.

    A task that was scored on one side only, in another way, or in other tokens, is left out with its reason; so two
    runs with different bases still compare by what is right. Raises DataError where the items are not the same, or no
    task is left.
    """
    scored = [{task for task in get_args(TaskName) if (side / f"{task}.jsonl").exists()} for side in (base, tuned)]
    names = [task for task in get_args(TaskName) if task in scored[0] & scored[1]]
    if not names:
        raise DataError(f"{tuned}: has no task in common with {base}")
    alone = [f"{task}: scored on one side only" for task in get_args(TaskName) if task in scored[0] ^ scored[1]]
    about = {side: read_json(side / "scores.json") for side in (base, tuned)}
    settings = [about[side].get("settings", {}) for side in (base, tuned)]
    obstacles = {task: _obstacle(base, tuned, task, settings) for task in names}
    left_out = [f"{task}: {reason}" for task, reason in obstacles.items() if reason] + alone
    names = [task for task in names if not obstacles[task]]
    if not names:
        raise DataError(f"{tuned}: cannot be compared with {base}: {left_out[0]}")
    scores = {task: _paired_scores(base, tuned, task) for task in names}
    found = {task: paired.compare(*scores[task][1:], seed=seed, tests=len(names)) for task in names}
    adjusted = dict(zip(names, paired.holm([found[task].p for task in names]), strict=True))
    own = {score["task"]: score for score in about[tuned]["tasks"]}
    rows = [_row(task, scores[task], found[task], adjusted[task], own.get(task, {})) for task in names]
    counts = counted(names, [row.verdict for row in rows])
    rows = [replace(row, counted=one) for row, one in zip(rows, counts, strict=True)]
    return {
        "verdict": overall(rows),
        "base": about[base]["model"],
        "tuned": about[tuned]["model"],
        "tasks": [asdict(row) for row in rows],
        "left_out": left_out,
        "win_rate": asdict(_nearer(base, tuned)) if "rouge" in names else None,
    }


def counted(tasks: Sequence[str], words: Sequence[str]) -> list[bool]:
    """Of each task with its verdict, whether the verdict over all rests on it; see the module."""
    roles = [TASKS[task].role for task in tasks]  # type: ignore[index]
    decisive = min(roles, key=get_args(Role).index)
    return [role == decisive or word == "worse" for role, word in zip(roles, words, strict=True)]


def overall(rows: Sequence[PairedDifference]) -> Verdict:
    """The gravest word of the tasks that count, "worse" before "better"."""
    words = {row.verdict for row in rows if row.counted}
    return next(word for word in BY_GRAVITY if word in words)


def _row(
    task: TaskName,
    scores: Paired,
    found: paired.Difference,
    p_adjusted: float,
    tuned: Mapping[str, Any],
) -> PairedDifference:
    ids, before, after = scores
    n = len(ids)
    baseline = tuned.get("baseline")
    moved = paired.wins_and_losses(ids, before, after)
    return PairedDifference(
        task=task,
        n=n,
        metric=TASKS[task].metric,
        base=sum(before) / n,
        tuned=sum(after) / n,
        difference=found.value,
        ci=found.ci,
        p=found.p,
        p_adjusted=p_adjusted,
        detectable=found.detectable,
        baseline=baseline,
        above_baseline=None if baseline is None else tuned["ci"][0] > baseline,
        verdict=paired.verdict(found, p_adjusted, n, TASKS[task].matters),
        won=moved.won,
        lost=moved.lost,
    )


def _obstacle(base: Path, tuned: Path, task: TaskName, settings: Sequence[Mapping[str, Any]]) -> str:
    """Why the scores of a task mean different things on the two sides; "" if they do not."""
    a, b = settings
    for name in SCORED_BY.get(task, ()):
        if a.get(name) != b.get(name):
            return f"scored with {name} {a.get(name)} here and {b.get(name)} there; evaluate both the same way"
    if task == "likelihood":
        counted = (
            {row["id"]: row.get("tokens") for _, row in read_jsonl(side / f"{task}.jsonl")} for side in (base, tuned)
        )
        one, other = counted
        odd = next((name for name in one if name in other and one[name] != other[name]), None)
        if odd is not None:
            return (
                f"item '{odd}' has {one[odd]} tokens here and {other[odd]} there; a likelihood per token needs the"
                " same tokenizer and the same prompt"
            )
    return ""


def _nearer(base: Path, tuned: Path) -> WinRate:
    """How often the tuned model's answer is nearer to the reference, its length taken into account."""
    sides = [{row["id"]: row for _, row in read_jsonl(side / "rouge.jsonl")} for side in (base, tuned)]
    before, after = ([side[name] for name in sides[0]] for side in sides)
    similarities = ([row["score"] for row in rows] for rows in (before, after))
    lengths = ([len(row["answer"].split()) for row in rows] for rows in (before, after))
    return win_rate(*similarities, *lengths)


def _paired_scores(base: Path, tuned: Path, task: str) -> Paired:
    a, b = _by_id(base / f"{task}.jsonl"), _by_id(tuned / f"{task}.jsonl")
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())[0]
        raise DataError(f"task '{task}': item '{odd}' is in one evaluation only; evaluate both on the same items")
    return list(a), list(a.values()), [b[name] for name in a]


def _by_id(path: Path) -> Mapping[str, float]:
    return {row["id"]: float(row["score"]) for _, row in read_jsonl(path)}
