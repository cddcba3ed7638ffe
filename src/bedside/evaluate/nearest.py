"""The training row that is most like a held-out item, so that a reader sees how far the two are apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bedside.data.shingles import Shingles, shingles, words
from bedside.records import Example


@dataclass(frozen=True, slots=True)
class Nearest:
    """A training row, and the share of the words of either that both have (Jaccard), in [0, 1]."""

    id: str
    question: str
    answer: str
    overlap: float


def nearest(items: Sequence[Example], train: Iterable[Example]) -> dict[str, Nearest]:
    """{id of an item: its nearest training row, the first of several}, by the words of question and answer.

    Nobody's where there is no training row with a word. Takes time with items times rows, some 10 µs a pair.
    """
    sought = {item.id: _words(item) for item in items}
    found: dict[str, Nearest] = {}
    for row in train:
        of_row = _words(row)
        for name, of_item in sought.items():
            overlap = _jaccard(of_item, of_row)
            if overlap and (name not in found or overlap > found[name].overlap):
                found[name] = Nearest(row.id, row.question, row.answer, overlap)
    return found


def _words(example: Example) -> Shingles:
    return shingles(words(f"{example.question} {example.answer}"), 1)


def _jaccard(a: Shingles, b: Shingles) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / ((len(a) + len(b) - both) or 1)
