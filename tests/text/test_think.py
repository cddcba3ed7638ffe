from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bedside.text import think

TAGGED = st.lists(
    st.sampled_from(["<think>", "</think>", "<", ">", "/", "think", "</thi", " ", "\n", "a", "é😀", "yes"]), max_size=12
).map("".join)


def in_pieces(pieces: list[str], opened: bool) -> tuple[str, str]:
    stream = think.ThinkStream(opened)
    deltas = [delta for piece in pieces for delta in stream.feed(piece)] + list(stream.close())
    assert not any(delta.reasoning and delta.answer for delta in deltas)
    assert all(delta.reasoning or delta.answer for delta in deltas)
    return "".join(delta.reasoning for delta in deltas).strip(), "".join(delta.answer for delta in deltas).strip()


@example(text="<think>a</think>b", cuts=list(range(18)), opened=False)
@example(text="a</think>b", cuts=[3, 5, 8], opened=True)
@given(text=TAGGED, cuts=st.lists(st.integers(0, 40), max_size=8), opened=st.booleans())
def test_any_text_cut_into_any_pieces_splits_as_the_whole_does(text: str, cuts: list[int], opened: bool) -> None:
    borders = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]
    assert in_pieces(pieces, opened) == think.split(text, opened)
    assert in_pieces(list(text), opened) == think.split(text, opened)


@given(text=TAGGED, opened=st.booleans())
def test_no_sign_is_lost_but_the_tags_and_no_tag_is_said(text: str, opened: bool) -> None:
    reasoning, answer = think.split(text, opened)
    signs = sorted("".join(f"{reasoning}{answer}".split()))
    assert signs == sorted("".join(think.TAG.sub("", text).split()))


@pytest.mark.parametrize(
    ("text", "opened", "reasoning", "answer"),
    [
        ("<think>\nFever, so sepsis.\n</think>\n\nGive antibiotics.", False, "Fever, so sepsis.", "Give antibiotics."),
        ("Fever, so sepsis.\n</think>\n\nGive antibiotics.", True, "Fever, so sepsis.", "Give antibiotics."),
        ("Give antibiotics.", False, "", "Give antibiotics."),
        ("  \n<think>a</think>b", False, "a", "b"),
        ("<think></think>b", False, "", "b"),
        ("</think>b", True, "", "b"),
        ("</think>\n\nb", False, "", "b"),
        ("a</think>\n\n</think>\n\nb", True, "a", "b"),
        ("b</think>c", False, "", "bc"),
        ("Rest.\n</think>\n\nAnd drink.", False, "", "Rest.\n\n\nAnd drink."),
        ("<think>a</think>b <think>c</think>", False, "ac", "b"),
        ("<think>a<think>b</think>c", False, "ab", "c"),
        ("Yes. <think>no</think>", False, "no", "Yes."),
        ("", False, "", ""),
        ("", True, "", ""),
    ],
)
def test_reasoning_and_answer_are_told_apart(text: str, opened: bool, reasoning: str, answer: str) -> None:
    assert think.split(text, opened) == (reasoning, answer)


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("<think>So the dose is 5", False),
        ("So the dose is 5", True),
        ("So the dose is 5 </thin", True),
        ("<think>", False),
    ],
)
def test_unfinished_reasoning_is_never_an_answer(text: str, opened: bool) -> None:
    assert think.split(text, opened)[1] == ""


@pytest.mark.parametrize("text", ["<b>think</b>", "a < b and <think", "p</thin", "BP <90/60", "<thinking>"])
def test_what_only_looks_like_a_tag_is_text(text: str) -> None:
    assert think.split(text, opened=False) == ("", text)
    assert think.split(text, opened=True) == (text, "")


def test_text_is_passed_on_as_soon_as_it_cannot_be_a_tag() -> None:
    stream = think.ThinkStream(opened=False)
    assert [delta.answer for delta in stream.feed("Rest")] == ["Rest"]
    assert [delta.answer for delta in stream.feed(" <")] == [" "]
    assert [delta.answer for delta in stream.feed("5")] == ["<5"]
    inside = think.ThinkStream(opened=True)
    assert [delta.reasoning for delta in inside.feed("so </")] == ["so "]
    assert inside.in_reasoning
    assert list(inside.feed("think")) == []
    assert [delta.answer for delta in inside.feed("> done")] == ["done"]
    assert not inside.in_reasoning


WORDS = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=20)


@given(reasoning=WORDS, answer=WORDS)
def test_what_is_wrapped_for_training_splits_into_the_same_parts(reasoning: str, answer: str) -> None:
    whole = think.wrap(reasoning, answer)
    assert whole.startswith(think.OPEN)
    assert think.split(whole, opened=False) == (reasoning.strip(), answer.strip())
    assert think.split(whole.removeprefix(think.OPEN), opened=True) == (reasoning.strip(), answer.strip())
