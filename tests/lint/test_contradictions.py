"""Rows that ask the same and have other labels."""

from dataclasses import replace
from pathlib import Path

from bedside.data import prepare
from bedside.lint.contradictions import label_contradicts_copy, left_out
from bedside.recipe import DataSection
from bedside.records import Example

FIRST = Example("1", "Does it work?", "Yes. It does.", label="yes", where="rows.jsonl line 1")
LATER = replace(FIRST, id="2", answer="No. It harms.", label="no", where="rows.jsonl line 2")
CHOSEN = Example("c", "Which drug?", "A. oil", label="A", options=("oil", "aspirin"), where="own.jsonl line 1")


def test_of_two_rows_that_are_trained_the_later_is_named_with_the_place_of_the_first() -> None:
    (found,) = label_contradicts_copy([FIRST, LATER, replace(FIRST, id="3")], {})
    assert (found.rule, found.severity, found.where) == ("label-contradicts-copy", "warning", "rows.jsonl line 2")
    assert found.message == "it has 'no', where rows.jsonl line 1 asks the same and has 'yes'; both are trained"


def test_items_that_a_model_is_judged_on_are_looked_at_set_by_set() -> None:
    other = replace(CHOSEN, id="d", label="B", where="own.jsonl line 2")
    (found,) = label_contradicts_copy([FIRST], {"own.jsonl": [CHOSEN, other], "the test split": [LATER]})
    assert found.where == "own.jsonl line 2"
    assert "own.jsonl line 1 asks the same and has 'A. oil'; both are in own.jsonl, on which" in found.message


def test_a_copy_that_the_data_stage_left_out_is_named_with_the_row_that_stays(tmp_path: Path) -> None:
    rows = [FIRST, replace(LATER, answer=FIRST.answer), replace(FIRST, id="3"), Example("4", "Why?", "It is so.")]
    section = DataSection.model_validate({"split": (1, 0, 0)})
    prepare.prepare(rows, section, 1, tmp_path)
    (found,) = label_contradicts_copy(prepare.load(tmp_path, "train"), {}, left_out(tmp_path))
    assert found.where == "rows.jsonl line 2"
    assert "'no', and is left out; rows.jsonl line 1, which stays" in found.message
