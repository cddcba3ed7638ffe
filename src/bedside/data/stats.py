"""One row at a time → the counts and lengths by which a person judges a data set.

In: every kept row with its split and what cleaning changed in it, and the reason of every row that was left out. Out:
one JSON object: with the token lengths it is `stats.json`, what `bedside data --json` prints, and what report and cards
are made of. No row is held: a length takes four bytes, the points of the scatter are a sample that is drawn by hash,
and of labels and subjects, which may be free text, so many names are counted and the rest together.
"""

import hashlib
import heapq
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bedside.data import shingles
from bedside.data.questions import says
from bedside.data.split import SPLITS, Split
from bedside.records import Example

Json = dict[str, Any]
FIELDS = ("question", "context", "reasoning", "answer")
PARTS = ("prompt", "reasoning", "answer")
LIMITS = (512, 1024, 2048, 4096)
"""Token lengths that are asked about beside the recipe's own `model.max_length`."""
EXACT, NEAR = "duplicate", "near duplicate"
"""Reasons under which a copy of another row is left out."""
CONTRADICTS = "copy with another label"
"""The reason of a copy whose question is the other's and whose label is not: one of the two is wrong."""
RELATED = "question or group of an official row"
"""The reason of a row that stands with one whose split a file of ids names, and is not named itself."""
OVER_LIMIT, CONTAINS = "over data.limit", "contains an item of "
"""The reason of rows that were not drawn; how that of a contaminated row begins, before the name of the set."""
POINTS, PAIRS = 500, 5
EXCERPT = 200
BINS = 20
COUNTED_NAMES, LISTED_NAMES, NAME_LENGTH = 10_000, 50, 100
"""Labels, or subjects, that are counted one by one; those that are listed, the commonest; their characters."""
CJK = re.compile(f"[{shingles.CJK}]")


class Names:
    """How many rows of each split have which label, or subject; past a limit new names are counted together."""

    def __init__(self) -> None:
        self._named: dict[str, Counter[Split]] = {}
        self.rows: Counter[Split] = Counter()

    def add(self, name: str, split: Split) -> None:
        """Counts a row; the beginning of a long name stands for it."""
        if len(name) > NAME_LENGTH:
            name = name[: NAME_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
        self.rows[split] += 1
        if name in self._named or len(self._named) < COUNTED_NAMES:
            self._named.setdefault(name, Counter())[split] += 1

    def listed(self) -> dict[str, Counter[Split]]:
        """The commonest names, the commonest first, with their rows in each split."""
        ranked = sorted(self._named.items(), key=lambda one: (-one[1].total(), one[0]))
        return dict(ranked[:LISTED_NAMES])

    def others(self) -> Json:
        """How many names are not listed, and their rows; where not all are counted, there are so many at least."""
        listed = sum(counts.total() for counts in self.listed().values())
        counted = sum(counts.total() for counts in self._named.values())
        names = len(self._named) - len(self.listed())
        return {"names": names, "rows": self.rows.total() - listed, "all_counted": counted == self.rows.total()}


class Statistics:
    """What is known of the rows so far; the order in which they come makes no difference."""

    def __init__(self) -> None:
        self._dropped: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._splits: Counter[Split] = Counter()
        self._labels, self._subjects = Names(), Names()
        self._words = {field: array("I") for field in FIELDS}
        self._answers_to_reasoning = array("I")
        self._points: list[tuple[int, int, int]] = []
        self._contradictions: list[Json] = []

    def add(self, example: Example, split: Split, changes: frozenset[str]) -> None:
        """Counts a kept row; `changes` names the kinds of cleaning that altered it."""
        counts = {field: words(text) for field in FIELDS if (text := getattr(example, field))}
        for field, count in counts.items():
            self._words[field].append(count)
        self._splits[split] += 1
        self._changed.update(changes)
        if example.label:
            self._labels.add(example.label, split)
        if example.subject:
            self._subjects.add(example.subject, split)
        if example.reasoning:
            self._pair(example.id, counts["reasoning"], counts.get("answer", 0))

    def drop(self, reason: str) -> None:
        """Counts a row that was left out."""
        self._dropped[reason] += 1

    def contradict(self, dropped: Example, kept: Example) -> None:
        """Notes the first few rows that were left out as contradicting copies, beside those that stay."""
        if len(self._contradictions) < PAIRS:
            told = {"row": dropped.where or dropped.id, "says": says(dropped), "question": dropped.question[:EXCERPT]}
            self._contradictions.append({**told, "kept": kept.where or kept.id, "kept_says": says(kept)})

    def to_json(self, contamination: Sequence[Mapping[str, Any]] = ()) -> Json:
        """All figures that need no model; `contamination` is what each evaluation set shares."""
        labels, subjects = dict(sorted(self._labels.listed().items())), self._subjects.listed()
        kept = self._splits.total()
        read = kept + self._dropped.total()
        return {
            "read": read,
            "kept": kept,
            "dropped": dict(self._dropped.most_common()),
            "splits": {split: self._splits[split] for split in SPLITS},
            "with_reasoning": len(self._words["reasoning"]),
            "labels": {label: counts.total() for label, counts in labels.items()},
            "other_labels": self._labels.others(),
            "subjects": {subject: counts.total() for subject, counts in subjects.items()},
            "other_subjects": self._subjects.others(),
            "words": {field: lengths(counts) for field, counts in self._words.items()},
            "changed": dict(self._changed.most_common()),
            "duplicates": self._duplicates(read),
            "contradictions": self._contradictions,
            "labelled": {split: self._labels.rows[split] for split in SPLITS},
            "labels_by_split": {split: {name: labels[name][split] for name in labels} for split in SPLITS if labels},
            "reasoning_against_answer": self._reasoning_against_answer(),
            "contamination": [dict(found) for found in contamination],
        }

    def _pair(self, id_: str, reasoning: int, answer: int) -> None:
        """Notes both lengths of a row, and keeps them as a point if the row's hash is among the smallest."""
        self._answers_to_reasoning.append(answer)
        place = int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest())
        add = heapq.heappush if len(self._points) < POINTS else heapq.heappushpop
        add(self._points, (-place, reasoning, answer))

    def _duplicates(self, read: int) -> dict[str, float]:
        exact, near = self._dropped[EXACT], self._dropped[NEAR]
        return {"exact": exact, "near": near, "share": round((exact + near) / read, 4) if read else 0.0}

    def _reasoning_against_answer(self) -> Json | None:
        reasoning, answers = self._words["reasoning"], self._answers_to_reasoning
        if not reasoning:
            return None
        points = sorted([reasoned, answered] for _, reasoned, answered in self._points)
        return {"n": len(reasoning), "correlation": correlation(reasoning, answers), "points": points}


def token_lengths(rows: Iterable[tuple[int, int, int]], model: str, max_length: int) -> Json | None:
    """How long the rows are to a model, from each row's tokens of prompt, reasoning and answer; None of no rows.

    `cut_at_max_length` tells in which part the first token beyond `max_length` stands, so its counts sum to the rows
    that are longer.
    """
    counts_RP = np.array(list(rows), dtype=np.int64).reshape(-1, len(PARTS))
    if not len(counts_RP):
        return None
    ends_RP = counts_RP.cumsum(axis=1)
    beyond = (ends_RP > max_length).sum(axis=0)
    asked = sorted({*LIMITS, max_length})
    return {
        "model": model,
        "rows": len(counts_RP),
        "prompt": lengths(counts_RP[:, 0]),
        "reasoning": lengths(counts_RP[:, 1][counts_RP[:, 1] > 0]),
        "answer": lengths(counts_RP[:, 2]),
        "whole": lengths(ends_RP[:, -1]),
        "max_length": max_length,
        "longer_than": {str(limit): int((ends_RP[:, -1] > limit).sum()) for limit in asked},
        "cut_at_max_length": dict(zip(PARTS, np.diff(beyond, prepend=0).tolist(), strict=True)),
    }


def lengths(counts: Sequence[int] | npt.NDArray[np.int64]) -> Json | None:
    """Mean, median, standard deviation, largest, and the counts in bins; None of nothing."""
    if not len(counts):
        return None
    values = np.asarray(counts)
    median = float(np.median(values))
    return {
        "n": len(values),
        "mean": round(float(values.mean()), 1),
        "median": int(median) if median.is_integer() else median,
        "stdev": round(float(values.std(ddof=1)), 1) if len(values) > 1 else 0.0,
        "max": int(values.max()),
        "histogram": histogram(values),
    }


def histogram(counts: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, list[int]]:
    """At most `BINS` bins of one whole width from 0, as `edges` and `counts`.

    Where the longest is more than twice as long as 99 % of all, one further and wider bin takes what lies beyond
    those: on one scale with it they would all stand in the first bin.
    """
    values = np.asarray(counts)
    longest, usual = int(values.max()), int(np.quantile(values, 0.99))
    top = longest if longest <= 2 * usual else usual
    width = top // BINS + 1
    edges = list(range(0, top + width + 1, width))
    if longest >= edges[-1]:
        edges.append(longest + 1)
    return {"edges": edges, "counts": np.histogram(values, edges)[0].tolist()}


def correlation(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Pearson's r in [−1, 1]; None where there are fewer than three rows or one side does not vary."""
    if len(first) < 3 or min(np.ptp(first), np.ptp(second)) == 0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 3)


def words(text: str) -> int:
    """Number of words: split at white space, or sign by sign where Chinese or Japanese has none."""
    if text.isascii() or not CJK.search(text):
        return len(text.split())
    return len(shingles.words(text))
