"""The parity check is told as it is: a quantised file that answers differently is not called the same."""

from typing import Any

import pytest

from bedside.report.parity import lines, sentence

from .sample import parity

DIFFERS = parity(greedy_equal=False, agreed_tokens=63)


@pytest.mark.parametrize(
    ("served", "unquantised", "answer", "said"),
    [
        (None, None, "Not checked.", "was not compared"),
        (parity(), None, "Yes.", "the very tokens of the trained model"),
        (parity(ok=False, tokens_equal=False), None, "No.", "should not be used"),
        (DIFFERS, parity(ok=False), "No.", "should not be used"),
        (DIFFERS, parity(), "Yes, up to quantisation.", "Before quantising they are the same token for token"),
        (DIFFERS, None, "The prompts are; the answers differ.", "greedy answers of the served file differ"),
    ],
)
def test_the_answer_is_in_words(served: Any, unquantised: Any, answer: str, said: str):
    assert sentence(served, unquantised)[0] == answer
    assert said in sentence(served, unquantised)[1]


def test_the_served_file_stands_beside_the_one_before_quantising():
    found = dict(lines(DIFFERS, parity()))
    assert found["Prompts become the same tokens"] == ["yes", "yes"]
    assert found["Greedy answers are the same"] == ["no: 63 of 153 tokens before they part", "yes"]


def test_what_was_not_measured_is_left_out():
    assert [words for words, _ in lines({"ok": True, "tokens_equal": True, "kl_mean": None}, None)] == [
        "Prompts become the same tokens"
    ]
    assert lines(None, None) == []
