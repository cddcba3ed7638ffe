"""Items of the evaluation among the training rows."""

import pytest

from bedside.lint.leaks import train_test_leak
from bedside.records import Example

HELD = Example("held-1", "Which artery feeds the sinus node in most people?", "The right coronary artery.")
STEM = "Which of the following is true?"
VIGNETTE = (
    "A 61-year-old woman has had a dry cough for three weeks since an angiotensin-converting enzyme inhibitor was begun"
    " for her hypertension. Her lungs are clear, her chest film is normal and she has never smoked. What should be done?"
)
REWORDED = (
    "Since an angiotensin-converting enzyme inhibitor was begun for her hypertension, a 61-year-old woman has had a DRY"
    " cough for three weeks; her lungs are clear, her chest film is normal, she has never smoked. What should be done"
)


def found(row: Example, *held: Example, reworded: str = "error") -> list[tuple[str, str]]:
    leaks = train_test_leak([row], {"the test split": held or (HELD,)}, reworded, {})  # type: ignore[arg-type]
    return [(finding.severity, finding.message) for finding in leaks]


@pytest.mark.parametrize(
    "question",
    [HELD.question, HELD.question.upper(), "which artery feeds the sinus-node, in most people", f"  {HELD.question}\n"],
)
def test_the_same_question_is_found_whatever_its_case_spacing_and_punctuation(question: str) -> None:
    ((severity, message),) = found(Example("1", question, "It is."))
    assert severity == "error"
    assert "item 'held-1' of the test split" in message


@pytest.mark.parametrize("field", ["question", "context", "reasoning", "answer"])
def test_a_reworded_item_is_found_in_every_text_of_a_row(field: str) -> None:
    row = {"id": "1", "question": "What is it?", "answer": "It is a cough.", field: f"Read this. {REWORDED}"}
    ((severity, message),) = found(Example(**row), Example("held-2", VIGNETTE, "Stop it."))
    assert severity == "error"
    assert "'held-2'" in message


def test_a_reworded_item_is_a_warning_where_the_recipe_asks_only_to_be_told() -> None:
    held = Example("held-2", VIGNETTE, "Stop it.")
    assert found(Example("1", REWORDED, "Stop."), held, reworded="warning")[0][0] == "warning"
    assert found(Example("1", VIGNETTE, "Stop."), held, reworded="warning")[0][0] == "error"


@pytest.mark.parametrize(
    ("row", "held", "same"),
    [
        ({"options": ("a", "b")}, {"options": ("b", "a")}, True),
        ({"options": ("a", "b")}, {"options": ("a", "c")}, False),
        ({}, {"options": ("a", "c")}, True),
    ],
)
def test_one_stem_over_other_options_is_another_item(
    row: dict[str, object], held: dict[str, object], same: bool
) -> None:
    item = Example("held", STEM, "a", **held)  # type: ignore[arg-type]
    assert bool(found(Example("1", STEM, "b", **row), item)) == same  # type: ignore[arg-type]


@pytest.mark.parametrize(("severity", "reworded"), [("error", "error"), ("warning", "warning")])
def test_an_item_of_a_file_that_the_recipe_compares_with_is_found_and_named(severity: str, reworded: str) -> None:
    against = {"bench.jsonl": [("b-7", VIGNETTE)]}
    (finding,) = train_test_leak([Example("1", REWORDED, "Stop.")], {"the test split": (HELD,)}, reworded, against)  # type: ignore[arg-type]
    assert finding.severity == severity
    assert "item 'b-7' of bench.jsonl" in finding.message


def test_other_questions_are_left_alone() -> None:
    assert found(Example("1", "Which artery feeds the atrioventricular node in most people?", "The right one.")) == []
