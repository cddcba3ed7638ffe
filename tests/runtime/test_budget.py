"""Reasoning that does not end by itself is closed, and the answer follows."""

from collections.abc import Iterator, Sequence

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

    def stream(self, prompt: str, options: GenerationOptions) -> Iterator[Delta | Generation]:
        self.asked.append((prompt, options.max_tokens))
        reasoning, answer, finish = next(self.scripts)
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
