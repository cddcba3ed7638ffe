import itertools
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.data import near
from bedside.data.near import Near, banding, jaccard, linked, near_duplicates
from bedside.data.shingles import Shingles, shingles, words

CASE = (
    "A 62-year-old woman has had crushing chest pain for two hours. She takes ramipril for hypertension, and her brother"
    " had an infarction at 50. The electrocardiogram shows ST elevation in leads II, III and aVF; troponin is raised."
)
OTHER = (
    "Gout is treated with colchicine while it is acute. Allopurinol lowers uric acid later, and is best begun at a low"
    " dose, since a sudden fall of uric acid brings on further attacks in the first weeks of treatment."
)
VOCABULARY = ["fever", "cough", "rash", "pain", "oedema", "nausea"]
TEXTS = st.lists(st.lists(st.sampled_from(VOCABULARY), max_size=10).map(" ".join), max_size=12)


def alone(texts: Iterable[str]) -> Iterator[tuple[str]]:
    """Rows of one part."""
    return ((text,) for text in texts)


def numbered(*numbers: int) -> str:
    return " ".join(f"word{number}" for number in numbers)


def similarity_of(one: str, other: str) -> float:
    """By definition, on sets."""
    first, second = (set(shingles(words(text)).tolist()) for text in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda text: text, 1.0),
        (str.upper, 1.0),
        (lambda text: text.replace(",", " -").replace(".", "\n!"), 1.0),
        (lambda text: "  ".join(text.split(" ")), 1.0),
        (lambda text: " ".join(reversed(text.split(". "))), 0.8),
        (lambda text: text.replace("two", "three"), 0.8),
        (lambda text: text + " What now?", 0.9),
    ],
)
def test_a_lightly_reworded_text_is_a_near_duplicate(change: Callable[[str], str], least: float) -> None:
    (found,) = near_duplicates(alone([OTHER, CASE, change(CASE)]), 0.8)
    assert (found.later, found.earlier) == (2, 1)
    assert least <= found.jaccard <= 1


def test_different_texts_are_no_near_duplicates() -> None:
    assert list(near_duplicates(alone([CASE, OTHER]), 0.1)) == []


@pytest.mark.parametrize("text", ["", " ", "...", "\n\n"])
def test_texts_without_a_word_are_nobodys_duplicates(text: str) -> None:
    assert list(near_duplicates(alone([text, text, text]), 0.5)) == []


def test_short_texts_are_duplicates_only_where_all_words_are_the_same() -> None:
    assert list(near_duplicates(alone(["Gout", "gout?", "Gout attack"]), 0.8)) == [Near(1, 0, 1.0)]


def test_a_sign_tells_two_short_texts_apart() -> None:
    assert list(near_duplicates(alone(["The patient is HLA-B27 +.", "The patient is HLA-B27 -."]), 0.8)) == []


def test_a_text_is_compared_with_kept_ones_only() -> None:
    first, second, third = (numbered(*range(start, 60 + start)) for start in (0, 5, 10))
    assert list(near_duplicates(alone([first, second, third]), 0.8)) == [Near(1, 0, 53 / 63)]
    assert list(near_duplicates(alone([second, third]), 0.8)) == [Near(1, 0, 53 / 63)]


def test_the_most_similar_kept_text_is_named_and_of_equals_the_earliest() -> None:
    texts = [numbered(*range(100)), numbered(*range(20, 120)), numbered(*range(18, 118)), numbered(*range(19, 119))]
    assert [(near.later, near.earlier) for near in near_duplicates(alone(texts), 0.8)] == [(2, 1), (3, 1)]
    assert [
        near.earlier
        for near in near_duplicates(alone([numbered(*range(99)), numbered(*range(1, 100)), texts[0]]), 0.98)
    ] == [0]


@settings(max_examples=60)
@given(texts=TEXTS, threshold=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_what_is_yielded_is_exact_and_refers_to_a_kept_text(texts: list[str], threshold: float) -> None:
    found = list(near_duplicates(alone(texts), threshold))
    dropped = {near.later for near in found}
    assert len(dropped) == len(found)
    for later, earlier, similarity in found:
        assert earlier < later
        assert earlier not in dropped
        assert similarity == similarity_of(texts[later], texts[earlier]) >= threshold


@settings(max_examples=60)
@given(texts=TEXTS, threshold=st.sampled_from([0.3, 0.8, 1.0]))
def test_of_equal_texts_only_the_first_may_be_kept(texts: list[str], threshold: float) -> None:
    dropped = {near.later for near in near_duplicates(alone(texts), threshold)}
    again = {i for i, text in enumerate(texts) if text and text in texts[:i]}
    assert again <= dropped


def test_all_pairs_above_the_threshold_are_found_among_many() -> None:
    draw = np.random.default_rng(1)
    texts = [numbered(*draw.integers(0, 5000, 80)) for _ in range(150)]
    copies = [" ".join(text.split()[cut:] + ["another"] * 2) for text, cut in zip(texts, itertools.cycle(range(20)))]
    expected = {150 + i for i in range(150) if similarity_of(texts[i], copies[i]) >= 0.85}
    found = {near.later for near in near_duplicates(alone([*texts, *copies]), 0.85)}
    assert 50 < len(expected) < 100
    assert found == expected  # at 0.99 a pair; the permutations' seed is fixed


def test_rows_are_drawn_one_by_one_and_let_go() -> None:
    class Row(list[str]):
        """A list that can be referred to weakly."""

    held: list[weakref.ref[Row]] = []

    def drawn() -> Iterator[Row]:
        for number in range(50):
            assert sum(row() is not None for row in held) <= 1
            row = Row([f"{CASE} {number}"])
            held.append(weakref.ref(row))
            yield row

    assert len(list(near_duplicates(drawn(), 0.8))) == 49


def test_memory_grows_by_less_than_300_bytes_a_row() -> None:
    def peak(count: int) -> int:
        texts = (" ".join(f"word{number * 40 + i}" for i in range(40)) for number in range(count))
        tracemalloc.start()
        assert list(near_duplicates(alone(texts), 0.8)) == []
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(3000) - peak(1000) < 2000 * 300


def test_the_shingles_wait_in_the_folder_and_leave_nothing_there(tmp_path: Path) -> None:
    assert len(list(near_duplicates(alone([CASE, CASE]), 0.8, folder=tmp_path))) == 1
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60)
@given(keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=12))
def test_a_row_is_linked_to_the_one_before_it_with_the_same_key(keys: list[tuple[int, int]]) -> None:
    links = linked(np.array(keys, np.uint32).reshape(-1, 2)).tolist()
    for band in (0, 1):
        for row, key in enumerate(keys):
            before = [other for other in range(row) if keys[other][band] == key[band]]
            assert links[row][band] == (before[-1] if before else -1)


def test_many_copies_of_one_row_are_each_compared_with_the_kept_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(near, "similarity", lambda one, others: compared.append(len(others)) or np.ones(len(others)))
    assert {found.earlier for found in near_duplicates(alone([CASE] * 50), 0.8)} == {0}
    assert compared == [1] * 49


@given(threshold=st.floats(0.05, 1.0))
def test_the_bands_find_a_pair_at_the_threshold_with_a_probability_of_99_percent(threshold: float) -> None:
    bands, rows = banding(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= 0.99 - 1e-9
    assert bands * rows <= 128


def test_the_bands_for_the_usual_threshold() -> None:
    assert banding(0.8) == (16, 6)  # 1 - (1 - 0.8^6)^16 = 0.992, while seven rows would need 20 bands


@pytest.mark.parametrize(
    ("one", "others", "expected"),
    [
        ([1, 2, 3], [[2, 3, 4], [1, 2, 3], [9], [3]], [0.5, 1.0, 0.0, 1 / 3]),
        ([5], [[1], [5, 6, 7, 8]], [0.0, 0.25]),
        ([5], [], []),
    ],
)
def test_jaccard_is_shared_over_all(one: list[int], others: list[list[int]], expected: list[float]) -> None:
    def found(numbers: list[int]) -> Shingles:
        return np.array(numbers, dtype=np.uint64)

    assert jaccard(found(one), [found(other) for other in others]).tolist() == expected


@pytest.mark.parametrize(
    ("other", "similar"),
    [
        (("", CASE, OTHER), 1.0),
        (("", CASE, CASE), 0.0),
        (("", OTHER, OTHER), 0.0),
        (("Before.", CASE, OTHER), 0.0),
        (("", CASE.upper(), OTHER.replace("Gout", "Yes, gout")), 0.9),
    ],
    ids=["the same", "another answer", "another question", "another history", "reworded"],
)
def test_a_row_is_as_similar_as_its_least_similar_part(other: tuple[str, ...], similar: float) -> None:
    found = list(near_duplicates([("", CASE, OTHER), other], 0.8))
    assert [near.later for near in found] == ([1] if similar else [])
    assert all(similar <= near.jaccard <= 1 for near in found)


def test_a_part_that_is_common_to_all_proposes_nothing_and_still_counts() -> None:
    rows = [(CASE, CASE), (OTHER, CASE), (CASE, OTHER), (CASE.upper(), CASE)]
    assert [(near.later, near.earlier) for near in near_duplicates(rows, 0.8, common=1)] == [(3, 0)]
    assert list(near_duplicates([("", CASE), ("", CASE)], 0.8, common=1)) == []


def test_rows_that_are_kept_anyway_are_compared_with_and_never_duplicates() -> None:
    first, second, third = "Gout of the toe", "gout of the toe!", "Gout of the toe?"
    found = list(near_duplicates(alone([first, "", second, OTHER, third]), 0.8, kept=3))
    assert [(near.later, near.earlier) for near in found] == [(4, 0)]
