"""Items of the evaluation that stand among the training rows, word for word or reworded.

In: the rows that are trained, and every set that the model is judged on. A question is the same if its words are,
whatever their case, spacing and punctuation; where both sides bring options, those must be the same, too, for "Which of
the following is true?" is asked about many things. Reworded items are found by the data stage's own
detector, in every text of a row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bedside.data.contamination import Detector, item_texts, trained
from bedside.data.shingles import words
from bedside.lint.findings import Finding, Severity, place_of
from bedside.records import Example

Words = tuple[str, ...]


def train_test_leak(
    train: Sequence[Example], held: Mapping[str, Sequence[Example]], reworded: Severity
) -> Iterator[Finding]:
    """A finding for each training row that holds an item of a held-out set; `reworded` is the severity of those."""
    same = _same_question(held)
    detector = Detector({name: item_texts(items) for name, items in held.items()})
    for example in train:
        name, item = same(example)
        if name:
            message = f"its question is that of item '{item}' of {name}, on which the model is judged"
            yield Finding("train-test-leak", "error", place_of(example), message)
        elif hits := detector.check(*trained(example)):
            found = hits[0]
            what = (
                f"item '{found.item.id}' of {found.item.set}, on which the model is judged (overlap {found.score:.2f})"
            )
            yield Finding("train-test-leak", reworded, place_of(example), f"it contains {what}: {found.text[:60]!r}")


def _same_question(held: Mapping[str, Sequence[Example]]) -> Callable[[Example], tuple[str, str]]:
    """Finds (set, id) of an item that asks what a training row asks; ("", "") if there is none."""
    asked: dict[Words, list[tuple[str, Example]]] = {}
    for name, items in held.items():
        for item in items:
            asked.setdefault(tuple(words(item.question)), []).append((name, item))

    def find(example: Example) -> tuple[str, str]:
        alike = asked.get(tuple(words(example.question)), ())
        return next(((name, item.id) for name, item in alike if _same_options(example, item)), ("", ""))

    return find


def _same_options(one: Example, other: Example) -> bool:
    """Whether two rows have the same options, in any order, as far as both have any."""
    ours, theirs = ({tuple(words(option)) for option in row.options} for row in (one, other))
    return not ours or not theirs or ours == theirs
