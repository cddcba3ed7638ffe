"""Items of the evaluation that stand among the training rows, word for word or reworded.

In: the rows that are trained, every set that the model is judged on, and the files of `data.against`. What is the same
question, `data.questions` says; reworded items are found by the data stage's own detector, in every text of a row.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bedside.data.contamination import Detector, item_texts, trained
from bedside.data.questions import Questions
from bedside.lint.findings import Finding, Severity, place_of
from bedside.records import Example


def train_test_leak(
    train: Sequence[Example],
    held: Mapping[str, Sequence[Example]],
    reworded: Severity,
    against: Mapping[str, Iterable[tuple[str, str]]],
) -> Iterator[Finding]:
    """A finding for each training row that holds an item of a held-out set; `reworded` is the severity of those.

    Of the sets in `against`, (item id, text) of each, no more is known than their texts: every item is looked for as a
    reworded one is.
    """
    asked = {name: Questions(items) for name, items in held.items()}
    detector = Detector({name: item_texts(items) for name, items in held.items()} | dict(against))
    for example in train:
        same = next(((name, item.id) for name, items in asked.items() for item in items.like(example)), None)
        if same:
            message = f"its question is that of item '{same[1]}' of {same[0]}, on which the model is judged"
            yield Finding("train-test-leak", "error", place_of(example), message)
        elif hits := detector.check(*trained(example)):
            found = hits[0]
            judged = ", on which the model is judged" if found.item.set in held else ", a file of data.against,"
            what = f"item '{found.item.id}' of {found.item.set}{judged} (overlap {found.score:.2f})"
            yield Finding("train-test-leak", reworded, place_of(example), f"it contains {what}: {found.text[:60]!r}")
