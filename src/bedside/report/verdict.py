"""The verdict in plain sentences: what it rests on, what speaks otherwise, and what it does not say."""

from collections.abc import Iterator, Sequence

from bedside.evaluate.tasks import Role, nothing_to_lose
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


def grounds(verdict: str, rows: Sequence[TaskRow]) -> str:
    """One sentence on what the overall verdict rests on."""
    supporting = [row for row in rows if row.word == verdict]
    counted = [row for row in supporting if row.counted]
    if verdict in ("better", "worse") and counted:
        return f"The tuned model scores {'; and '.join(map(_claim, counted))}."
    if not any(row.role == "right" for row in rows):
        return NOTHING_IS_RIGHT
    none = "No task" if all(row.counted for row in rows) else "No task that the verdict counts"
    if any(row.counted and row.guessing for row in rows):
        none = f"Where the base is taken to guess when its answer cannot be read, {none[:1].lower()}{none[1:]}"
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
    before = [*_identical(rows), *_lost_answers(rows), *_came_about(rows)]
    return [*before, *said, *_below_baseline(rows), *_nothing_to_lose(rows)]


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
                f" of {n}; these score 0, so the difference shows {shows}.{_guessed(row)}"
            )
        elif base:
            yield f"On {_lower(row)} neither model gave a readable answer to {base} of {n} items; these score 0."


def _guessed(row: TaskRow) -> str:
    """What the finding rests on where the base is taken to guess, as part of a paragraph."""
    if not (guessing := row.guessing):
        return ""
    base = numbers.value(guessing["base"], row.metric)
    difference = numbers.difference(guessing["difference"], row.metric)
    return (
        f" Taken to guess there, the base would reach {base}: the finding rests on that difference, {difference}"
        f" ({numbers.differences(guessing['ci'], row.metric)}, adjusted {numbers.equation(guessing['p'])})."
    )


def _came_about(rows: Sequence[TaskRow]) -> Iterator[str]:
    """Where answers that should come after reasoning did not, or only when they were made to."""
    for row in rows:
        n, reasoned = row.compared["n"], row.compared.get("reasoned")
        base, tuned = row.compared.get("forced", (0, 0))
        if base or tuned:
            yield (
                f"On {_lower(row)} reasoning filled its tokens and was closed, so that an answer came: the base's on"
                f" {base} of {n} items, the tuned model's on {tuned}."
            )
        if row.task.endswith("-reason") and reasoned and min(reasoned) < n:
            yield (
                f"On {_lower(row)} the base reasoned before it answered on {reasoned[0]} of {n} items, the tuned model"
                f" on {reasoned[1]}."
            )


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
        if nothing_to_lose(row.task, row.compared["base"], row.baseline):
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
    smallest, items = (row.guessing or row.compared)["detectable"], f"{numbers.count(row.compared['n'])} items"
    if not smallest:
        return items
    if numbers.is_share(row.metric) and smallest >= 1:
        return f"{items} can show nothing"
    return f"{items} show only differences of {numbers.size(smallest, row.metric)} or more"


def _lower(row: TaskRow) -> str:
    """The label in the middle of a sentence."""
    return row.label[:1].lower() + row.label[1:]
