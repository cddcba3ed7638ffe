"""Two evaluations of the same items → differences paired by item, Holm over the tasks, and one word.

The word over all rests on the tasks that tell right from wrong. Likelihood of the reference and overlap with its
wording rise with mere style, and what tuning should not cost was no aim of it, so they make nothing "better", not even
by themselves. One task that is worse, whichever, makes the whole "worse". A base whose answers cannot be read is taken
to guess, so that a model which has learnt the form of an answer alone is not "better" for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from bedside.data.read import Row
from bedside.errors import DataError
from bedside.evaluate.detail import was_read
from bedside.evaluate.tasks import SCORED_BY, TASKS, Role
from bedside.files import read_json, read_jsonl
from bedside.metrics import paired
from bedside.metrics.paired import Verdict
from bedside.metrics.win_rate import WinRate, win_rate
from bedside.recipe import TaskName
from bedside.records import Guessing, PairedDifference

BY_GRAVITY: tuple[Verdict, ...] = ("worse", "better", "underpowered", "no difference shown")

UNMEASURED = {
    tuple(name for name, task in TASKS.items() if task.role == "right"): (
        "Whether the tuned model is right more often: add 'choice' to evaluate.tasks."
    ),
    ("choice-reason", "decision-reason", "vignette-reason"): (
        "Whether its reasoning leads to the right answer: add 'choice-reason' or 'decision-reason'."
    ),
    ("vignette-direct", "vignette-reason"): (
        "Whether it names the diagnosis of a case: add 'vignette-direct', and name a file of cases in"
        " evaluate.vignette_from."
    ),
    ("general",): "Whether it has forgotten general knowledge: add 'general'.",
    ("instructions",): "Whether it still does as it is told: add 'instructions'.",
    ("safety",): (
        "Whether it still declines harmful requests: add 'safety', and name a file of requests in evaluate.safety_from."
    ),
}
"""What is open where none of these tasks was run."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """BERTScore's F1 of the answers of "rouge", its paired difference and 95 % interval: beside the tasks, never one.

    It has no p and no verdict, since it rises with style, and is none of the tests that Holm adjusts for.
    """

    n: int
    base: float
    tuned: float
    difference: float
    ci: paired.Interval
    signature: str


def compare(base: Path, tuned: Path, seed: int, names: tuple[str, str] = ("base", "tuned")) -> dict[str, Any]:
    """The comparison in the shape of `bedside compare --json`; `names` are what the two are called.

    A task that was scored on one side only, in another way, or in other tokens, is left out with its reason; so two
    runs with different bases still compare by what is right. Raises DataError where the items are not the same, or no
    task is left.
    """
    scored = [{task for task in get_args(TaskName) if (side / f"{task}.jsonl").exists()} for side in (base, tuned)]
    tasks = [task for task in get_args(TaskName) if task in scored[0] & scored[1]]
    if not tasks:
        raise DataError(f"{tuned}: has no task in common with {base}")
    alone = [f"{task}: scored on one side only" for task in get_args(TaskName) if task in scored[0] ^ scored[1]]
    about = {side: read_json(side / "scores.json") for side in (base, tuned)}
    settings = [about[side].get("settings", {}) for side in (base, tuned)]
    obstacles = {task: _obstacle(base, tuned, task, settings) for task in tasks}
    left_out = [f"{task}: {reason}" for task, reason in obstacles.items() if reason] + alone
    tasks = [task for task in tasks if not obstacles[task]]
    if not tasks:
        raise DataError(f"{tuned}: cannot be compared with {base}: {left_out[0]}")
    rows = {task: _paired_rows(base, tuned, task) for task in tasks}
    found = {
        task: paired.compare(_scores(before), _scores(after), seed, tests=len(tasks))
        for task, (before, after) in rows.items()
    }
    adjusted = dict(zip(tasks, paired.holm([found[task].p for task in tasks]), strict=True))
    own = {score["task"]: score for score in about[tuned]["tasks"]}
    told = [_row(task, rows[task], found[task], adjusted[task], own.get(task, {}), seed, len(tasks)) for task in tasks]
    words = [row.verdict for row in told]
    meaning, obstacle = _meaning(*rows["rouge"], seed) if "rouge" in tasks else (None, "")
    left_out += [f"bertscore: {obstacle}"] if obstacle else []
    counts = counted(tasks, words)
    return {
        "verdict": overall(tasks, words),
        "names": list(names),
        "base": about[base]["model"],
        "tuned": about[tuned]["model"],
        "tasks": [asdict(replace(row, counted=one)) for row, one in zip(told, counts, strict=True)],
        "left_out": left_out,
        "bertscore": asdict(meaning) if meaning else None,
        "win_rate": asdict(_nearer(*rows["rouge"])) if "rouge" in tasks else None,
        "unmeasured": unmeasured(tasks),
        "same_prompt": settings[0].get("prompt") == settings[1].get("prompt"),
    }


def counted(tasks: Sequence[str], words: Sequence[str]) -> list[bool]:
    """Of each task with its verdict, whether the verdict over all rests on it; see the module."""
    return [_role(task) == "right" or word == "worse" for task, word in zip(tasks, words, strict=True)]


def unmeasured(tasks: Sequence[str]) -> list[str]:
    """What a comparison of these tasks leaves open, and how to run one that does not."""
    return [how for some, how in UNMEASURED.items() if not set(tasks) & set(some)]


def overall(tasks: Sequence[str], words: Sequence[str]) -> Verdict:
    """The gravest word of the tasks that count, "worse" before "better".

    "underpowered" where none of them tells right from wrong, since nothing about that was measured.
    """
    resting = {word for word, one in zip(words, counted(tasks, words), strict=True) if one}
    return next((word for word in BY_GRAVITY if word in resting), "underpowered")


def _role(task: str) -> Role:
    return TASKS[task].role  # type: ignore[index]


def _row(
    task: TaskName,
    rows: tuple[Sequence[Row], Sequence[Row]],
    found: paired.Difference,
    p_adjusted: float,
    tuned: Mapping[str, Any],
    seed: int,
    tests: int,
) -> PairedDifference:
    ids = [row["id"] for row in rows[0]]
    before, after = map(_scores, rows)
    n = len(ids)
    baseline = tuned.get("baseline")
    moved = paired.wins_and_losses(ids, before, after)
    unread = _both(rows, lambda row: not was_read(row))
    word = paired.verdict(found, p_adjusted, n, TASKS[task].matters)
    guessing = None
    if word == "better" and unread[0] and baseline is not None:
        guessed = [score if was_read(row) else baseline for row, score in zip(rows[0], before, strict=True)]
        fair = paired.compare(guessed, after, seed=seed, tests=tests)
        guessing = Guessing(sum(guessed) / n, fair.value, fair.ci, min(1.0, tests * fair.p), fair.detectable)
        word = paired.verdict(fair, guessing.p, n, TASKS[task].matters)
        word = "no difference shown" if word == "worse" else word
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
        verdict=word,
        unparsed=unread,
        reasoned=_both(rows, lambda row: bool(row.get("reasoning"))),
        forced=_both(rows, lambda row: bool(row.get("forced"))),
        won=moved.won,
        lost=moved.lost,
        identical=all(a == b for a, b in zip(*rows, strict=True)),
        guessing=guessing,
    )


def _both(rows: tuple[Sequence[Row], Sequence[Row]], holds: Callable[[Row], bool]) -> tuple[int, int]:
    """Of how many rows of either side something holds."""
    before, after = rows
    return sum(map(holds, before)), sum(map(holds, after))


def _scores(rows: Sequence[Row]) -> list[float]:
    return [float(row["score"]) for row in rows]


def _obstacle(base: Path, tuned: Path, task: TaskName, settings: Sequence[Mapping[str, Any]]) -> str:
    """Why the scores of a task mean different things on the two sides; "" if they do not."""
    a, b = settings
    for name in SCORED_BY.get(task, ()):
        if a.get(name) != b.get(name):
            return f"scored with {name} {a.get(name)} here and {b.get(name)} there; evaluate both the same way"
    at_once = TASKS[task].generated and "max_tokens" not in SCORED_BY[task]
    prompts = [side.get("prompt") for side in settings]
    both_closed = prompts[0] == prompts[1] and (prompts[0] or {}).get("reasoning") != "none"
    if at_once and not both_closed:
        reasoned = [
            any(row.get("reasoning") for _, row in read_jsonl(side / f"{task}.jsonl")) for side in (base, tuned)
        ]
        if reasoned[0] != reasoned[1]:
            return "one side reasoned before it answered and the other did not; compare what ends in -reason"
    if not TASKS[task].generated and TASKS[task].role == "fit":
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


def _nearer(before: Sequence[Row], after: Sequence[Row]) -> WinRate:
    """How often the tuned model's answer is nearer to the reference, its length taken into account."""
    lengths = ([len(row["answer"].split()) for row in rows] for rows in (before, after))
    return win_rate(_scores(before), _scores(after), *lengths)


def _meaning(before: Sequence[Row], after: Sequence[Row], seed: int) -> tuple[Meaning | None, str]:
    """The difference in meaning, or why there is none to tell; neither where nobody asked for it."""
    both = [[row["bertscore"] for row in rows if "bertscore" in row] for rows in (before, after)]
    signatures = [" and ".join(sorted({one["signature"] for one in side})) for side in both]
    if signatures[0] != signatures[1]:
        here, there = (signature or "not computed" for signature in signatures)
        return None, f"{here} here and {there} there; evaluate both with the same encoder and layer"
    if not signatures[0]:
        return None, ""
    base, tuned = ([one["f1"] for one in side] for side in both)
    found, n = paired.compare(base, tuned, seed), len(base)
    return Meaning(n, sum(base) / n, sum(tuned) / n, found.value, found.ci, signatures[0]), ""


def _paired_rows(base: Path, tuned: Path, task: str) -> tuple[list[Row], list[Row]]:
    """The rows of both sides in the same order. Raises DataError where they are not of the same items."""
    a, b = _by_id(base / f"{task}.jsonl"), _by_id(tuned / f"{task}.jsonl")
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())[0]
        raise DataError(f"task '{task}': item '{odd}' is in one evaluation only; evaluate both on the same items")
    other = next((name for name in a if a[name].get("item") != b[name].get("item")), None)
    if other is not None:
        raise DataError(
            f"task '{task}': item '{other}' is not the same question in both; evaluate both on the same items"
        )
    return list(a.values()), [b[name] for name in a]


def _by_id(path: Path) -> Mapping[str, Row]:
    return {row["id"]: row for _, row in read_jsonl(path)}
