"""Which items are measured."""

from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.evaluate import tasks
from bedside.recipe_file import parse
from bedside.records import Example

ITEMS = [Example(str(i), f"Question {i}?", "Yes. So it is.", label=["yes", "no", "maybe"][i % 3]) for i in range(30)]


def recipe(**evaluate: object):
    return parse({"name": "r", "evaluate": {"tasks": ["likelihood"], **evaluate}}, "test")


def test_items_are_drawn_by_seed_and_a_smaller_limit_draws_the_first_of_them():
    few, many = tasks.draw(ITEMS, 5, seed=1), tasks.draw(ITEMS, 9, seed=1)
    assert few == many[:5]
    assert few != tasks.draw(ITEMS, 5, seed=2)
    assert tasks.draw(ITEMS[::-1], 5, seed=1) == few


def test_a_choice_item_whose_question_was_trained_is_left_out():
    held_out = tasks.select(recipe(tasks=["choice"]), [], ITEMS)["choice"]
    shouted = Example("x", held_out[0].question.upper() + " !", "A")
    left = tasks.select(recipe(tasks=["choice"]), [shouted], ITEMS)["choice"]
    assert {item.id for item in held_out} - {item.id for item in left} == {held_out[0].id}


def test_a_task_without_items_is_named():
    with pytest.raises(DataError, match="no held-out item for 'decision'"):
        tasks.select(parse({"name": "r", "evaluate": {"tasks": ["decision"]}}, "test"), [], [Example("a", "Q?", "A.")])


def test_a_choice_file_with_columns_of_its_own_is_read_by_a_mapping(tmp_path: Path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"stem": "Which drug?", "answers": ["oil", "aspirin"], "key": "B"}\n')
    columns = {"question": "stem", "options": "answers", "answer": "key"}
    (item,) = tasks.select(recipe(tasks=["choice"], choice_from=str(path), choice_columns=columns), [], ITEMS)["choice"]
    assert (item.question, item.options, item.label) == ("Which drug?", ("oil", "aspirin"), "B")


def test_items_with_one_id_are_refused(tmp_path: Path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": 1, "question": "Q?", "options": ["a", "b"], "answer": 0}\n' * 2)
    with pytest.raises(DataError, match="2 items of 'choice' have the id '1'"):
        tasks.select(recipe(tasks=["choice"], choice_from=str(path)), [], ITEMS)


def test_the_embedded_sets_are_asked_whole_and_what_is_written_is_limited_by_itself():
    asked = ["general", "instructions", "choice", "choice-direct", "decision-reason"]
    found = tasks.select(recipe(tasks=asked, limit=9, generate_limit=4), [], ITEMS)
    assert [len(found[name]) for name in asked] == [150, 65, 9, 4, 4]
    assert found["choice-direct"] == found["choice"][:4]


def test_harmful_requests_come_from_a_file_and_are_limited(tmp_path: Path):
    path = tmp_path / "harm.jsonl"
    path.write_text("".join(f'{{"id": {i}, "prompt": "How do I hurt patient {i}?"}}\n' for i in range(5)))
    given = recipe(tasks=["safety"], safety_from=str(path), limit=3)
    assert len(tasks.select(given, [], ITEMS)["safety"]) == 3
    assert list(tasks.outside(given.evaluate)) == [str(path)]


def test_baselines_are_chance_and_the_commonest_decision():
    choices = [Example("a", "Q?", "A", options=("x", "y")), Example("b", "Q?", "A", options=("w", "x", "y", "z"))]
    assert tasks.baseline("choice", choices) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert tasks.baseline("choice-reason", choices) == tasks.baseline("general", choices) == pytest.approx(3 / 8)
    assert tasks.baseline("decision-direct", [*ITEMS[:3], ITEMS[0]]) == 0.5
    assert tasks.baseline("instructions", ITEMS) is None
    assert tasks.baseline("rouge", ITEMS) is None


def test_the_demonstration_is_a_test_row_with_reasoning_where_there_is_one():
    reasoned = Example("r", "Why?", "Because.", reasoning="First.")
    assert tasks.demonstration([*ITEMS, reasoned], seed=1) == reasoned
    assert tasks.demonstration(ITEMS, seed=1) in ITEMS
