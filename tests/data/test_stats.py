"""Statistics add up, do not depend on the order of the rows, and never hold them."""

import json
import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data import stats as stats_module
from bedside.data.split import SPLITS, Split
from bedside.data.stats import (
    BINS,
    LISTED_NAMES,
    NAME_LENGTH,
    POINTS,
    Statistics,
    correlation,
    histogram,
    lengths,
    token_lengths,
    words,
)  # fmt: skip
from bedside.records import Example

Kept = tuple[Example, Split, frozenset[str]]


def counted(kept: Iterable[Kept], dropped: Iterable[str] = ()) -> dict[str, Any]:
    statistics = Statistics()
    for example, split, changes in kept:
        statistics.add(example, split, changes)
    for reason in dropped:
        statistics.drop(reason)
    return statistics.to_json()


def row(number: int, **fields: str) -> Kept:
    return Example(str(number), "How so?", "So.", **fields), "train", frozenset()


TEXT = st.text("ab 中\n", max_size=12)
ROWS = st.lists(
    st.tuples(
        st.builds(Example, st.uuids().map(str), TEXT, TEXT, TEXT, TEXT, st.sampled_from(["", "yes", "no"])),
        st.sampled_from(SPLITS),
        st.frozensets(st.sampled_from(["html", "unicode"])),
    ),
    max_size=20,
)


@given(kept=ROWS, dropped=st.lists(st.sampled_from(["duplicate", "near duplicate", "empty answer"])))
def test_everything_adds_up(kept: list[Kept], dropped: list[str]) -> None:
    stats = counted(kept, dropped)
    assert stats["read"] == stats["kept"] + sum(stats["dropped"].values()) == len(kept) + len(dropped)
    assert stats["kept"] == sum(stats["splits"].values())
    by_split = stats["labels_by_split"]
    assert stats["labels"] == {label: sum(by_split[split][label] for split in SPLITS) for label in stats["labels"]}
    assert stats["duplicates"]["exact"] + stats["duplicates"]["near"] <= stats["read"]
    assert stats == json.loads(json.dumps(stats, allow_nan=False))


@given(kept=ROWS, seed=st.integers(0, 9))
def test_the_order_of_the_rows_makes_no_difference(kept: list[Kept], seed: int) -> None:
    shuffled = random.Random(seed).sample(kept, len(kept))
    assert counted(kept) == counted(shuffled)


def test_words_labels_subjects_and_changes_are_counted() -> None:
    stats = counted(
        [
            (Example("1", "one two", "a", "so it is", label="yes", subject="renal"), "train", frozenset({"html"})),
            (Example("2", "one two three four", "b", label="no", subject="renal"), "test", frozenset()),
            (Example("3", "one two three", "c", label="no"), "train", frozenset({"html", "unicode"})),
        ],
        ["duplicate", "near duplicate", "near duplicate", "empty answer", "duplicate"],
    )
    assert stats["splits"] == {"train": 2, "validation": 0, "test": 1}
    assert stats["labels"] == {"no": 2, "yes": 1}
    assert stats["labels_by_split"] == {
        "train": {"no": 1, "yes": 1}, "validation": {"no": 0, "yes": 0}, "test": {"no": 1, "yes": 0},
    }  # fmt: skip
    assert stats["subjects"] == {"renal": 2}
    assert stats["with_reasoning"] == 1
    assert stats["changed"] == {"html": 2, "unicode": 1}
    assert stats["duplicates"] == {"exact": 2, "near": 2, "share": 0.5}
    question = stats["words"]["question"]
    assert [question[key] for key in ("n", "mean", "median", "stdev", "max")] == [3, 3, 3, 1, 4]
    assert stats["words"]["context"] is None


def labelled(names: Iterable[str]) -> dict[str, Any]:
    return counted(row(i, label=name, subject=name) for i, name in enumerate(names))


def test_of_many_names_the_commonest_are_listed_and_the_others_told() -> None:
    names = [f"name {i}" for i in range(LISTED_NAMES + 7) for _ in range(1 + (i >= 7))]
    stats = labelled(names)
    assert stats["subjects"] == {f"name {i}": 2 for i in sorted(range(7, LISTED_NAMES + 7), key=str)}
    assert stats["labels"] == stats["labels_by_split"]["train"] == stats["subjects"]
    assert stats["other_labels"] == stats["other_subjects"] == {"names": 7, "rows": 7, "all_counted": True}
    assert stats["labelled"] == {"train": len(names), "validation": 0, "test": 0}


def test_a_column_of_free_text_fills_neither_memory_nor_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "COUNTED_NAMES", 60)
    stats = labelled(["first", *(f"{i} {'x' * 10_000}" for i in range(500)), "first"])
    assert stats["labels"]["first"] == 2
    assert stats["other_labels"] == {"names": 10, "rows": 502 - 2 - 49, "all_counted": False}
    assert max(map(len, stats["labels"])) == NAME_LENGTH
    assert len(json.dumps(stats)) < 60 * 4 * LISTED_NAMES * 10


def test_nothing_is_counted_as_nothing() -> None:
    stats = Statistics().to_json()
    assert (stats["read"], stats["kept"], stats["dropped"], stats["labels_by_split"]) == (0, 0, {}, {})
    assert stats["duplicates"]["share"] == 0
    assert stats["reasoning_against_answer"] is stats["words"]["question"] is None


def test_what_others_found_is_passed_on() -> None:
    found = {"set": "medqa", "items": 3, "rows": 1, "hit_items": 1, "action": "drop", "pairs": []}
    assert Statistics().to_json([found])["contamination"] == [found]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        (" \n", 0),
        ("one", 1),
        ("a 3.5 mg\ndose", 4),
        ("β-blocker naïve", 2),
        ("胸痛两小时", 5),
        ("胸痛2小时，BP 84/56。", 8),
        ("心不全とは", 5),
    ],
)
def test_words_are_split_at_white_space_and_signs_where_there_is_none(text: str, number: int) -> None:
    assert words(text) == number


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=80))
def test_a_histogram_counts_every_length_once_in_its_bin(counts: list[int]) -> None:
    found = histogram(counts)
    edges = found["edges"]
    assert len(edges) == len(found["counts"]) + 1 <= BINS + 2
    inside = [sum(low <= count < high for count in counts) for low, high in pairwise(edges)]
    assert found["counts"] == inside
    assert sum(found["counts"]) == len(counts)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=80))
def test_all_bins_but_the_last_are_of_one_width(counts: list[int]) -> None:
    widths = np.diff(histogram(counts)["edges"])
    assert len(set(widths[:-1])) <= 1
    assert widths[-1] >= widths[0]


def test_one_endless_row_does_not_flatten_the_others() -> None:
    usual = [20 + i % 40 for i in range(500)]
    found = histogram([*usual, 90_000])
    assert found["edges"][-2] <= 80
    assert found["counts"][-1] == 1
    assert sum(count > 0 for count in found["counts"]) > 10


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60))
def test_lengths_are_those_of_numpy(counts: list[int]) -> None:
    found = lengths(counts)
    assert found is not None
    assert found["median"] == np.median(counts)
    assert (found["n"], found["max"]) == (len(counts), max(counts))
    assert found["mean"] == pytest.approx(np.mean(counts), abs=0.051)
    assert found["stdev"] == (pytest.approx(np.std(counts, ddof=1), abs=0.051) if len(counts) > 1 else 0)


def test_a_whole_median_is_written_as_a_whole_number() -> None:
    assert json.dumps([lengths([1, 3])["median"], lengths([1, 2])["median"]]) == "[2, 1.5]"  # type: ignore[index]


@pytest.mark.parametrize(
    ("first", "second", "r"),
    [([1, 2, 3], [2, 4, 6], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 2], [1, 2], None), ([1, 1, 1], [1, 2, 3], None)],
)
def test_a_correlation_needs_three_rows_and_lengths_that_vary(first: list[int], second: list[int], r: float) -> None:
    assert correlation(first, second) == r


def test_points_pair_the_lengths_of_one_row() -> None:
    stats = counted([row(1, reasoning="a b c d"), row(2), row(3, reasoning="a b")])
    assert stats["reasoning_against_answer"] == {"n": 2, "correlation": None, "points": [[2, 1], [4, 1]]}


def test_many_points_are_drawn_evenly_and_the_same_each_time() -> None:
    def drawn(order: list[int]) -> list[list[int]]:
        points: list[list[int]] = counted(row(i, reasoning="a " * i) for i in order)["reasoning_against_answer"][
            "points"
        ]
        return points

    numbers = list(range(1, 4 * POINTS + 1))
    points = drawn(numbers)
    assert len(points) == POINTS
    assert points == drawn(numbers[::-1])
    assert np.mean(points, axis=0)[0] == pytest.approx(2 * POINTS, rel=0.1)


def test_tokens_tell_where_the_limit_falls() -> None:
    rows = [(600, 0, 10), (100, 500, 10), (100, 400, 100), (100, 0, 413), (100, 300, 112)]
    found = token_lengths(rows, "tiny", 512)
    assert found is not None
    assert found["cut_at_max_length"] == {"prompt": 1, "reasoning": 1, "answer": 2}
    assert found["longer_than"] == {"512": 4, "1024": 0, "2048": 0, "4096": 0}
    assert (found["rows"], found["whole"]["max"], found["reasoning"]["n"]) == (5, 610, 3)


PARTS = st.integers(0, 900)


@given(st.lists(st.tuples(PARTS, PARTS, PARTS), min_size=1, max_size=20), st.integers(16, 3000))
def test_the_parts_in_which_the_limit_falls_sum_to_the_rows_that_are_longer(
    rows: list[tuple[int, int, int]], limit: int
) -> None:
    found = token_lengths(rows, "tiny", limit)
    assert found is not None
    longer = sum(sum(parts) > limit for parts in rows)
    assert sum(found["cut_at_max_length"].values()) == found["longer_than"][str(limit)] == longer
    assert list(map(int, found["longer_than"])) == sorted({512, 1024, 2048, 4096, limit})


def test_no_rows_have_no_tokens() -> None:
    assert token_lengths([], "tiny", 512) is None


def test_rows_without_reasoning_have_no_lengths_of_it() -> None:
    found = token_lengths([(5, 0, 5)], "tiny", 512)
    assert found is not None
    assert found["reasoning"] is None
