"""What stands in an answer beside its text: log-probabilities, both shapes of completion, formats."""

import httpx
import openai
import pytest

from bedside.recipe import PromptSection
from bedside.records import GenerationOptions
from bedside.runtime.scripted import LOGPROB, ScriptedBackend

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

REPLY = ("The right atrium is full.", "Right heart failure.")
QUESTION = {"role": "user", "content": "What raises the JVP?"}
ASK = {"model": "scripted", "messages": [QUESTION]}
JSON = '{"diagnosis": "Tamponade"}'
SCHEMA = {
    "type": "object",
    "properties": {"diagnosis": {"type": "string"}},
    "required": ["diagnosis"],
    "additionalProperties": False,
}


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0, timeout=PATIENCE_S)


def test_the_openai_client_gets_the_log_probabilities_of_the_answer(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api:
        choice = api.chat.completions.create(**ASK, logprobs=True, top_logprobs=1).choices[0]
    told = choice.logprobs.content
    assert [token.token for token in told] == ["Right ", "heart ", "failure. "]
    assert {token.logprob for token in told} == {LOGPROB}
    assert bytes(told[0].bytes) == b"Right "
    assert [top.token for top in told[0].top_logprobs] == ["Right "]


def test_streamed_log_probabilities_go_with_the_text_that_they_are_of(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api:
        chunks = list(api.chat.completions.create(**ASK, logprobs=True, stream=True))
    choices = [chunk.choices[0] for chunk in chunks]
    for choice in choices:
        told = [token.token for token in choice.logprobs.content] if choice.logprobs else []
        assert "".join(told) == (choice.delta.content or "")
        assert all(not token.top_logprobs for token in (choice.logprobs.content if choice.logprobs else []))
    assert sum(choice.logprobs is not None for choice in choices) == 3


def test_part_of_a_character_has_no_bytes(serving: Serving) -> None:
    with serving(ScriptedBackend([("", "\ufffd é")])) as url, client(url) as api:
        told = api.chat.completions.create(**ASK, logprobs=True).choices[0].logprobs.content
    assert [token.bytes for token in told] == [None, list("é ".encode())]


def test_the_first_chunk_alone_tells_the_role_and_all_have_both_texts(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api:
        deltas = [chunk.choices[0].delta for chunk in api.chat.completions.create(**ASK, stream=True)]
    assert [delta.role for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    assert all({"content", "reasoning_content"} <= set(delta.model_dump()) for delta in deltas)


@pytest.mark.parametrize(
    "text", ['"quoted" \\ back', "é 漢 😀", "line\nline\r\ttab", "\u2028 \x00 </script>", "\udc00"]
)
def test_any_text_comes_through_a_stream_as_it_was_said(serving: Serving, text: str) -> None:
    with serving(ScriptedBackend([("", text)])) as url, client(url) as api:
        chunks = list(api.chat.completions.create(**ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text + " "


def test_a_raw_text_is_continued_whole_and_streamed(serving: Serving) -> None:
    speaker = ScriptedBackend([("", "heart failure."), ("", "heart failure.")])
    with serving(speaker) as url, client(url) as api:
        whole = api.completions.create(model="scripted", prompt="A raised JVP means", logprobs=1, max_tokens=5, seed=3)
        chunks = list(
            api.completions.create(
                model="scripted", prompt="A raised JVP means", stream=True, stream_options={"include_usage": True}
            )
        )
    assert speaker.prompts == ["A raised JVP means"] * 2
    assert speaker.options[0] == GenerationOptions(max_tokens=5, seed=3, logprobs=1, afresh=True)
    choice = whole.choices[0]
    assert (choice.text, choice.finish_reason, whole.object) == ("heart failure. ", "stop", "text_completion")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 2)
    assert choice.logprobs.tokens == ["heart ", "failure. "]
    assert choice.logprobs.token_logprobs == [LOGPROB, LOGPROB]
    assert choice.logprobs.top_logprobs == [{"heart ": LOGPROB}, {"failure. ": LOGPROB}]
    assert choice.logprobs.text_offset == [0, 6]
    *said, closing, counted = chunks
    assert "".join(chunk.choices[0].text for chunk in said) == "heart failure. "
    assert closing.choices[0].finish_reason == "stop"
    assert (counted.choices, counted.usage.total_tokens) == ([], 6)


def test_streamed_offsets_go_on_counting(serving: Serving) -> None:
    with serving(ScriptedBackend([("", "heart failure.")])) as url, client(url) as api:
        chunks = list(api.completions.create(model="scripted", prompt="A", stream=True, logprobs=0))
    offsets = [chunk.choices[0].logprobs.text_offset for chunk in chunks if chunk.choices[0].logprobs]
    assert offsets == [[0], [6]]


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "want one text"),
        ({"prompt": [1, 2]}, "prompt", "want one text"),
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"echo": True}, "echo", "cannot be honoured"),
        ({"best_of": 2}, "best_of", "cannot be honoured"),
        ({"suffix": "x"}, "suffix", "cannot be honoured"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    ],
)
def test_what_cannot_be_continued_is_a_400(serving: Serving, wrong: dict[str, object], param: str, said: str) -> None:
    with serving(ScriptedBackend([])) as url, client(url) as api, pytest.raises(openai.BadRequestError) as refused:
        api.completions.create(**{"model": "scripted", "prompt": "A", **wrong})
    assert refused.value.param == param
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "json_object"}, '{"type": "object"}'),
        ({"type": "json_schema", "json_schema": {"name": "case", "strict": True, "schema": SCHEMA}}, '"diagnosis"'),
    ],
)
def test_an_answer_can_be_asked_for_as_json(serving: Serving, form: dict[str, object], schema: str) -> None:
    speaker = ScriptedBackend([("It is full.", JSON)])
    with serving(speaker) as url, client(url) as api:
        choice = api.chat.completions.create(**ASK, response_format=form).choices[0]
    assert choice.message.content == JSON
    assert choice.message.reasoning_content == "It is full."
    assert schema in speaker.options[0].schema


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_no_json_after_all_is_refused(serving: Serving, stream: bool) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api, pytest.raises(openai.APIError) as refused:
        list(api.chat.completions.create(**ASK, response_format={"type": "json_object"}, stream=stream))
    assert "could not be held to response_format" in refused.value.message


def test_a_model_that_cannot_be_held_to_a_format_says_so(serving: Serving, endless: EndlessSpeaker) -> None:
    with serving(endless) as url, client(url) as api, pytest.raises(openai.BadRequestError) as refused:
        api.chat.completions.create(model="endless", messages=[QUESTION], response_format={"type": "json_object"})
    assert refused.value.param == "response_format"


def test_each_model_answers_under_its_own_name_and_the_first_is_the_default(serving: Serving) -> None:
    tuned = ScriptedBackend([("", "Tuned."), ("", "Tuned.")], name="demo")
    base = ScriptedBackend([("", "Base.")], PromptSection(), name="demo-base")
    with serving(tuned, base) as url, client(url) as api:
        assert [model.id for model in api.models.list()] == ["demo", "demo-base"]
        assert api.models.retrieve("demo-base").id == "demo-base"
        assert api.models.retrieve("bedside").id == "demo"
        for asked, name, said in [
            ("demo-base", "demo-base", "Base."),
            ("demo", "demo", "Tuned."),
            ("bedside", "demo", "Tuned."),
        ]:
            reply = api.chat.completions.create(model=asked, messages=[QUESTION])
            assert (reply.model, reply.choices[0].message.content) == (name, said)
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("gpt-5")


def test_a_name_of_a_model_may_hold_a_slash(serving: Serving) -> None:
    with serving(ScriptedBackend([], name="org/name")) as url:
        assert httpx.get(f"{url}v1/models/org/name").json()["id"] == "org/name"
