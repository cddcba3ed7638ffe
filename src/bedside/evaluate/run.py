"""Scores one model on the items of each task: a row an item, a file a task, and `scores.json`.

A task whose file is there is not computed again, nor is a part of one, so an evaluation that was killed goes on where
it was. Parts do not depend on what was done before, so the file has the same bytes in the end.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bedside.data.questions import contradict, says
from bedside.data.read import Row
from bedside.errors import ModelError, OfflineError
from bedside.evaluate import ranked, written
from bedside.evaluate.detail import detail, generated, outcome, was_read
from bedside.evaluate.room import require_room
from bedside.evaluate.tasks import SCORED_BY, TASKS, baseline
from bedside.files import digest, read_json, read_jsonl, write_json, write_jsonl
from bedside.metrics.paired import mean_interval
from bedside.metrics.power import PLANNED_DISCORDANCE, detectable
from bedside.progress import Advance, bar, say
from bedside.recipe import EvaluateSection, Recipe, TaskName
from bedside.records import Example, Score
from bedside.runtime.backend import Measured, Writer
from bedside.text.chat import user_text

NAMED = 5
"""Copies that contradict the row that is asked, and are told by their places."""
Copy = tuple[Example, Example]
"""A row that is left out, and the one that stays for it."""
ScoreItems = Callable[[Any, Sequence[Example], EvaluateSection, Advance], list[Row]]
SCORERS: dict[TaskName, ScoreItems] = {
    "choice": ranked.score_choice,
    "choice-direct": written.score_direct,
    "choice-reason": written.score_reason,
    "decision": ranked.score_decision,
    "decision-direct": written.score_direct,
    "decision-reason": written.score_reason,
    "vignette": ranked.score_likelihood,
    "vignette-direct": written.score_direct,
    "vignette-reason": written.score_reason,
    "likelihood": ranked.score_likelihood,
    "rouge": written.score_rouge,
    "general": ranked.score_choice,
    "instructions": written.score_instructions,
    "safety": written.score_safety,
}


def announce(
    items: Mapping[TaskName, Sequence[Example]], copies: Mapping[str, Sequence[Copy]] = MappingProxyType({})
) -> None:
    """Says what the items can show, before any of them is scored, and which rows of their files were left out."""
    for kind, found in copies.items():
        _tell_copies(kind, found)
    for task, examples in items.items():
        if TASKS[task].role != "fit":
            smallest = detectable(len(examples), tests=len(items))
            planned = f"if the models differ on {100 * PLANNED_DISCORDANCE:.0f} % of them"
            least = f"can show a difference of {100 * smallest:.1f} points or more {planned}"
            say(f"{task}: {len(examples)} items, which {least if smallest < 1 else 'can show nothing'}")


def _tell_copies(kind: str, copies: Sequence[Copy]) -> None:
    say(f"{kind}: {len(copies)} copies of questions of the same file are left out")
    contradicting = [(copy, first) for copy, first in copies if contradict(first, copy)]
    for copy, first in contradicting[:NAMED]:
        say(f"{kind}: {copy.where} has {says(copy)!r} where {first.where}, which is asked, has {says(first)!r}")
    if len(contradicting) > NAMED:
        say(f"{kind}: {len(contradicting) - NAMED} more copies contradict the row that is asked; lint names them")


def evaluate(
    writer: Writer, items: Mapping[TaskName, Sequence[Example]], recipe: Recipe, folder: Path, label: str
) -> list[Score]:
    """Runs every task that is not in `folder` yet and writes `scores.json` over all of them.

    Tasks that are not generated need a `Scorer`. Raises ContextTooLong before the first item where one does not fit.
    """
    if isinstance(writer, Measured):
        require_room(writer, items, recipe.evaluate)
    scores, details = [], []
    for task, examples in items.items():
        path = folder / f"{task}.jsonl"
        if not path.exists():
            _score_in_parts(task, writer, examples, recipe.evaluate, path, label)
        shutil.rmtree(_parts(path), ignore_errors=True)
        rows = [row for _, row in read_jsonl(path)]
        seconds = read_json(_seconds(path))
        scores.append(_score(task, examples, rows, recipe, seconds))
        details.append(detail(task, examples, rows, recipe.seed, recipe.evaluate))
    how = {
        **recipe.evaluate.model_dump(include=set().union(*SCORED_BY.values())),
        "prompt": writer.prompt.model_dump(mode="json"),
        "seed": recipe.seed,
    }
    told = [
        {**asdict(score), "detail": asdict(more) if more else None} for score, more in zip(scores, details, strict=True)
    ]
    write_json(folder / "scores.json", {"model": writer.name, "settings": how, "tasks": told})
    return scores


def _score_in_parts(
    task: TaskName, writer: Writer, examples: Sequence[Example], settings: EvaluateSection, path: Path, label: str
) -> None:
    """Writes the rows in the order of the items; the longest are asked first, like beside like."""
    order = sorted(range(len(examples)), key=lambda i: (-len(user_text(examples[i])), i))
    parts = [order[start : start + writer.together] for start in range(0, len(order), writer.together)]
    done = [part for part in parts if _part(path, part).exists()]

    def make(part: Sequence[int]) -> None:
        started = time.monotonic()
        with _told_where(task, [examples[i] for i in part]):
            rows = SCORERS[task](writer, [examples[i] for i in part], settings, advance)
        write_json(_part(path, part), {"seconds": time.monotonic() - started, "rows": rows})

    if done:
        say(f"{label}: {task}: {sum(map(len, done))} of {len(examples)} items were answered before")
    with bar(f"{label}: {task}", len(examples), "items", sum(map(len, done))) as advance:
        _each(make, [part for part in parts if part not in done], writer.at_once)
    made = [read_json(_part(path, part)) for part in parts]
    rows = {i: row for part, one in zip(parts, made, strict=True) for i, row in zip(part, one["rows"], strict=True)}
    write_json(_seconds(path), round(sum(one["seconds"] for one in made) / min(writer.at_once, len(parts)), 1))
    write_jsonl(path, [{**rows[i], "item": identity(example)} for i, example in enumerate(examples)])


def _each(make: Callable[[Sequence[int]], None], parts: Sequence[Sequence[int]], at_once: int) -> None:
    """Makes the parts, some of them at the same time; an error or an interruption begins no further one."""
    if at_once == 1:
        for part in parts:
            make(part)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        for made in as_completed([pool.submit(make, part) for part in parts]):
            made.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _told_where(task: TaskName, items: Sequence[Example]) -> Iterator[None]:
    """Adds to a model's or a server's own error at which item it came, and that nothing is lost."""
    try:
        yield
    except (ModelError, OfflineError) as error:
        at = f"item '{items[0].id}'" if len(items) == 1 else f"{len(items)} items from '{items[0].id}' on"
        when = "" if isinstance(error, OfflineError) else " once that is mended"
        kept = f"what was answered is kept, and the same command goes on{when}"
        raise type(error)(f"{error} (task {task}, {at}); {kept}") from error


def identity(example: Example) -> str:
    """What tells an item from another with its id: question, context, options and what is right, as a short digest."""
    return digest(
        [example.question, example.context, example.options, example.label, example.answer, example.accepted]
    )[:16]


def _parts(path: Path) -> Path:
    return path.with_suffix(".parts")


def _part(path: Path, part: Sequence[int]) -> Path:
    return _parts(path) / f"{part[0]}.json"


def _seconds(path: Path) -> Path:
    return path.with_suffix(".seconds.json")


def _score(task: TaskName, items: Sequence[Example], rows: Sequence[Row], recipe: Recipe, seconds: float) -> Score:
    about = TASKS[task]
    value, ci = mean_interval([row["score"] for row in rows], recipe.seed, proportion=about.role != "fit")
    return Score(
        task=task,
        n=len(rows),
        metric=about.metric,
        value=value,
        ci=ci,
        unparsed=sum(not was_read(row) for row in rows),
        baseline=baseline(task, items, recipe.evaluate),
        seconds=seconds,
        outcomes=dict(Counter(map(outcome, rows))) if about.generated else {},
        generated=generated(rows),
    )
