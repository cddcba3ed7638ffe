"""Which training rows contain an evaluation item, or reproduce a passage that answers are looked up in.

    detector = Detector({"medqa": item_texts(items), "documents": passages})
    tally = Tally(detector)
    for row in rows:
        hits = tally.check(row.id, *trained(row))   # worst first, empty for a clean row
    tally.to_json()                                 # per set: counts, and the worst pairs side by side

The measure is containment (Broder 1997, "On the resemblance and containment of documents") of the smaller text in the
larger, over word triples:

    score = weight of the shared triples / min(weight of the one text's triples, weight of the other's)

A triple's weight is 1 / (number of evaluation texts that have it), so that "which of the following is the most likely
diagnosis" counts next to nothing and a finding fully. GPT-3 (arXiv:2005.14165, appendix C) takes one shared run of 8 to
13 words for a sign; that finds copies, but loses a text in which a word a line was replaced, and flags shared
boilerplate. Triples survive rewording, and their weights do the telling apart. The smaller text decides, since a row
may hold an item among other text, and may itself be a piece of a passage.

A text of fewer triples than `SHORT` is about one name ("treatments for glycogen storage disease type IV"), which other
questions share, and one that weighs less than `LIGHT` is nothing but boilerplate: either counts only where all its
words are the same, in any order. Several questions about one case share its triples, and are heavy enough all the same.

The index holds no texts, which are gone through once more for the pairs that are shown, but up to 20 bytes a triple and
some 400 a text, and twice as much while it is made: documents take about three times their size, and six at the peak.
"""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bedside.data.shingles import Shingles, shingles, words
from bedside.records import Example

Positions = NDArray[np.int64]
THRESHOLD = 0.4
"""Chosen on half of MedQA-dev: reworded items score 0.46 and more, two items 0.32 and less, variants of one apart."""
SHORT = 15
LIGHT = 6.0
"""From 10 down questions about one disease are taken for each other, from 20 up MedQA's shortest items are lost."""
FEWEST_WORDS = 3  # "Yes" is no evidence
WORST = 5
EXCERPT = 400


class Item(NamedTuple):
    """A text of an evaluation set, by its number in the set; an item of several texts is found by any of them."""

    set: str
    id: str
    number: int


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a training text contains, with that text; `score` is from `THRESHOLD` to 1."""

    item: Item
    score: float
    text: str


def evaluated(example: Example) -> Iterator[str]:
    """What gives an evaluation item away, each by itself: the question with its options and without them, what was
    asked before it in a conversation, and the context."""
    yield from _asked(example)
    if example.options:
        yield example.question


def item_texts(items: Iterable[Example]) -> list[tuple[str, str]]:
    """(item id, text) of every text of every item, as `Detector` takes them."""
    return [(item.id, text) for item in items for text in evaluated(item)]


def trained(example: Example) -> Iterator[str]:
    """The texts of a training row, each of which is held against the items.

    A question with options is held against them with its options alone: "Which of the following is true?" is asked
    about many things.
    """
    yield from _asked(example)
    yield from (text for text in (example.reasoning, example.answer) if text)
    yield from (turn.content for turn in example.history if turn.role != "user")


def _asked(example: Example) -> Iterator[str]:
    yield "\n".join((example.question, *example.options))
    before = [turn.content for turn in example.history if turn.role == "user"]
    if before:
        yield "\n".join(before)
    if example.context:
        yield example.context


class Detector:
    """The evaluation sets as an inverted index from triples to texts.

    `sets` gives (item id, text) pairs by name, and gives them again when texts are to be shown.
    """

    def __init__(self, sets: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        self.sizes: dict[str, int] = {}
        self._sets = sets
        self._at: dict[int, int] = {}  # bag of words → number of the text: the same text in two sets is one
        self._items: list[tuple[Item, ...]] = []
        triples, sizes = array("Q"), array("q")
        for name, pairs in sets.items():
            ids = set()
            for place, (item_id, text) in enumerate(pairs):
                ids.add(item_id)
                told = words(text)
                if len(told) < FEWEST_WORDS:
                    continue
                number = self._at.setdefault(_bag(told), len(sizes))
                if number == len(sizes):
                    own = shingles(told)
                    triples.frombytes(own.tobytes())
                    sizes.append(len(own))
                    self._items.append(())
                self._items[number] += (Item(name, item_id, place),)
            self.sizes[name] = len(ids)
        self._index(np.frombuffer(triples, np.uint64), np.frombuffer(sizes, np.int64))

    def _index(self, triples: Shingles, sizes: Positions) -> None:
        """Texts by triple: each distinct triple, where its texts start, and the texts of one after the other."""
        numbers = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        self._texts = numbers[np.argsort(triples, kind="stable")]
        triples.sort()  # in place, since that of a corpus is large
        starts = np.flatnonzero(np.diff(triples, prepend=~triples[:1]))  # the first one is not its complement
        self._triples = triples[starts]
        self._starts = np.append(starts, len(triples))
        counts = np.diff(self._starts)
        self._own = np.bincount(self._texts, np.repeat(1.0 / counts, counts), minlength=len(sizes))
        self._own[sizes < SHORT] = 0.0

    def texts(self, name: str, numbers: Collection[int]) -> dict[int, str]:
        """The texts of a set that have these numbers."""
        return {number: text for number, (_, text) in enumerate(self._sets[name]) if number in numbers}

    def check(self, *texts: str) -> list[Hit]:
        """The items that a row's texts contain, worst first, each once."""
        best: dict[tuple[str, str], Hit] = {}
        for text in texts:
            for number, score in self._scores(words(text)):
                for item in self._items[number]:
                    hit = best.get(item[:2])
                    if hit is None or hit.score < score:
                        best[item[:2]] = Hit(item, score, text)
        return sorted(best.values(), key=lambda hit: -hit.score)

    def _scores(self, told: Sequence[str]) -> Iterator[tuple[int, float]]:
        """(number of the evaluation text, score) where it reaches the threshold."""
        equal = self._at.get(_bag(told))
        if equal is not None:
            yield equal, 1.0
        triples = shingles(told)
        known = self._known(triples)
        weights = 1.0 / (self._starts[known + 1] - self._starts[known])
        shared = weights.sum()
        own = shared + len(triples) - len(known)  # a triple of no evaluation text counts fully
        if len(triples) < SHORT or shared < THRESHOLD * LIGHT:  # most rows end here
            return
        yield from self._contained(known, weights, own)

    def _known(self, triples: Shingles) -> Positions:
        """Where those triples that an evaluation text has stand in the index."""
        if not len(self._triples):
            return np.empty(0, dtype=np.int64)
        at = np.searchsorted(self._triples, triples)
        at[at == len(self._triples)] = 0
        known: Positions = at[self._triples[at] == triples]
        return known

    def _contained(self, known: Positions, weights: NDArray[np.float64], own: float) -> Iterator[tuple[int, float]]:
        """(number, score) of the evaluation texts that share enough of a text that weighs `own`."""
        texts = np.concatenate([self._texts[self._starts[i] : self._starts[i + 1]] for i in known])
        shared = np.bincount(texts, np.repeat(weights, self._starts[known + 1] - self._starts[known]))
        smaller = np.minimum(self._own[: len(shared)], own)
        for number in np.flatnonzero((smaller >= LIGHT) & (shared >= THRESHOLD * smaller)).tolist():
            yield number, round(min(float(shared[number] / smaller[number]), 1.0), 4)


class Tally:
    """Checks the rows of a training set one after the other, and remembers what a report shows."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._rows: dict[str, int] = defaultdict(int)
        self._items: dict[str, set[str]] = defaultdict(set)
        self._worst: dict[str, list[tuple[float, int, str, Hit]]] = defaultdict(list)
        self._order = count(0, -1)

    def check(self, train_id: str, *texts: str) -> list[Hit]:
        """The items that a row contains, worst first; see `Detector.check`."""
        hits = self._detector.check(*texts)
        for name in {hit.item.set for hit in hits}:
            self._rows[name] += 1
        for hit in hits:
            self._items[hit.item.set].add(hit.item.id)
            worst = self._worst[hit.item.set]
            heapq.heappush(worst, (hit.score, next(self._order), train_id, hit))  # of equals the first stays
            if len(worst) > WORST:
                heapq.heappop(worst)
        return hits

    def to_json(self) -> list[dict[str, Any]]:
        """Per set: its items, the rows that contain one, the items so contained, and the worst pairs."""
        return [
            {
                "set": name,
                "items": size,
                "rows": self._rows[name],
                "hit_items": len(self._items[name]),
                "pairs": self._pairs(name),
            }
            for name, size in self._detector.sizes.items()
        ]

    def _pairs(self, name: str) -> list[dict[str, Any]]:
        worst = [(train_id, hit) for _, _, train_id, hit in sorted(self._worst[name], reverse=True)]
        texts = self._detector.texts(name, {hit.item.number for _, hit in worst}) if worst else {}
        return [_pair(train_id, hit, texts[hit.item.number]) for train_id, hit in worst]


def _bag(told: Sequence[str]) -> int:
    """The same for the same words in any order."""
    return hash(tuple(sorted(told)))


def _pair(train_id: str, hit: Hit, text: str) -> dict[str, Any]:
    """The two texts of a hit, each cut to the part around their longest common run of words."""
    ours, theirs = words(hit.text), words(text)
    run = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match()
    return {
        "score": hit.score,
        "train_id": train_id,
        "train": _excerpt(hit.text, run.a / len(ours)),
        "item_id": hit.item.id,
        "item": _excerpt(text, run.b / len(theirs)),
    }


def _excerpt(text: str, at: float) -> str:
    """At most `EXCERPT` characters, from a little before the share `at` of the text."""
    start = max(0, min(round(at * len(text)) - EXCERPT // 8, len(text) - EXCERPT))
    ends = (
        "\N{HORIZONTAL ELLIPSIS}" if start else "",
        "\N{HORIZONTAL ELLIPSIS}" if start + EXCERPT < len(text) else "",
    )
    return text[start : start + EXCERPT].join(ends)
