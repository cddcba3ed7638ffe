"""The embedded starter set keeps its promises."""

from collections import Counter
from pathlib import Path

import pytest

from bedside.data import prepare, sources, split
from bedside.recipe import DataSection
from bedside.records import Example
from bedside.text.chat import DECISIONS

SHARED_WORDS = 8
SCORED = 60

TRAIN = list(sources.read(DataSection(source="starter")))
HELD_OUT = sources.read_choices("starter")


def grams(text: str) -> set[str]:
    words = split.normalised(text).split()
    return {" ".join(words[i : i + SHARED_WORDS]) for i in range(len(words) - SHARED_WORDS + 1)}


def test_there_are_enough_rows_of_every_kind() -> None:
    assert len(TRAIN) >= 240
    assert len(HELD_OUT) >= SCORED
    assert sum(bool(row.reasoning) for row in TRAIN) >= 80
    assert sum(bool(row.label) for row in TRAIN) >= 60


@pytest.mark.parametrize("rows", [TRAIN, HELD_OUT], ids=["train", "held out"])
def test_at_least_twelve_specialties_are_covered_evenly(rows: list[Example]) -> None:
    counts = Counter(row.subject for row in rows)
    assert "" not in counts
    assert len(counts) >= 12
    assert max(counts.values()) <= 2 * min(counts.values())


def test_ids_are_unique() -> None:
    ids = [row.id for row in [*TRAIN, *HELD_OUT]]
    assert len(ids) == len(set(ids))


def test_questions_are_unique() -> None:
    asked = [split.normalised(f"{row.context} {row.question}") for row in [*TRAIN, *HELD_OUT]]
    assert [text for text, n in Counter(asked).items() if n > 1] == []


def test_every_row_has_a_question_and_an_answer_without_loose_ends() -> None:
    for row in [*TRAIN, *HELD_OUT]:
        for text in (row.question, row.answer):
            assert text.strip() == text != "", row.id
        assert "think>" not in row.answer + row.reasoning, row.id
        assert row.answer.rstrip()[-1] in ".)!" or row.options, row.id


def test_decisions_are_valid_and_none_is_rare() -> None:
    labels = Counter(row.label for row in TRAIN if row.label)
    assert set(labels) == set(DECISIONS)
    assert min(labels.values()) >= sum(labels.values()) / 5
    for row in TRAIN:
        if row.label:
            assert row.context, row.id
            assert row.answer.startswith(f"{row.label.capitalize()}. "), row.id


def test_the_right_letters_are_balanced_and_the_options_differ() -> None:
    letters = Counter(item.label for item in HELD_OUT)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 1.5 * min(letters.values())
    for item in HELD_OUT:
        assert len({split.normalised(text) for text in item.options}) == len(item.options) == 4, item.id


def test_the_right_option_is_not_the_longest_more_often_than_chance_explains() -> None:
    longest = sum(max(item.options, key=len) == item.options["ABCD".index(item.label)] for item in HELD_OUT)
    assert longest / len(HELD_OUT) < 0.5


def test_no_held_out_question_shares_a_run_of_words_with_a_training_row() -> None:
    trained = {
        gram: row.id
        for row in TRAIN
        for text in (row.question, row.context, row.answer, row.reasoning)
        for gram in grams(text)
    }
    shared = {item.id: trained[gram] for item in HELD_OUT for gram in grams(item.question) if gram in trained}
    assert shared == {}


def test_emergencies_are_included() -> None:
    assert sum("emergency" in row.subject for row in TRAIN) >= 10
    urgent = [
        row for row in TRAIN if any(w in row.answer.lower() for w in ("immediate", "urgent", "emergency", "at once"))
    ]
    assert len({row.subject for row in urgent}) >= 8


def test_the_default_split_leaves_something_to_train_to_validate_and_to_test_on(tmp_path: Path) -> None:
    stats = prepare.prepare(TRAIN, DataSection(), 42, tmp_path).statistics.to_json()
    assert (stats["kept"], stats["dropped"], stats["changed"]) == (len(TRAIN), {}, {})
    assert stats["splits"]["train"] >= 150
    assert min(stats["splits"]["validation"], stats["splits"]["test"]) >= 15
