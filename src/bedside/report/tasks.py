"""Scores of both models and their comparison → one row a task, with the words that a reader needs beside it."""

import re
from dataclasses import dataclass

from bedside.evaluate.tasks import TASKS, Role
from bedside.report.material import Json, Material

LABELS = {
    "choice": "Multiple choice",
    "choice-direct": "Multiple choice, written",
    "choice-reason": "Multiple choice, reasoned",
    "decision": "Yes/no/maybe decision",
    "decision-direct": "Yes/no/maybe, written",
    "decision-reason": "Yes/no/maybe, reasoned",
    "vignette": "Likelihood of the diagnosis",
    "vignette-direct": "Diagnosis of a case, written",
    "vignette-reason": "Diagnosis of a case, reasoned",
    "likelihood": "Likelihood of the reference",
    "rouge": "Overlap with the reference",
    "general": "General knowledge",
    "instructions": "Following instructions",
    "safety": "Refusal of harmful requests",
}
WRITTEN = "The {} that the model commits to in what it writes{}; an answer that cannot be read scores 0."
NAMES = "It is right if it is the reference or an alias of it; another synonym counts as wrong."
ABOUT = {
    "choice-direct": WRITTEN.format("option", ", without reasoning"),
    "choice-reason": WRITTEN.format("option", " after its reasoning"),
    "decision": "Which of “Yes.”, “No.” and “Maybe.” the model finds likeliest.",
    "decision-direct": WRITTEN.format("decision", ", without reasoning"),
    "decision-reason": WRITTEN.format("decision", " after its reasoning"),
    "vignette": "How probable the reference diagnosis is to the model, by token; nearer 0 is better.",
    "vignette-direct": f"{WRITTEN.format('diagnosis', ', without reasoning')} {NAMES}",
    "vignette-reason": f"{WRITTEN.format('diagnosis', ' after its reasoning')} {NAMES}",
    "likelihood": "How probable the reference reasoning and answer are to the model, by token; nearer 0 is better.",
    "rouge": "How much of the reference answer's wording the generated answer has, in its order; 1 is the same text.",
    "general": "Questions of general knowledge that have nothing to do with medicine.",
    "instructions": "Answers that meet every constraint of form that the prompt gives, checked by a program.",
    "safety": "Harmful requests that the answer declines, told by rules from its words.",
}
CHOICE = {
    "cloze": "The option whose text the model finds likeliest per character.",
    "letter": "The letter that the model finds likeliest, with all options in sight.",
}
CONTEXT = {True: "Its context is in sight.", False: "The question is asked without its context."}
WHY_NOT_COUNTED: dict[Role, str] = {
    "right": "",
    "fit": "It rises with style and wording alone, so it does not count towards the verdict.",
    "kept": "It shows what tuning may cost, so it counts towards the verdict only where it is worse.",
}
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
    def role(self) -> Role:
        """What the task tells, as in `evaluate.tasks`."""
        return TASKS[self.task].role if self.task in TASKS else "right"

    @property
    def why_not_counted(self) -> str:
        """What to say of a task that the verdict over all does not rest on."""
        return WHY_NOT_COUNTED[self.role]

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
    def guessing(self) -> Json | None:
        """The difference that the finding rests on where the base is taken to guess what could not be read."""
        found: Json | None = self.compared.get("guessing")
        return found

    @property
    def above_baseline(self) -> bool:
        """Whether the tuned model's whole interval lies above the baseline."""
        return self.baseline is not None and self.tuned["ci"][0] > self.baseline


def rows(material: Material) -> list[TaskRow]:
    """One row for each compared task, those that the verdict counts first."""
    base, tuned = (
        {score["task"]: score for score in scores} for scores in (material.base_scores, material.tuned_scores)
    )
    settings = material.recipe["evaluate"]
    scoring = CHOICE[settings["choice_scoring"]]
    sight = CONTEXT[settings.get("decision_context", True)]
    how = {
        "choice": scoring,
        "general": scoring,
        **dict.fromkeys((name for name in ABOUT if "decision" in name), sight),
    }
    found = [_row(one, base, tuned, how.get(one["task"], "")) for one in material.comparison["tasks"]]
    return sorted(found, key=lambda row: not row.counted)


def _row(compared: Json, base: dict[str, Json], tuned: dict[str, Json], how: str) -> TaskRow:
    task = compared["task"]
    return TaskRow(
        task=task,
        label=str(LABELS.get(task, task)),
        about=" ".join(filter(None, (ABOUT.get(task, ""), how))),
        metric=compared["metric"],
        compared=compared,
        base=base.get(task, _unscored(compared["base"])),
        tuned=tuned.get(task, _unscored(compared["tuned"])),
        word=compared["verdict"],
        counted=compared["counted"],
    )


def _unscored(mean: float) -> Json:
    """A score of which only the comparison's mean is known."""
    return {"value": mean, "ci": [None, None], "unparsed": 0, "baseline": None}
