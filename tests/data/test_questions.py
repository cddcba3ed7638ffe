"""What the same question is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data.questions import Questions
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


@given(TEXT, TEXT)
def test_what_is_the_same_question_stands_in_one_split(one: str, other: str) -> None:
    if same(asking(one), asking(other)):
        assert normalised(one) == normalised(other)
