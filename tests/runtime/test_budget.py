"""Reasoning that does not end by itself is closed, the answer follows, and follows its schema."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import pytest

from bedside.records import Delta, Generation, GenerationOptions, TokenLogprob
from bedside.runtime.budget import complete, in_one_go, stream_with_answer
from bedside.runtime.reading import Piece

PROMPT = "Why?\n<think>\n"
TEN = GenerationOptions(max_tokens=10, answer_tokens=4)
CLOSED = "\n</think>\n\n"
SCHEMA = '{"type": "object"}'
SHAPED = GenerationOptions(max_tokens=10, schema=SCHEMA)


class Model:
    """Says each script in turn, a word a token, up to the tokens that it is allowed."""

    def __init__(self, *scripts: Sequence[str]) -> None:
        self.scripts = iter(scripts)
        self.asked: list[tuple[str, int]] = []
        self.schemas: list[str] = []
        self.closed = 0

    def stream(self, prompt: str, options: GenerationOptions) -> Generator[Piece]:
        self.asked.append((prompt, options.max_tokens))
        self.schemas.append(options.schema)
        assert options.stop == ()
        words, read = next(self.scripts), 3 + len(prompt) - len(PROMPT)
        try:
            for i, word in enumerate(words[: options.max_tokens], 1):
                known = (TokenLogprob(word, -i),) if options.logprobs is not None else ()
                yield Piece(word, i, read, logprobs=known)
            if len(words) >= options.max_tokens:
                yield Piece("", options.max_tokens, read, "length")
            else:
                yield Piece("", len(words), read, "stop")
        finally:
            self.closed += 1


def asked(
    model: Model, options: GenerationOptions, prompt: str = PROMPT, reasons: bool = True
) -> tuple[list[Delta], Generation]:
    *deltas, last = stream_with_answer(model.stream, prompt, options, reasons)
    assert isinstance(last, Generation)
    return [delta for delta in deltas if isinstance(delta, Delta) and delta != Delta()], last


def answered(deltas: Sequence[Delta]) -> str:
    return "".join(delta.answer for delta in deltas)


def test_a_model_that_says_nothing_can_be_left_at_every_step() -> None:
    model = Model(["\n"] * 10)
    steps = stream_with_answer(model.stream, "Why?", GenerationOptions(max_tokens=10), True)
    assert [next(steps) for _ in range(3)] == [Delta()] * 3
    steps.close()
    assert model.closed == 1


def test_reasoning_that_ends_in_time_is_left_alone() -> None:
    model = Model(["a ", "b ", "</think>", "c"])
    assert asked(model, TEN)[1] == Generation("a b", "c", "stop", 3, 4)
    assert model.asked == [(PROMPT, 10)]


@pytest.mark.parametrize("words", [6, 50], ids=["at its limit", "goes on and on"])
def test_reasoning_without_an_answer_is_closed_and_the_rest_kept_for_it(words: int) -> None:
    model = Model(["so "] * words, ["Because."])
    deltas, last = asked(model, TEN)
    assert (last.reasoning, last.answer, last.finish, last.forced) == ("so so so so so so", "Because.", "stop", True)
    assert last.completion_tokens == 7
    assert answered(deltas) == "Because."
    assert model.asked[1] == (PROMPT + "so so so so so so" + CLOSED, 4)
    assert model.closed == 2


def test_no_more_tokens_are_spent_than_were_allowed() -> None:
    model = Model(["so "] * 9, ["Because."] * 9)
    _, last = asked(model, replace(TEN, max_tokens=12, answer_tokens=3))
    assert model.asked[1][1] == 3
    assert last.completion_tokens == 12


def test_a_prompt_has_the_same_tokens_whether_an_answer_was_forced_or_not() -> None:
    left_alone, forced = Model(["a ", "</think>", "b"]), Model(["so "] * 50, ["Because."])
    assert [asked(model, TEN)[1].prompt_tokens for model in (left_alone, forced)] == [3, 3]


def test_tokens_that_reasoning_did_not_use_go_to_the_answer() -> None:
    model = Model(["so "] * 2, ["Because."])
    assert asked(model, TEN)[1].forced
    assert model.asked[1][1] == 8


def test_tokens_are_counted_as_the_model_counts_them() -> None:
    def stream(prompt: str, options: GenerationOptions) -> Generator[Piece]:
        allowed.append(options.max_tokens)
        yield from (Piece("two tokens ", 2 * i, 3) for i in range(1, 1 + options.max_tokens // 2))
        yield Piece("", options.max_tokens, 3, "length")

    allowed: list[int] = []
    *_, last = stream_with_answer(stream, PROMPT, GenerationOptions(max_tokens=20, answer_tokens=12))
    assert allowed == [20, 12]
    assert isinstance(last, Generation)
    assert (last.reasoning, last.forced) == ("two tokens " * 3 + "two tokens", True)


def test_without_tokens_kept_nothing_is_forced() -> None:
    model = Model(["so "] * 5)
    _, last = asked(model, GenerationOptions(max_tokens=5))
    assert (last.answer, last.forced, last.finish) == ("", False, "length")


def test_an_empty_answer_without_reasoning_is_no_reason_to_force_one() -> None:
    _, last = asked(Model([]), TEN)
    assert (last.answer, last.forced) == ("", False)


def test_reasoning_of_white_space_is_closed_too() -> None:
    model = Model(["\n"] * 50, ["Because."])
    assert asked(model, TEN)[1].answer == "Because."


@pytest.mark.parametrize(("allowed", "reasoning"), [(1, "so"), (3, "so so so")])
def test_reasoning_is_closed_after_as_many_tokens_as_it_may_take(allowed: int, reasoning: str) -> None:
    model = Model(["so "] * 50, ["Because."])
    _, last = asked(model, GenerationOptions(max_tokens=10, thinking_tokens=allowed))
    assert (last.reasoning, last.answer, last.forced) == (reasoning, "Because.", True)
    assert model.asked[1] == (PROMPT + reasoning + CLOSED, 10 - allowed)


def test_the_narrower_of_two_limits_closes_the_reasoning() -> None:
    model = Model(["so "] * 50, ["Because."])
    asked(model, replace(TEN, thinking_tokens=9))
    assert model.asked[1][1] == 4


def test_an_answer_is_not_cut_at_what_the_reasoning_may_take() -> None:
    model = Model(["a ", "</think>", "b ", "c ", "d ", "e"])
    _, last = asked(model, GenerationOptions(max_tokens=10, thinking_tokens=3))
    assert (last.answer, last.forced) == ("b c d e", False)


@pytest.mark.parametrize(
    ("prompt", "given"), [(PROMPT, "Why?\n<think>\n</think>\n\n"), ("Why?\n", "Why?\n<think>\n</think>\n\n")]
)
def test_no_tokens_for_reasoning_close_it_before_it_begins(prompt: str, given: str) -> None:
    model = Model(["Because."])
    _, last = asked(model, GenerationOptions(max_tokens=10, thinking_tokens=0), prompt)
    assert model.asked == [(given, 10)]
    assert (last.reasoning, last.answer, last.forced) == ("", "Because.", False)


def test_a_style_without_reasoning_has_none_to_be_closed() -> None:
    model = Model(["Because."])
    asked(model, GenerationOptions(max_tokens=10, thinking_tokens=0), "Why?\n", reasons=False)
    assert model.asked == [("Why?\n", 10)]


@pytest.mark.parametrize("ending", [["</think>", "{", "}"], ["</thi", "nk>\n", "No", "!"], [".</think>No!"]])
def test_the_reasoning_is_free_and_the_answer_follows_the_schema(ending: list[str]) -> None:
    model = Model(["so ", "what", *ending], ['{"a"', ": 1}"])
    deltas, last = asked(model, SHAPED)
    assert model.schemas == ["", SCHEMA]
    assert model.asked[1][0] == PROMPT + last.reasoning + CLOSED
    assert last.reasoning.startswith("so what")
    assert answered(deltas) == last.answer == '{"a": 1}'
    assert (last.forced, last.finish, last.prompt_tokens) == (False, "stop", 3)


def test_a_model_that_opens_the_block_itself_reasons_before_the_schema_too() -> None:
    model = Model(["<thi", "nk>", "so", "</think>", "No"], ["{}"])
    _, last = asked(model, SHAPED, "Why?\n")
    assert model.asked[1][0] == "Why?\n<think>\nso" + CLOSED
    assert (last.reasoning, last.answer) == ("so", "{}")


def test_a_model_that_answers_at_once_is_asked_again_with_the_schema() -> None:
    model = Model([" Because", " of"], ["{}"])
    deltas, last = asked(model, SHAPED, "Why?\n")
    assert model.asked == [("Why?\n", 10), ("Why?\n", 10)]
    assert (last.reasoning, last.answer, answered(deltas), last.completion_tokens) == ("", "{}", "{}", 1)


@pytest.mark.parametrize(
    ("prompt", "reasons", "thinking"), [("Why?\n", False, None), ("Why?\n", True, 0), (PROMPT, True, 0)]
)
def test_where_there_is_no_reasoning_the_schema_holds_at_once(prompt: str, reasons: bool, thinking: int | None) -> None:
    model = Model(['{"tag": "<think>"}'])
    _, last = asked(model, replace(SHAPED, thinking_tokens=thinking), prompt, reasons)
    assert model.schemas == [SCHEMA]
    assert last.answer == '{"tag": "<think>"}', "what is constrained is all answer"


def test_reasoning_that_is_closed_is_followed_by_an_answer_in_shape() -> None:
    model = Model(["so "] * 50, ["{}"])
    _, last = asked(model, replace(SHAPED, thinking_tokens=2))
    assert model.schemas == ["", SCHEMA]
    assert (last.reasoning, last.answer, last.forced) == ("so so", "{}", True)


def test_nothing_that_does_not_follow_the_schema_is_said_when_the_tokens_are_spent() -> None:
    model = Model(["so ", "</think>No"])
    deltas, last = asked(model, replace(SHAPED, max_tokens=2))
    assert (answered(deltas), last.answer, last.finish) == ("", "", "length")


@pytest.mark.parametrize("stop", [("END",), ("###", "END"), ("ND", "END")])
@pytest.mark.parametrize("words", [["Rest. ", "END", " more"], ["Rest. E", "N", "D more"], ["Rest. END more"]])
def test_a_stop_sequence_ends_the_answer_wherever_it_is_torn(stop: tuple[str, ...], words: list[str]) -> None:
    model = Model(["the END of thought ", "</think>", *words])
    deltas, last = asked(model, replace(TEN, stop=stop))
    assert answered(deltas).strip() == last.answer == "Rest."
    assert (last.finish, last.forced, last.reasoning) == ("stop", False, "the END of thought")
    assert model.closed == 1


def test_a_stop_sequence_ends_a_forced_answer_too() -> None:
    model = Model(["so "] * 50, ["Yes", "###", "No"])
    _, last = asked(model, replace(TEN, stop=("###",)))
    assert (last.answer, last.forced, last.prompt_tokens, last.finish) == ("Yes", True, 3, "stop")


def test_what_only_begins_like_a_stop_sequence_is_said() -> None:
    model = Model(["a ##", " b #"])
    deltas, _ = asked(model, replace(TEN, stop=("###",)), "Why?\n")
    assert answered(deltas) == "a ## b #"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Rest", ". ", "END", " more"], ["Rest", ". "]),
        (["Rest", ". E", "ND"], ["Rest"]),
        (["Rest", ". E", "at"], ["Rest", ". E", "at"]),
    ],
)
def test_of_what_is_cut_off_no_probability_is_told(words: list[str], told: list[str]) -> None:
    model = Model(["so", "</think>", "\n\n", *words])
    deltas, last = asked(model, replace(TEN, max_tokens=20, stop=("END",), logprobs=0))
    assert [one.token for one in last.logprobs] == told
    assert tuple(one for delta in deltas for one in delta.logprobs) == last.logprobs
    assert not any(delta.logprobs for delta in deltas if delta.reasoning)


def test_probabilities_are_told_with_the_text_of_their_tokens() -> None:
    model = Model(["a <", "thi", "ng", " b"])
    deltas, last = asked(model, replace(TEN, logprobs=0), "Why?\n")
    assert [(delta.answer, [one.token for one in delta.logprobs]) for delta in deltas] == [
        ("a ", []),
        ("<thing", ["a <", "thi", "ng"]),
        (" b", [" b"]),
    ]
    assert [one.logprob for one in last.logprobs] == [-1, -2, -3, -4]


def test_a_text_is_continued_as_it_stands() -> None:
    model = Model([" and", " <think>", "so", "</think>\n"])
    *deltas, last = complete(model.stream, "Fever", TEN)
    assert isinstance(last, Generation)
    assert model.asked == [("Fever", 10)]
    assert (last.reasoning, last.answer) == ("", " and <think>so</think>\n")
    assert "".join(delta.answer for delta in deltas if isinstance(delta, Delta)) == last.answer


def test_a_continued_text_ends_at_a_stop_sequence() -> None:
    *_, last = complete(Model([" and", " chi", "lls", "."]).stream, "Fever", replace(TEN, stop=("chills",)))
    assert isinstance(last, Generation)
    assert (last.answer, last.finish) == (" and ", "stop")


def test_one_go_is_read_to_its_end() -> None:
    said: Iterator[Piece] = Model(["a</th", "ink>b"]).stream(PROMPT, TEN)
    assert in_one_go(said, PROMPT) == Generation("a", "b", "stop", 3, 2)  # type: ignore[arg-type]
