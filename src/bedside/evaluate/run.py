"""Scores one model on the items of each task: a row an item, a file a task, and `scores.json`.

A task whose file is there is not computed again, nor is a part of one, so an evaluation that was killed goes on where
it was. Parts do not depend on what was done before, so the file has the same bytes in the end.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bedside.data.read import Row
from bedside.evaluate import ranked, written
from bedside.evaluate.detail import detail
from bedside.evaluate.tasks import SCORED_BY, TASKS, asks, baseline
from bedside.files import read_json, read_jsonl, write_json, write_jsonl
from bedside.metrics.paired import mean_interval
from bedside.metrics.power import detectable
from bedside.progress import Advance, bar, say
from bedside.recipe import EvaluateSection, Recipe, TaskName
from bedside.records import Example, Score
from bedside.runtime.backend import Writer
from bedside.text.chat import user_text

ScoreItems = Callable[[Any, Sequence[Example], EvaluateSection, Advance], list[Row]]
SCORERS: dict[TaskName, ScoreItems] = {
    "choice": ranked.score_choice,
    "choice-direct": written.score_direct,
    "choice-reason": written.score_reason,
    "decision": ranked.score_decision,
    "decision-direct": written.score_direct,
    "decision-reason": written.score_reason,
    "likelihood": ranked.score_likelihood,
    "rouge": written.score_rouge,
    "general": ranked.score_choice,
    "instructions": written.score_instructions,
    "safety": written.score_safety,
}


def announce(items: Mapping[TaskName, Sequence[Example]]) -> None:
    """Says what the items can show, before any of them is scored."""
    for task, examples in items.items():
        if TASKS[task].role != "fit":
            smallest = detectable(len(examples), tests=len(items))
            shows = (
                f"can show a difference of {100 * smallest:.1f} points or more" if smallest < 1 else "can show nothing"
            )
            say(f"{task}: {len(examples)} items, which {shows}")


def evaluate(
    writer: Writer, items: Mapping[TaskName, Sequence[Example]], recipe: Recipe, folder: Path, label: str
) -> list[Score]:
    """Runs every task that is not in `folder` yet and writes `scores.json` over all of them.

    Tasks that are not generated need a `Scorer`.
    """
    scores, details = [], []
    for task, examples in items.items():
        path = folder / f"{task}.jsonl"
        if not path.exists():
            with bar(f"{label}: {task}", len(examples), "items") as advance:
                _score_in_parts(SCORERS[task], writer, examples, recipe.evaluate, path, advance)
        rows = [row for _, row in read_jsonl(path)]
        seconds = read_json(_seconds(path))
        scores.append(_score(task, examples, rows, recipe.seed, seconds))
        cloze = asks(task) in ("choice", "general") and recipe.evaluate.choice_scoring == "cloze"
        details.append(detail(task, examples, rows, recipe.seed, per_character=cloze))
    how = recipe.evaluate.model_dump(include=set().union(*SCORED_BY.values()))
    told = [
        {**asdict(score), "detail": asdict(more) if more else None} for score, more in zip(scores, details, strict=True)
    ]
    write_json(folder / "scores.json", {"model": writer.name, "settings": how, "tasks": told})
    return scores


def _score_in_parts(
    score: ScoreItems,
    writer: Writer,
    examples: Sequence[Example],
    settings: EvaluateSection,
    path: Path,
    advance: Advance,
) -> None:
    """Writes the rows in the order of the items; the longest are asked first, like beside like."""
    order = sorted(range(len(examples)), key=lambda i: (-len(user_text(examples[i])), i))
    parts = [order[start : start + writer.together] for start in range(0, len(order), writer.together)]
    kept = path.with_suffix(".parts")

    def scored(chosen: Sequence[int]) -> dict[str, Any]:
        part = kept / f"{chosen[0]}.json"
        if part.exists():
            advance(len(chosen), "")
        else:
            started = time.monotonic()
            found = score(writer, [examples[i] for i in chosen], settings, advance)
            write_json(part, {"seconds": time.monotonic() - started, "rows": found})
        return dict(read_json(part))

    rows: dict[int, Row] = {}
    seconds = 0.0
    with ThreadPoolExecutor(writer.at_once) as pool:
        for chosen, part in zip(parts, pool.map(scored, parts), strict=True):
            rows |= dict(zip(chosen, part["rows"], strict=True))
            seconds += part["seconds"] / writer.at_once
    write_json(_seconds(path), round(seconds, 1))
    write_jsonl(path, [rows[i] for i in range(len(examples))])
    shutil.rmtree(kept)


def _seconds(path: Path) -> Path:
    return path.with_suffix(".seconds.json")


def _score(task: TaskName, items: Sequence[Example], rows: Sequence[Row], seed: int, seconds: float) -> Score:
    about = TASKS[task]
    value, ci = mean_interval([row["score"] for row in rows], seed, proportion=about.role != "fit")
    outcomes = Counter(map(_outcome, rows)) if about.generated else Counter()
    return Score(
        task=task,
        n=len(rows),
        metric=about.metric,
        value=value,
        ci=ci,
        unparsed=outcomes.total() - outcomes["answered"],
        baseline=baseline(task, items),
        seconds=seconds,
        outcomes=dict(outcomes),
    )


def _outcome(row: Row) -> str:
    """What became of an item for which something was written."""
    return str(row.get("how") or ("answered" if row["answer"] else "none"))
