from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.data.split import SPLITS, Assignment, normalised, place, read_ids
from bedside.errors import DataError
from bedside.recipe import DataSection
from bedside.records import Example

SHARES = st.sampled_from([(0.51, 0.30, 0.19), (0.8, 0.1, 0.1), (0.9, 0.0, 0.1), (0.34, 0.33, 0.33)])


def rows(n: int, start: int = 0, label: str = "", group: str = "") -> list[Example]:
    return [Example(str(i), f"Question {i}?", "An answer.", label=label, group=group) for i in range(start, start + n)]


def splits(examples: Sequence[Example], seed: int = 1, **settings: object) -> dict[str, str]:
    """{id: split}"""
    assignment = Assignment(DataSection.model_validate(settings), seed)
    for example in examples:
        assignment.add(example)
    assignment.check_ids()
    found = assignment.splits(np.ones(len(examples), bool))
    return {example.id: SPLITS[split] for example, split in zip(examples, found, strict=True)}


def counts(examples: Sequence[Example], **settings: object) -> Counter[str]:
    return Counter(splits(examples, **settings).values())


@given(more=st.integers(1, 60), seed=st.integers(0, 3), shares=SHARES)
@settings(max_examples=20)
def test_adding_rows_moves_none(more: int, seed: int, shares: tuple[float, float, float]) -> None:
    before = splits(rows(60), seed, split=shares)
    after = splits([*rows(more, start=100), *rows(60)], seed, split=shares)
    assert before.items() <= after.items()


@pytest.mark.parametrize("shares", [(0.51, 0.30, 0.19), (0.8, 0.1, 0.1), (1, 0, 0)])
def test_shares_are_kept_roughly(shares: tuple[float, float, float]) -> None:
    found = counts(rows(3000), split=shares)
    assert [found[name] / 3000 for name in SPLITS] == pytest.approx(shares, abs=0.03)


def test_another_seed_draws_another_split() -> None:
    assert splits(rows(100), 1) != splits(rows(100), 2)


def test_the_place_of_a_known_question_never_changes() -> None:
    # The place is part of what users' runs depend on; this value is SHA-256 of "42\0why" by hand.
    assert place("why", 42) == int("a095f487c8265a", 16) / 2**56


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("What IS it?", "what is it"),
        ("a\n b", "a b"),
        ("STRASSE", "straße"),
        ("β-blocker", "Β blocker"),
        ("ﬁbrin_x", "Fibrin x"),
    ],
)
def test_case_punctuation_and_spacing_are_no_difference(text: str, same: str) -> None:
    assert normalised(text) == normalised(same)


def test_rows_with_the_same_question_stand_together() -> None:
    doubled = [r for e in rows(60) for r in (e, replace(e, id=f"{e.id}b", question=f" QUESTION  {e.id} ?!"))]
    found = splits(doubled, split=(0.5, 0.25, 0.25))
    assert all(found[name] == found[f"{name}b"] for name in map(str, range(60)))


def test_rows_of_one_group_stand_together_whatever_they_ask() -> None:
    grouped = [example for pmid in range(40) for example in rows(3, start=3 * pmid, group=f"pmid {pmid}")]
    found = splits(grouped, split=(0.5, 0.25, 0.25))
    assert all(len({found[str(3 * pmid + i)] for i in range(3)}) == 1 for pmid in range(40))
    assert len(set(found.values())) == 3


@given(seed=st.integers(0, 30))
@settings(max_examples=20)
def test_questions_link_groups_and_groups_link_questions(seed: int) -> None:
    chain = [
        Example("1", "A?", "x", group="g"),
        Example("2", "B?", "x", group="g"),
        Example("3", "b", "x", group="h"),
        Example("4", "C?", "x", group="h"),
        Example("5", "c!", "x"),
    ]
    assert len({splits([*chain, *rows(5, 10)], seed, split=(0.4, 0.3, 0.3))[name] for name in "12345"}) == 1


def test_every_label_has_its_exact_share_where_that_is_asked_for() -> None:
    labelled = [*rows(276, 0, "yes"), *rows(169, 1000, "no"), *rows(55, 2000, "maybe")]
    found = splits(labelled, split=(0.6, 0.2, 0.2), stratify=True)
    for label, n in (("yes", 276), ("no", 169), ("maybe", 55)):
        mine = Counter(found[example.id] for example in labelled if example.label == label)
        assert [mine[name] for name in SPLITS] == pytest.approx([0.6 * n, 0.2 * n, 0.2 * n], abs=1)


def test_strata_change_few_places_when_rows_are_added() -> None:
    labelled = [*rows(200, 0, "yes"), *rows(100, 1000, "no")]
    before = splits(labelled, stratify=True)
    after = splits([*labelled, *rows(30, 5000, "yes")], stratify=True)
    assert 0 < sum(before[name] != after[name] for name in before) < 15


def test_an_official_split_is_taken_from_files_of_ids(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('{"3": "yes", "4": "no", "999": "maybe"}')
    (tmp_path / "fold.txt").write_text("5\n6\n\n")
    official = {"test_ids": str(tmp_path / "test.json"), "validation_ids": str(tmp_path / "fold.txt")}
    found = splits(rows(50), **official)
    assert {name for name, split in found.items() if split == "test"} == {"3", "4"}
    assert {name for name, split in found.items() if split == "validation"} == {"5", "6"}
    only_test = counts(rows(500), test_ids=official["test_ids"], split=(0.8, 0.2, 0.0))
    assert only_test["test"] == 2
    assert only_test["validation"] == pytest.approx(100, abs=30)
    only_fold = counts(rows(500), validation_ids=official["validation_ids"], split=(0.8, 0.1, 0.1))
    assert (only_fold["validation"], only_fold["test"]) == (2, pytest.approx(55, abs=25))


def test_what_stands_with_an_official_row_is_told_and_not_drawn_into_its_split(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("[1, 3]")
    examples = [
        Example("1", "A?", "x"),
        Example("2", "a", "y", group="g"),
        Example("3", "a!", "y"),
        Example("4", "B?", "y", group="g"),
    ]
    assignment = Assignment(DataSection(test_ids=str(tmp_path / "ids.json"), split=(1, 0, 0)), 1)
    for example in [*examples, *rows(9, 10)]:
        assignment.add(example)
    assert assignment.relatives().tolist() == [1, 3]
    assert assignment.splits(np.ones(13, bool)).tolist() == [2, 0, 2, 0] + [0] * 9


def test_without_an_official_split_nothing_stands_with_it() -> None:
    assignment = Assignment(DataSection(), 1)
    for example in rows(3):
        assignment.add(example)
    assert assignment.relatives().tolist() == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("ids.txt", "", "no ids in this file"),
        ("ids.json", "[]", "no ids in this file"),
        ("ids.json", "[1", "not JSON"),
        ("ids.json", "5", "wanted a list of ids, or objects keyed by id"),
        ("ids.txt", "700\n", "none of its ids is the id of a row"),
        ("gone.txt", None, "gone.txt: no such file"),
        ("caf.txt", b"caf\xe9", "caf.txt line 1: not UTF-8 text"),
    ],
)
def test_a_file_of_ids_that_cannot_be_meant_is_told(
    tmp_path: Path, name: str, content: str | bytes | None, told: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=told):
        splits(rows(5), test_ids=str(path))


def test_numbers_and_names_are_ids_alike(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[12, "x"]')
    assert read_ids(str(tmp_path / "a.json")) == {"12", "x"}


def test_a_row_that_links_two_others_brings_them_together() -> None:
    for seed in range(8):
        apart = [Example("1", "A?", "x"), Example("2", "B?", "x", group="g")]
        found = splits([*apart, Example("3", "a", "x", group="g")], seed)
        assert found["1"] == found["2"] == found["3"]
