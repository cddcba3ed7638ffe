"""The verdict in plain sentences: what it rests on, what speaks otherwise, and what it does not say."""

from collections.abc import Iterator, Sequence

from bedside.evaluate.tasks import TASKS, Role, nothing_to_lose
from bedside.report import numbers
from bedside.report.tasks import TaskRow

NOTHING_IS_RIGHT = (
    "No task that tells right from wrong was compared, so nothing can be called better. Add “choice” or “decision” to"
    " evaluate.tasks."
)
NOT_COUNTED: dict[Role, tuple[str, str]] = {
    "right": ("which does not count towards the verdict", "which do not count towards the verdict"),
    "fit": (
        "which rises with style and wording alone and does not count towards the verdict",
        "which rise with style and wording alone and do not count towards the verdict",
    ),
    "kept": (
        "which tuning was not meant to change and does not count towards the verdict",
        "which tuning was not meant to change and do not count towards the verdict",
    ),
}
"""Of one task, and of several."""


UNMEASURED = {
    tuple(name for name, task in TASKS.items() if task.role == "right"): (
        "Whether the tuned model is right more often: add “choice” to evaluate.tasks."
    ),
    ("choice-reason", "decision-reason", "vignette-reason"): (
        "Whether its reasoning leads to the right answer: add “choice-reason” or “decision-reason”."
    ),
    ("vignette-direct", "vignette-reason"): (
        "Whether it names the diagnosis of a case: add “vignette-direct”, and name a file of cases in"
        " evaluate.vignette_from."
    ),
    ("general",): "Whether it has forgotten general knowledge: add “general”.",
    ("instructions",): "Whether it still does as it is told: add “instructions”.",
    ("safety",): (
        "Whether it still declines harmful requests: add “safety”, and name a file of requests in evaluate.safety_from."
    ),
}
"""What is open where none of these tasks was run."""


def grounds(verdict: str, rows: Sequence[TaskRow]) -> str:
    """One sentence on what the overall verdict rests on."""
    supporting = [row for row in rows if row.word == verdict]
    counted = [row for row in supporting if row.counted]
    if verdict in ("better", "worse") and counted:
        return f"The tuned model scores {'; and '.join(map(_claim, counted))}."
    if not any(row.role == "right" for row in rows):
        return NOTHING_IS_RIGHT
    none = "No task" if all(row.counted for row in rows) else "No task that the verdict counts"
    if verdict == "underpowered":
        return f"{none} shows a difference beyond chance, and the items were too few to rule out one that matters."
    return f"{none} shows a difference beyond chance between the tuned model and its base."


def reservations(verdict: str, rows: Sequence[TaskRow]) -> list[str]:
    """Sentences on the tasks that say otherwise, and on what the verdict leaves open."""
    said = [
        sentence.format(_named(others))
        for word, sentence in (
            ("worse", "It is worse on {}."),
            ("better", "It is better on {}."),
            ("no difference shown", "No difference was shown on {}."),
        )
        if (others := [row for row in rows if row.word == word and (word != verdict or not row.counted)])
    ]
    weak = [row for row in rows if row.word == "underpowered"]
    said += [f"Too few items to tell on {_named([row])}: {_weakness(row)}." for row in weak]
    return [*_identical(rows), *_lost_answers(rows), *said, *_below_baseline(rows), *_nothing_to_lose(rows)]


def unmeasured(rows: Sequence[TaskRow]) -> list[str]:
    """What this comparison leaves open because no task of it was run, and how to run one."""
    ran = {row.task for row in rows}
    return [how for tasks, how in UNMEASURED.items() if not ran & set(tasks)]


def _lost_answers(rows: Sequence[TaskRow]) -> Iterator[str]:
    """Where one model gave readable answers more often, the difference is one of form, too."""
    for row in rows:
        base, tuned, n = row.base["unparsed"], row.tuned["unparsed"], row.compared["n"]
        if base != tuned:
            silent = n in (base, tuned)
            shows = (
                "only which of them answers at all" if silent else "which of them answers at all, beside what it says"
            )
            yield (
                f"On {_lower(row)} the base gave no readable answer to {base} of {n} items, the tuned model to {tuned}"
                f" of {n}; these score 0, so the difference shows {shows}."
            )
        elif base:
            yield f"On {_lower(row)} neither model gave a readable answer to {base} of {n} items; these score 0."


def _identical(rows: Sequence[TaskRow]) -> Iterator[str]:
    for row in rows:
        if row.compared.get("identical"):
            yield f"On {_lower(row)} the two models gave the same on every item: their outputs are identical."


def _below_baseline(rows: Sequence[TaskRow]) -> Iterator[str]:
    for row in rows:
        if row.baseline is not None and not row.above_baseline:
            yield (
                f"On {_lower(row)} the tuned model is not shown to beat ignoring the question"
                f" ({numbers.value(row.baseline, row.metric)})."
            )


def _nothing_to_lose(rows: Sequence[TaskRow]) -> Iterator[str]:
    for row in rows:
        if nothing_to_lose(row.task, row.compared["base"]):
            reached = numbers.value(row.compared["base"], row.metric)
            yield (
                f"On {_lower(row)} the base reaches only {reached}, so there was little to lose: that nothing was lost"
                " says little."
            )


def _claim(row: TaskRow) -> str:
    compared = row.compared
    direction = "higher" if compared["difference"] > 0 else "lower"
    return (
        f"{numbers.size(compared['difference'], row.metric)} {direction} than its base on {_lower(row)}"
        f" ({row.metric}, n = {numbers.count(compared['n'])}, 95 % interval of the difference"
        f" {numbers.differences(compared['ci'], row.metric)}, adjusted {numbers.equation(compared['p_adjusted'])})"
    )


def _named(rows: Sequence[TaskRow]) -> str:
    """The tasks by name; those that do not count come last, with the reason."""
    said = [" and ".join(_lower(row) for row in rows if row.counted)]
    for role, reasons in NOT_COUNTED.items():
        if others := [_lower(row) for row in rows if row.role == role and not row.counted]:
            said.append(f"{' and '.join(others)}, {reasons[len(others) > 1]}")
    return "; ".join(filter(None, said))


def _weakness(row: TaskRow) -> str:
    smallest, items = row.compared["detectable"], f"{numbers.count(row.compared['n'])} items"
    if not smallest:
        return items
    if numbers.is_share(row.metric) and smallest >= 1:
        return f"{items} can show nothing"
    return f"{items} show only differences of {numbers.size(smallest, row.metric)} or more"


def _lower(row: TaskRow) -> str:
    """The label in the middle of a sentence."""
    return row.label[:1].lower() + row.label[1:]
