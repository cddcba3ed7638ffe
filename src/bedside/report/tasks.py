"""Scores of both models and their comparison → one row a task, with the words that a reader needs beside it."""

import re
from dataclasses import dataclass

from bedside.evaluate.tasks import TASKS
from bedside.metrics.paired import LEVEL, SMALLEST_N
from bedside.report.material import Json, Material

LABELS = {
    "choice": "Multiple choice",
    "decision": "Yes/no/maybe decision",
    "likelihood": "Likelihood of the reference",
    "rouge": "Overlap with the reference",
}
ABOUT = {
    "decision": "The model's likeliest of “Yes.”, “No.” and “Maybe.”, with the context in sight.",
    "likelihood": "How probable the reference reasoning and answer are to the model, by token; nearer 0 is better.",
    "rouge": "How much of the reference answer's wording the generated answer has, in its order; 1 is the same text.",
}
CHOICE = {
    "cloze": "The option whose text the model finds likeliest per character.",
    "letter": "The letter that the model finds likeliest, with all options in sight.",
}
WORDING = ("likelihood", "rouge")
"""Tasks that measure closeness to the reference texts, which is not the same as being right."""
SIGNS = {"better": "▲", "worse": "▼", "no difference shown": "=", "underpowered": "?"}


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task of the verdict's table: `compared` is its row of the comparison, `word` what was found.

    `counted` says whether the verdict over all rests on it, too.
    """

    task: str
    label: str
    about: str
    metric: str
    compared: Json
    base: Json
    tuned: Json
    word: str
    counted: bool

    @property
    def matters(self) -> float | None:
        """The smallest difference worth having; None for a task that is not ours."""
        return TASKS[self.task].matters if self.task in TASKS else None

    @property
    def slug(self) -> str:
        """The task's name as part of an HTML id."""
        return re.sub(r"\W+", "-", self.task, flags=re.ASCII)

    @property
    def baseline(self) -> float | None:
        """What a model that ignores the input gets."""
        value = self.tuned.get("baseline")
        return None if value is None else float(value)

    @property
    def above_baseline(self) -> bool:
        """Whether the tuned model's whole interval lies above the baseline."""
        return self.baseline is not None and self.tuned["ci"][0] > self.baseline


def rows(material: Material) -> list[TaskRow]:
    """One row for each compared task, those that the verdict counts first.

    A task that measures style and wording counts only where there is no other, or if it is worse, as in
    `evaluate.compare`.
    """
    base, tuned = (
        {score["task"]: score for score in scores} for scores in (material.base_scores, material.tuned_scores)
    )
    scoring = material.recipe["evaluate"]["choice_scoring"]
    compared = material.comparison["tasks"]
    fits = [_fit(one["task"]) for one in compared]
    found = [
        _row(one, base, tuned, scoring, counted=not fit or all(fits) or _word(one) == "worse")
        for one, fit in zip(compared, fits, strict=True)
    ]
    return sorted(found, key=lambda row: not row.counted)


def _row(compared: Json, base: dict[str, Json], tuned: dict[str, Json], scoring: str, counted: bool) -> TaskRow:
    task = compared["task"]
    return TaskRow(
        task=task,
        label=str(LABELS.get(task, task)),
        about=CHOICE[scoring] if task == "choice" else ABOUT.get(task, ""),
        metric=compared["metric"],
        compared=compared,
        base=base.get(task, _unscored(compared["base"])),
        tuned=tuned.get(task, _unscored(compared["tuned"])),
        word=_word(compared),
        counted=counted,
    )


def _fit(task: str) -> bool:
    return task in TASKS and TASKS[task].fit


def _unscored(mean: float) -> Json:
    """A score of which only the comparison's mean is known."""
    return {"value": mean, "ci": [None, None], "unparsed": 0, "baseline": None}


def _word(compared: Json) -> str:
    """The comparison's own word for a task; where it gives none, what its adjusted p says."""
    if "verdict" in compared:
        return str(compared["verdict"])
    if compared["n"] >= SMALLEST_N and compared["p_adjusted"] < 1 - LEVEL:
        return "better" if compared["difference"] > 0 else "worse"
    return "no difference shown"
