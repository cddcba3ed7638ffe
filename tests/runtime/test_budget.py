"""Reasoning that does not end by itself is closed, and the answer follows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from bedside.records import Delta, Generation, GenerationOptions
from bedside.runtime.budget import stream_with_answer

PROMPT = "Why?\n<think>\n"
TEN = GenerationOptions(max_tokens=10, answer_tokens=4)


class Model:
    """Says each script in turn: words of reasoning, words of answer, and whether it came to an end."""

    def __init__(self, *scripts: tuple[Sequence[str], Sequence[str], str]) -> None:
        self.scripts = iter(scripts)
        self.asked: list[tuple[str, int]] = []
        self.closed = 0

    def stream(self, prompt: str, options: GenerationOptions) -> Iterator[int | Delta | Generation]:
        self.asked.append((prompt, options.max_tokens))
        assert options.stop == ()
        reasoning, answer, finish = next(self.scripts)
        yield 3 + len(prompt) - len(PROMPT)
        try:
            yield from (Delta(reasoning=word) for word in reasoning)
            yield from (Delta(answer=word) for word in answer)
            yield Generation("".join(reasoning), "".join(answer), finish, 3, len(reasoning) + len(answer))
        finally:
            self.closed += 1


def test_reasoning_that_ends_in_time_is_left_alone():
    model = Model((["a ", "b "], ["c"], "stop"))
    *_, last = stream_with_answer(model.stream, PROMPT, TEN)
    assert last == Generation("a b ", "c", "stop", 3, 3)
    assert model.asked == [(PROMPT, 10)]


@pytest.mark.parametrize("words", [6, 50], ids=["ends without an answer", "goes on and on"])
def test_reasoning_without_an_answer_is_closed_and_the_rest_kept_for_it(words: int):
    model = Model((["so "] * words, [], "length"), ([], ["Because."], "stop"))
    *deltas, last = stream_with_answer(model.stream, PROMPT, TEN)
    assert (last.reasoning, last.answer, last.finish, last.forced) == ("so so so so so so", "Because.", "stop", True)
    assert last.completion_tokens == 7
    assert "".join(delta.answer for delta in deltas) == "Because."
    assert model.asked[1] == (PROMPT + "so so so so so so\n</think>\n\n", 4)
    assert model.closed == 2


def test_no_more_tokens_are_spent_than_were_allowed():
    model = Model((["so "] * 9, [], "stop"), ([], ["Because."], "length"))
    *_, last = stream_with_answer(model.stream, PROMPT, replace(TEN, max_tokens=12, answer_tokens=3))
    assert model.asked[1][1] == 3
    assert last.completion_tokens <= 12


def test_a_prompt_has_the_same_tokens_whether_an_answer_was_forced_or_not():
    left_alone = Model((["a "], ["b"], "stop"))
    forced = Model((["so "] * 50, [], "length"), ([], ["Because."], "stop"))
    for model in (left_alone, forced):
        *_, last = stream_with_answer(model.stream, PROMPT, TEN)
        assert last.prompt_tokens == 3


@pytest.mark.parametrize("stop", [("END",), ("###", "END"), ("ND", "END")])
@pytest.mark.parametrize("words", [["Rest. ", "END", " more"], ["Rest. E", "N", "D more"], ["Rest. END more"]])
def test_a_stop_sequence_ends_the_answer_wherever_it_is_torn(stop: tuple[str, ...], words: list[str]):
    model = Model((["the END of thought "], words, "stop"))
    *deltas, last = stream_with_answer(model.stream, PROMPT, replace(TEN, stop=stop))
    assert "".join(delta.answer for delta in deltas).strip() == last.answer == "Rest."
    assert (last.finish, last.forced, last.reasoning) == ("stop", False, "the END of thought")
    assert model.closed == 1


def test_a_stop_sequence_ends_a_forced_answer_too():
    model = Model((["so "] * 50, [], "length"), ([], ["Yes", "###", "No"], "stop"))
    *_, last = stream_with_answer(model.stream, PROMPT, replace(TEN, stop=("###",)))
    assert (last.answer, last.forced, last.prompt_tokens) == ("Yes", True, 3)


def test_what_only_begins_like_a_stop_sequence_is_said():
    model = Model(([], ["a ##", " b #"], "stop"))
    *deltas, _ = stream_with_answer(model.stream, PROMPT, replace(TEN, stop=("###",)))
    assert "".join(delta.answer for delta in deltas) == "a ## b #"


def test_tokens_that_reasoning_did_not_use_go_to_the_answer():
    model = Model((["so "] * 2, [], "stop"), ([], ["Because."], "stop"))
    list(stream_with_answer(model.stream, PROMPT, TEN))
    assert model.asked[1][1] == 8


def test_without_tokens_kept_nothing_is_forced():
    model = Model((["so "] * 5, [], "length"))
    *_, last = stream_with_answer(model.stream, PROMPT, GenerationOptions(max_tokens=5))
    assert (last.answer, last.forced) == ("", False)


def test_an_empty_answer_without_reasoning_is_no_reason_to_force_one():
    model = Model(([], [], "stop"))
    *_, last = stream_with_answer(model.stream, PROMPT, TEN)
    assert (last.answer, last.forced) == ("", False)


def test_an_answer_gets_what_was_kept_for_it_even_where_a_delta_is_several_tokens():
    def stream(prompt: str, options: GenerationOptions) -> Iterator[int | Delta | Generation]:
        asked.append(options.max_tokens)
        yield 3
        yield from (Delta(reasoning="two tokens ") for _ in range(options.max_tokens // 2))
        yield Generation("so ", "", "length", 3, options.max_tokens)

    asked: list[int] = []
    *_, last = stream_with_answer(stream, PROMPT, GenerationOptions(max_tokens=20, answer_tokens=12))
    assert asked == [20, 12]
    assert last.forced
