"""Items of the evaluation that stand among the training rows, word for word or reworded.

In: the rows that are trained, and every set that the model is judged on. What is the same question, `data.questions`
says; reworded items are found by the data stage's own detector, in every text of a row.
"""

from collections.abc import Iterator, Mapping, Sequence

from bedside.data.contamination import Detector, item_texts, trained
from bedside.data.questions import Questions
from bedside.lint.findings import Finding, Severity, place_of
from bedside.records import Example


def train_test_leak(
    train: Sequence[Example], held: Mapping[str, Sequence[Example]], reworded: Severity
) -> Iterator[Finding]:
    """A finding for each training row that holds an item of a held-out set; `reworded` is the severity of those."""
    asked = {name: Questions(items) for name, items in held.items()}
    detector = Detector({name: item_texts(items) for name, items in held.items()})
    for example in train:
        same = next(((name, item.id) for name, items in asked.items() for item in items.like(example)), None)
        if same:
            message = f"its question is that of item '{same[1]}' of {same[0]}, on which the model is judged"
            yield Finding("train-test-leak", "error", place_of(example), message)
        elif hits := detector.check(*trained(example)):
            found = hits[0]
            what = (
                f"item '{found.item.id}' of {found.item.set}, on which the model is judged (overlap {found.score:.2f})"
            )
            yield Finding("train-test-leak", reworded, place_of(example), f"it contains {what}: {found.text[:60]!r}")
