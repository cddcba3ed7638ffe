"""Items that the harness can ask as they are, and scores of answers to instructions."""

import pytest

from bedside.evaluate.forgetting import checks, general, instructions, score_instruction
from bedside.evaluate.tasks import draw
from bedside.records import Example
from bedside.text.chat import user_text

FRUITS = next(item for item in instructions() if item.id == "instruction-list-1")


def test_general_questions_are_choices_with_a_label_among_their_options():
    for item in general():
        assert item.answer == f"{item.label}. {item.options['ABCD'.index(item.label)]}"
        assert item.subject in item.id


def test_instructions_are_asked_as_they_are_written():
    for item in instructions():
        assert user_text(item) == item.question
        assert not item.options
        assert not item.label


def test_items_survive_json_and_a_draw():
    for items in (general(), instructions()):
        assert [Example.from_json(item.to_json()) for item in items] == items
        assert draw(items, 7, 42) == draw(items, 20, 42)[:7]


@pytest.mark.parametrize(
    ("answer", "score", "loose", "unmet"),
    [
        ("- fig\n- plum\n- pear", 1.0, 1.0, []),
        ("Here they are:\n- fig\n- plum\n- pear", 0.0, 1.0, ["items"]),
        ("- fig\n- plum", 0.0, 0.0, ["items"]),
        ("", 0.0, 0.0, ["items"]),
    ],
)
def test_a_prompt_is_met_where_all_of_its_checks_are(answer: str, score: float, loose: float, unmet: list[str]):
    assert score_instruction(FRUITS, answer) == {"id": FRUITS.id, "score": score, "loose": loose, "unmet": unmet}


def test_every_unmet_check_is_named():
    both = next(item for item in instructions() if item.id == "instruction-case-5")
    assert [check.name for check in checks()[both.id]] == ["lower_case", "words"]
    assert score_instruction(both, "A Spoon Is For Eating Soup And Also Porridge.")["unmet"] == ["lower_case", "words"]
