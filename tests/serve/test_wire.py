import pytest
from pydantic import ValidationError

from bedside.recipe import ServeSection
from bedside.records import GenerationOptions, Message
from bedside.serve.wire import MAX_CHARACTERS, MAX_MESSAGES, UNSUPPORTED, ChatRequest, EmbeddingRequest, TextRequest

QUESTION = {"role": "user", "content": "What raises the JVP?"}
SETTINGS = ServeSection(max_tokens=100)


def request(**more: object) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [QUESTION], **more})


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (QUESTION, Message("user", "What raises the JVP?")),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            Message("user", "ab"),
        ),
    ],
)
def test_content_is_a_string_or_parts_of_text(turn: dict[str, object], message: Message) -> None:
    assert ChatRequest.model_validate({"messages": [turn]}).conversation == [message]


def test_the_developer_is_the_system() -> None:
    asked = ChatRequest.model_validate({"messages": [{"role": "developer", "content": "Be brief."}, QUESTION]})
    assert asked.conversation[0] == Message("system", "Be brief.")


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, GenerationOptions(max_tokens=100)),
        ({"max_tokens": 7}, GenerationOptions(max_tokens=7)),
        ({"max_tokens": 7, "max_completion_tokens": 8}, GenerationOptions(max_tokens=8)),
        ({"max_tokens": 5000}, GenerationOptions(max_tokens=100)),
        ({"stop": "."}, GenerationOptions(max_tokens=100, stop=(".",))),
        ({"stop": [".", "!"]}, GenerationOptions(max_tokens=100, stop=(".", "!"))),
        (
            {"temperature": 1, "top_p": 0.5, "seed": 7},
            GenerationOptions(max_tokens=100, temperature=1, top_p=0.5, seed=7, afresh=True),
        ),
        ({"temperature": None, "top_p": None, "seed": None, "stop": None}, GenerationOptions(max_tokens=100)),
        ({"thinking_budget": 5}, GenerationOptions(max_tokens=100, thinking_tokens=5)),
        ({"thinking_budget": 0}, GenerationOptions(max_tokens=100, thinking_tokens=0)),
        ({"reasoning_effort": "none"}, GenerationOptions(max_tokens=100, thinking_tokens=0)),
        ({"reasoning_effort": "medium"}, GenerationOptions(max_tokens=100)),
        ({"reasoning_effort": "none", "thinking_budget": 5}, GenerationOptions(max_tokens=100, thinking_tokens=5)),
        ({"logprobs": True}, GenerationOptions(max_tokens=100, logprobs=0)),
        ({"logprobs": True, "top_logprobs": 3}, GenerationOptions(max_tokens=100, logprobs=3)),
        ({"logprobs": False, "top_logprobs": 0}, GenerationOptions(max_tokens=100)),
        ({"response_format": {"type": "text"}}, GenerationOptions(max_tokens=100)),
        ({"response_format": {"type": "json_object"}}, GenerationOptions(max_tokens=100, schema='{"type": "object"}')),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
            GenerationOptions(max_tokens=100, schema='{"type": "null"}'),
        ),
        ({"user": "someone", "metadata": {"unknown": 1}}, GenerationOptions(max_tokens=100)),
    ],
)
def test_parameters_become_options(asked: dict[str, object], options: GenerationOptions) -> None:
    assert request(**asked).options(SETTINGS) == options


NEUTRAL = {
    "n": 1,
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "function_call": "none",
    "logit_bias": {},
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "modalities": ["text"],
    "best_of": 1,
    "echo": False,
    "suffix": "",
    "dimensions": None,
}


def test_an_unsupported_parameter_may_be_sent_if_it_changes_nothing() -> None:
    assert set(NEUTRAL) == set(UNSUPPORTED)
    for keys in (NEUTRAL, dict.fromkeys(NEUTRAL)):
        assert request(**keys).conversation
        assert TextRequest.model_validate({"prompt": "A", **keys}).prompt == "A"
    assert EmbeddingRequest.model_validate({"input": "A", "dimensions": None}).texts == ["A"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": True},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"temperature": "0.5"},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": 1.5},
        {"top_p": 1.1},
        {"seed": -1},
        {"stop": ""},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stream": "yes"},
        {"messages": []},
        {"messages": [QUESTION] * (MAX_MESSAGES + 1)},
        {"messages": [{"role": "user", "content": "x" * (MAX_CHARACTERS // 2 + 1)}] * 2},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user"}]},
        {"messages": [QUESTION, {"role": "assistant", "content": "Heart failure."}]},
        {"messages": [QUESTION, {"role": "system", "content": "Be brief."}, QUESTION]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    ],
)
def test_what_is_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChatRequest.model_validate({"messages": [QUESTION], **wrong})
