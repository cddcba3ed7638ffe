"""What is measured, and on which held-out items.

| task | items | one item's score |
|---|---|---|
| choice | multiple-choice file | 1 if the likeliest option is right |
| decision | test rows with yes/no/maybe | 1 if the likeliest decision is right |
| likelihood | test rows | log-likelihood per token (nats) of reasoning and answer as they would be trained |
| rouge | test rows | ROUGE-L F1 of the generated answer |

None of them can fail to parse: likelihoods always rank, and a generation without an answer is counted as such.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bedside.data.questions import Questions
from bedside.data.sources import read_choices
from bedside.data.split import place
from bedside.errors import DataError
from bedside.metrics.overlap import require_rouge
from bedside.recipe import Recipe, TaskName
from bedside.records import Example
from bedside.text.chat import DECISIONS


@dataclass(frozen=True, slots=True)
class Task:
    """`matters` is the smallest difference worth having; `fit` says that style and wording alone move it."""

    metric: str
    matters: float
    fit: bool = False


TASKS: dict[TaskName, Task] = {
    "choice": Task("accuracy", 0.05),
    "decision": Task("accuracy", 0.05),
    "likelihood": Task("log-likelihood per token", 0.05, fit=True),
    "rouge": Task("ROUGE-L F1", 0.02, fit=True),
}


SCORED_BY: dict[TaskName, tuple[str, ...]] = {"choice": ("choice_scoring",), "rouge": ("max_tokens", "answer_tokens")}
"""Settings of `[evaluate]` that change a task's score; two models are comparable only where these are the same."""


def select(recipe: Recipe, train: Sequence[Example], test: Sequence[Example]) -> dict[TaskName, list[Example]]:
    """The items of each task. Raises DataError if a task has none, MissingExtra if it cannot be scored."""
    if "rouge" in recipe.evaluate.tasks:
        require_rouge()
    chosen: dict[TaskName, list[Example]] = {}
    for task in recipe.evaluate.tasks:
        limit = recipe.evaluate.generate_limit if task == "rouge" else recipe.evaluate.limit
        chosen[task] = draw(_candidates(task, recipe, train, test), limit, recipe.seed)
        if not chosen[task]:
            raise DataError(
                f"evaluate.tasks: no held-out item for '{task}'; leave the task out or enlarge the test split"
            )
        name, count = Counter(item.id for item in chosen[task]).most_common(1)[0]
        if count > 1:
            raise DataError(f"evaluate.tasks: {count} items of '{task}' have the id '{name}'; give each its own")
    return chosen


def draw(items: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """`limit` items by seed, in an order that depends on nothing else: the first n of more items are the same n."""
    return sorted(items, key=lambda item: (place(f"draw {item.id} {item.question}", seed), item.id))[:limit]


def demonstration(test: Sequence[Example], seed: int) -> Example:
    """The held-out question that a run is shown with: drawn, not chosen; one with reasoning where there is any."""
    reasoned = [example for example in test if example.reasoning]
    return draw(reasoned or test, 1, seed)[0]


def baseline(task: TaskName, items: Sequence[Example]) -> float | None:
    """What ignoring the question gets: chance for choices, always the commonest decision; None where none exists."""
    if task == "choice":
        return sum(1 / len(item.options) for item in items) / len(items)
    if task == "decision":
        return Counter(item.label for item in items).most_common(1)[0][1] / len(items)
    return None


def _candidates(task: TaskName, recipe: Recipe, train: Sequence[Example], test: Sequence[Example]) -> list[Example]:
    if task == "choice":
        asked = Questions(train)
        items = read_choices(recipe.evaluate.choice_from)
        return [item for item in items if not any(asked.like(item))]
    if task == "decision":
        return [item for item in test if item.label in DECISIONS]
    if task == "rouge":
        return [item for item in test if not item.options]
    return list(test)
