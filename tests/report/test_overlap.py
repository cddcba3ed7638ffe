"""What two texts share is marked, wherever it stands, and nothing of them is markup."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from bedside.report.overlap import side_by_side


@pytest.mark.parametrize(
    ("first", "second", "marked"),
    [
        ("She has crushing chest pain today.", "He had CRUSHING, chest pain.", ["crushing chest pain"]),
        ("a b c d e f", "d e f a b c", ["a b c d e f"]),
        ("one two three", "four five six", []),
        ("one two", "One two!", ["one two"]),
        ("胸痛两小时伴出汗", "患者胸痛两小时", ["胸痛两小时"]),
        ("", "", []),
        ("the end of x and the end of y", "at the end of", ["the end of", "the end of"]),
    ],
)
def test_runs_of_three_words_that_both_have_are_marked(first: str, second: str, marked: list[str]):
    assert re.findall("<mark>(.*?)</mark>", side_by_side(first, second)[0]) == marked


@given(*[st.text("ab <>&中", max_size=30)] * 2)
def test_texts_come_through_whole_and_escaped(first: str, second: str):
    for text, shown in zip((first, second), side_by_side(first, second), strict=True):
        assert re.sub("</?mark>", "", shown) == escape(text)
