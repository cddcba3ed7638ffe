import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.data import prepare
from bedside.errors import DataError
from bedside.files import read_jsonl
from bedside.recipe import DataSection
from bedside.records import Example, Message

ALL_TRAIN = DataSection(split=(1, 0, 0))


def rows(n: int, start: int = 0) -> list[Example]:
    return [Example(str(i), f"Question {i}?", f"Answer {i}.", where=f"row {i}") for i in range(start, start + n)]


EXAMPLES = st.lists(
    st.builds(
        lambda question, answer, context: (question, answer, context),
        st.sampled_from(["Why?", "why", "How?", "", " ", "β?"]) | st.text(max_size=6),
        st.sampled_from(["So.", "so", "", "\n"]) | st.text(max_size=6),
        st.sampled_from(["", "Here."]),
    ),
    max_size=25,
).map(lambda found: [Example(str(i), q, a, context=c) for i, (q, a, c) in enumerate(found)])


@settings(max_examples=80)
@given(examples=EXAMPLES, limit=st.none() | st.integers(1, 10), seed=st.integers(0, 5))
def test_every_row_that_was_read_is_kept_or_dropped_with_a_reason(
    examples: list[Example], limit: int | None, seed: int
) -> None:
    section = DataSection(split=(1, 0, 0), limit=limit)
    if not any(example.question.strip() and example.answer.strip() for example in examples):
        with pytest.raises(DataError, match="no usable row"):
            prepare.prepare(examples, section, seed)
        return
    prepared = prepare.prepare(examples, section, seed)
    kept = [example for split in prepared.splits.values() for example in split]
    dropped = [example for example, _ in prepared.dropped]
    assert sorted(e.id for e in kept + dropped) == sorted(e.id for e in examples)
    assert prepared.read == len(examples)
    assert all(reason for _, reason in prepared.dropped)
    assert all(e.question.strip() and e.answer.strip() for e in kept)
    assert limit is None or len(kept) <= limit
    assert prepare.statistics(prepared)["read"] == len(examples)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("x", "", "A."), "empty question"),
        (Example("x", " \n", "A."), "empty question"),
        (Example("x", "Q?", ""), "empty answer"),
        (Example("x", "Q?", " "), "empty answer"),
        (Example("x", " question  0? ", "ANSWER 0."), "duplicate"),
    ],
)
def test_a_row_that_cannot_be_used_is_dropped_with_its_reason(example: Example, reason: str) -> None:
    prepared = prepare.prepare([*rows(3), example], ALL_TRAIN, 1)
    assert prepared.dropped == [(example, reason)]


@pytest.mark.parametrize(
    "change",
    [{"context": "Another trial."}, {"answer": "Another answer."}, {"history": (Message("user", "Before."),)}],
)
def test_the_same_question_is_no_duplicate_where_something_else_differs(change: dict[str, object]) -> None:
    first = rows(1)[0]
    second = replace(first, id="other", **change)  # type: ignore[arg-type]
    assert prepare.prepare([first, second], ALL_TRAIN, 1).dropped == []


def test_a_sign_is_enough_to_tell_two_rows_apart() -> None:
    positive, negative = Example("p", "HLA-B27 +", "A."), Example("n", "HLA-B27 -", "A.")
    assert prepare.prepare([positive, negative], ALL_TRAIN, 1).dropped == []


def test_two_rows_with_one_id_are_refused_with_both_places() -> None:
    first, second = rows(2)
    with pytest.raises(DataError, match=r"^row 1: id '0' is taken by row 0"):
        prepare.prepare([first, replace(second, id="0")], ALL_TRAIN, 1)


@given(more=st.integers(1, 60), seed=st.integers(0, 3))
@settings(max_examples=20)
def test_adding_rows_moves_none_to_another_split(more: int, seed: int) -> None:
    section = DataSection(split=(0.6, 0.2, 0.2))
    before = prepare.prepare(rows(60), section, seed).splits
    after = prepare.prepare([*rows(more, start=100), *rows(60)], section, seed).splits
    for name, examples in before.items():
        assert {e.id for e in examples} <= {e.id for e in after[name]}


def test_rows_with_the_same_question_stand_in_the_same_split() -> None:
    doubled = [
        variant
        for e in rows(40)
        for variant in (e, replace(e, id=f"{e.id}b", question=f" QUESTION  {e.id} ?!", answer="Another."))
    ]
    splits = prepare.prepare(doubled, DataSection(split=(0.5, 0.25, 0.25)), 3).splits
    for examples in splits.values():
        assert {e.id for e in examples} == {e.id.removesuffix("b") + end for e in examples for end in ("", "b")}


def test_shares_are_kept_roughly_and_another_seed_draws_another_split() -> None:
    section = DataSection(split=(0.8, 0.1, 0.1))
    splits = prepare.prepare(rows(2000), section, 1).splits
    assert [len(splits[name]) / 2000 for name in prepare.SPLITS] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    assert prepare.prepare(rows(2000), section, 2).splits != splits


def test_the_split_of_a_known_question_never_changes() -> None:
    # The place is part of what users' runs depend on; this value is SHA-256 of "42\0why" by hand.
    assert prepare.place("why", 42) == int("a095f487c8265a", 16) / 2**56


@pytest.mark.parametrize(("limit", "kept"), [(10, 10), (50, 50), (1000, 50)])
def test_limit_draws_that_many_rows_by_seed(limit: int, kept: int) -> None:
    section = DataSection(split=(1, 0, 0), limit=limit)
    prepared = prepare.prepare(rows(50), section, 1)
    assert len(prepared.splits["train"]) == kept
    assert [reason for _, reason in prepared.dropped] == ["over data.limit"] * (50 - kept)
    again = prepare.prepare(reversed(rows(50)), section, 1)
    assert {e.id for e in again.splits["train"]} == {e.id for e in prepared.splits["train"]}
    if kept < 50:
        other = prepare.prepare(rows(50), section, 2)
        assert {e.id for e in other.splits["train"]} != {e.id for e in prepared.splits["train"]}


def test_a_split_that_is_asked_for_but_empty_is_an_error() -> None:
    with pytest.raises(
        DataError, match=r"rows leave split '\w+' empty at data.split = \[0.8, 0.1, 0.1\]; use more rows"
    ):
        prepare.prepare(rows(2), DataSection(path="rows.csv"), 1)


def test_a_split_that_is_not_asked_for_may_be_empty() -> None:
    assert prepare.prepare(rows(1), ALL_TRAIN, 1).splits["test"] == []


def test_no_rows_at_all_are_an_error() -> None:
    with pytest.raises(DataError, match=r"rows.csv: no usable row"):
        prepare.prepare([], DataSection(path="rows.csv"), 1)


def test_a_written_stage_loads_as_it_was(tmp_path: Path) -> None:
    full = Example(
        "f", "Q\u2028?", "A.", "R", "C", "yes", ("one", "two"), "renal", (Message("system", "Be kind."),), "row f"
    )
    prepared = prepare.prepare([*rows(30), full, Example("e", "", "A.")], DataSection(split=(0.5, 0.3, 0.2)), 1)
    prepare.write(prepared, tmp_path)
    for name in prepare.SPLITS:
        assert prepare.load(tmp_path, name) == prepared.splits[name]
    dropped = [row for _, row in read_jsonl(tmp_path / "dropped.jsonl")]
    assert [(row["id"], row["reason"]) for row in dropped] == [("e", "empty question")]
    stats = json.loads((tmp_path / "stats.json").read_text(encoding="utf-8"))
    assert stats["read"] == 32 == stats["kept"] + sum(stats["dropped"].values())


def test_statistics_count_words_labels_and_subjects() -> None:
    examples = [
        Example("1", "one two", "a", label="yes", subject="renal", reasoning="so it is"),
        Example("2", "one two three four", "b", label="no", subject="renal"),
    ]
    stats = prepare.statistics(prepare.prepare(examples, ALL_TRAIN, 1))
    assert stats["splits"] == {"train": 2, "validation": 0, "test": 0}
    assert stats["labels"] == {"no": 1, "yes": 1}
    assert stats["subjects"] == {"renal": 2}
    assert stats["with_reasoning"] == 1
    question = stats["words"]["question"]
    assert (question["n"], question["mean"], question["median"], question["stdev"], question["max"]) == (
        2,
        3,
        3,
        1.4,
        4,
    )
    assert stats["words"]["context"] is None


@given(counts=st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_a_histogram_counts_every_value_once(counts: list[int]) -> None:
    found = prepare.histogram(counts)
    assert sum(found["counts"]) == len(counts)
    assert len(found["edges"]) == len(found["counts"]) + 1 == 21


@pytest.mark.parametrize(
    ("text", "same"),
    [("What IS it?", "what is it"), ("a\n b", "a b"), ("STRASSE", "straße"), ("β-blocker", "Β blocker")],
)
def test_case_punctuation_and_spacing_are_no_difference(text: str, same: str) -> None:
    assert prepare.normalised(text) == prepare.normalised(same)
