"""What the same question is."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data.questions import Questions, contradict, says
from bedside.data.split import normalised
from bedside.records import Example

TEXT = st.text("aB βﬁＨ²_-+.?\n", max_size=8)


def same(one: Example, other: Example) -> bool:
    found = any(Questions([one]).like(other))
    assert found == any(Questions([other]).like(one))
    return found


def asking(question: str, *options: str) -> Example:
    return Example("1", question, "So.", options=options)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (asking("Which artery?"), asking(" WHICH  artery"), True),
        (asking("Which artery?"), asking("Which vein?"), False),
        (asking("Is HLA-B27 + here?"), asking("Is HLA-B27 - here?"), False),
        (asking("Which is true?", "a", "b"), asking("Which is true?", "B.", "A."), True),
        (asking("Which is true?", "a", "b"), asking("Which is true?", "a", "c"), False),
        (asking("Which is true?", "a", "b"), asking("Which is true?"), True),
    ],
)
def test_words_decide_and_options_where_both_have_them(one: Example, other: Example, expected: bool) -> None:
    assert same(one, other) == expected


def test_the_rows_that_ask_the_same_come_in_their_order() -> None:
    rows = [Example(str(i), question, "So.") for i, question in enumerate(["Why?", "How?", "why"])]
    assert [row.id for row in Questions(rows).like(asking("WHY"))] == ["0", "2"]


DECIDED = Example("1", "Does it work?", "Yes. It does.", context="A trial.", label="yes")
CHOSEN = Example("1", "Which drug?", "A. oil", label="A", options=("oil", "aspirin"))


@pytest.mark.parametrize(
    ("one", "change", "expected"),
    [
        (DECIDED, {"label": "no"}, True),
        (DECIDED, {"label": "no", "question": "DOES it work", "context": "a trial"}, True),
        (DECIDED, {"label": "Yes"}, False),
        (DECIDED, {"label": ""}, False),
        (DECIDED, {"label": "no", "context": "Another trial."}, False),
        (DECIDED, {"label": "no", "question": "Does it hurt?"}, False),
        (CHOSEN, {"label": "B"}, True),
        (CHOSEN, {"label": "B", "options": ("aspirin", "oil")}, False),
        (CHOSEN, {"options": ("aspirin", "oil")}, True),
        (CHOSEN, {"label": "B", "options": ("oil", "iron")}, False),
    ],
)
def test_rows_contradict_each_other_where_one_question_has_two_right_answers(
    one: Example, change: dict[str, Any], expected: bool
) -> None:
    assert contradict(one, replace(one, **change)) == contradict(replace(one, **change), one) == expected


def test_a_row_is_contradicted_by_the_first_before_it_that_says_otherwise() -> None:
    other = replace(DECIDED, context="Another trial.")
    rows = [DECIDED, other, replace(other, label="no", id="2"), replace(other, label="maybe", id="3")]
    asked = Questions(rows)
    assert [asked.contradicted(row) for row in rows] == [None, None, other, other]


def test_a_label_is_quoted_with_its_option() -> None:
    assert (says(CHOSEN), says(DECIDED), says(replace(CHOSEN, label="G"))) == ("A. oil", "yes", "G")


@given(TEXT, TEXT)
def test_what_is_the_same_question_stands_in_one_split(one: str, other: str) -> None:
    if same(asking(one), asking(other)):
        assert normalised(one) == normalised(other)
