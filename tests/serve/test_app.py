import re
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import httpx
import openai
import pytest

from bedside.errors import ContextTooLong, ModelError, OfflineError, RemoteError
from bedside.records import GenerationOptions, Message
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.faults import RETRY_AFTER_S

from .conftest import PATIENCE_S, EndlessSpeaker, FailingSpeaker, Serving

REPLY = ("The right atrium is full.", "Right heart failure.")
QUESTION = {"role": "user", "content": "What raises the JVP?"}
ASK = {"model": "scripted", "messages": [QUESTION]}
CHAT = "v1/chat/completions"


def schema(of: object) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": of}}


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}v1", api_key=key, max_retries=0, timeout=PATIENCE_S)


def post(url: str, body: object = ASK, **options: object) -> httpx.Response:
    return httpx.post(url + CHAT, json=body, timeout=PATIENCE_S, **options)


def test_the_openai_client_gets_answer_reasoning_and_usage(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api:
        completion = api.chat.completions.create(**ASK)
    choice = completion.choices[0]
    assert choice.message.content == REPLY[1]
    assert choice.message.reasoning_content == REPLY[0]
    assert (choice.finish_reason, completion.model) == ("stop", "scripted")
    assert completion.usage.completion_tokens == 8
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 8


def test_the_openai_client_streams_reasoning_apart_from_the_answer(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url, client(url) as api:
        chunks = list(api.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    *said, closing, counted = chunks
    deltas = [chunk.choices[0].delta for chunk in said]
    assert "".join(delta.reasoning_content or "" for delta in deltas).strip() == REPLY[0]
    assert "".join(delta.content or "" for delta in deltas).strip() == REPLY[1]
    assert closing.choices[0].finish_reason == "stop"
    assert (counted.choices, counted.usage.completion_tokens) == ([], 8)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done_and_counts_only_if_asked(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        response = post(url, {**ASK, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    assert "completion_tokens" not in response.text


def test_the_conversation_and_the_options_reach_the_model(serving: Serving) -> None:
    speaker = ScriptedBackend([REPLY])
    turns = [QUESTION, {"role": "assistant", "content": "Heart failure."}, {"role": "user", "content": "Why?"}]
    with serving(speaker, max_tokens=50) as url:
        post(url, {"messages": turns, "max_tokens": 9, "stop": ["###"]})
    assert speaker.asked[0][1:] == [Message(turn["role"], turn["content"]) for turn in turns]
    assert (speaker.options[0].max_tokens, speaker.options[0].stop) == (9, ("###",))


def test_the_model_is_listed_and_may_be_called_bedside_or_not_at_all(serving: Serving) -> None:
    with serving(ScriptedBackend([REPLY, REPLY])) as url, client(url) as api:
        assert [model.id for model in api.models.list()] == ["scripted"]
        assert post(url, {"messages": [QUESTION]}).json()["model"] == "scripted"
        assert post(url, {**ASK, "model": "bedside"}).json()["model"] == "scripted"


def test_another_model_is_not_passed_off_as_the_one_asked_for(serving: Serving) -> None:
    with serving(ScriptedBackend([])) as url, client(url) as api, pytest.raises(openai.NotFoundError) as refused:
        api.chat.completions.create(**{**ASK, "model": "gpt-5"})
    assert "ask for 'scripted'" in refused.value.message
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"n": 2}, "n", "cannot be honoured"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "cannot be honoured"),
        ({"response_format": {"type": "xml"}}, "response_format", "'json_object'"),
        ({"response_format": schema({"not": {}})}, "response_format", "schema: the keyword 'not' cannot be honoured"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs: true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "send 'thinking_budget'"),
        ({"extra_body": {"thinking_budget": -1}}, "thinking_budget", "greater than or equal to 0"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "nurse", "content": "x"}]}, "messages[0].role", "'system', 'developer', 'user'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "want text"),
        ({"messages": [QUESTION, {"role": "assistant", "content": "x"}]}, "messages", "must be a question of the user"),
        ({"messages": [{"role": "user", "content": "é" * 200_001}]}, "messages[0].content", "at most 200000"),
        ({"max_tokens": True}, "max_tokens", "valid integer"),
        ({"stop": 5}, "stop", "valid string"),
    ],
)
def test_a_bad_request_names_its_parameter(serving: Serving, wrong: dict[str, object], param: str, said: str) -> None:
    with serving(ScriptedBackend([])) as url, client(url) as api, pytest.raises(openai.BadRequestError) as refused:
        api.chat.completions.create(**{**ASK, **wrong})
    error = refused.value
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert said in error.message


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_is_too_long_is_a_400_streamed_or_not(
    serving: Serving, failing: type[FailingSpeaker], stream: bool
) -> None:
    speaker = failing(ContextTooLong("the conversation has 9 tokens, the context 8"))
    with serving(speaker) as url, client(url) as api, pytest.raises(openai.BadRequestError) as refused:
        api.chat.completions.create(**{**ASK, "model": "failing"}, stream=stream)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("error", [OfflineError("no answer"), RemoteError("status 500: down")])
def test_what_another_server_does_wrong_is_a_502(
    serving: Serving, failing: type[FailingSpeaker], error: Exception
) -> None:
    with serving(failing(error)) as url:
        reply = post(url, {"messages": [QUESTION]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")


def test_a_failure_within_a_stream_reaches_the_client(serving: Serving, failing: type[FailingSpeaker]) -> None:
    with serving(failing(ModelError("llama.cpp: gone"), words=2)) as url, client(url) as api:
        stream = api.chat.completions.create(**{**ASK, "model": "failing"}, stream=True)
        with pytest.raises(openai.APIError, match=r"llama\.cpp: gone"):
            list(stream)


def test_a_bug_is_a_500_and_logs_no_text_of_anybody(
    serving: Serving, failing: type[FailingSpeaker], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(failing(KeyError("Mr Smith, born 1950"))) as url:
        response = post(url, {"messages": [QUESTION]})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "KeyError at" in caplog.text
    assert "Smith" not in caplog.text + response.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("stream", [False, True])
def test_a_bug_while_an_answer_is_sent_is_logged_with_its_own_place(
    serving: Serving, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    class Odd(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Any]:
            yield "no record"

    with serving(Odd([])) as url:
        post(url, {"messages": [QUESTION], "stream": stream})
    assert re.search(r"AttributeError at \S+/forms\.py:", caplog.text)


def test_an_ordinary_answer_and_a_refusal_log_nothing(
    serving: Serving, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(ScriptedBackend([REPLY])) as url:
        post(url)
        post(url, {"messages": [{"role": "nurse", "content": "Mr Smith"}]})
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"[]", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b""}, 400),
        (
            {"content": b'{"messages": [{"role": "user", "content": "x"}]}', "headers": {"Content-Type": "text/plain"}},
            400,
        ),
        ({"content": b'{"messages": [{"role": "user", "content": "x"}]}'}, 400),
        ({"content": b" " * 5_000_000, "headers": {"Content-Type": "application/json"}}, 413),
        ({"content": iter([b" " * 2_500_000] * 2), "headers": {"Content-Type": "application/json"}}, 413),
    ],
)
def test_a_body_that_is_no_json_request_is_refused(serving: Serving, sent: dict[str, object], status: int) -> None:
    with serving(ScriptedBackend([])) as url:
        response = httpx.post(url + CHAT, timeout=PATIENCE_S, **sent)
    assert response.status_code == status
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "nowhere", 404), ("GET", CHAT, 405), ("GET", "docs", 404)]
)
def test_unknown_paths_speak_the_same_shape(serving: Serving, method: str, path: str, status: int) -> None:
    with serving(ScriptedBackend([])) as url:
        response = httpx.request(method, url + path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_the_schema_documents_the_refusals_and_no_422(serving: Serving) -> None:
    with serving(ScriptedBackend([])) as url:
        schema = httpx.get(url + "openapi.json").json()
    told = {
        path: set(operation["responses"]) for path, methods in schema["paths"].items() for operation in methods.values()
    }
    assert told.pop("/healthz") == {"200"}
    assert told.pop("/readyz") == {"200", "503"}
    assert told.pop("/v1/feedback") == {"204", "4XX", "500", "502", "503"}
    assert "/v1/chat/completions" in told
    assert all(responses == {"200", "4XX", "500", "502", "503"} for responses in told.values())


def test_a_client_that_goes_stops_the_model(serving: Serving, endless: EndlessSpeaker) -> None:
    with serving(endless) as url:
        with httpx.stream("POST", url + CHAT, json={"messages": [QUESTION], "stream": True}) as response:
            assert next(response.iter_lines()).startswith("data: ")
        assert endless.closed.acquire(timeout=PATIENCE_S)


def test_a_client_that_goes_while_it_waits_for_a_whole_answer_stops_the_model(
    serving: Serving, endless: EndlessSpeaker
) -> None:
    with serving(endless) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url + CHAT, json={"messages": [QUESTION]}, timeout=0.5)
        assert endless.closed.acquire(timeout=PATIENCE_S)


def test_a_slot_is_free_again_after_its_client_has_gone(serving: Serving, endless: EndlessSpeaker) -> None:
    with serving(endless, slots=1) as url:
        for _ in range(3):
            with httpx.stream("POST", url + CHAT, json={"messages": [QUESTION], "stream": True}) as response:
                assert response.status_code == 200
        for _ in range(3):
            assert endless.closed.acquire(timeout=PATIENCE_S)


def test_as_many_run_as_there_are_slots(serving: Serving, endless: EndlessSpeaker) -> None:
    stop = threading.Event()
    with serving(endless, slots=2) as url, ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(_listen_until, url, stop)
        assert endless.started.acquire(timeout=PATIENCE_S)
        assert endless.started.acquire(timeout=PATIENCE_S)
        assert not endless.started.acquire(timeout=0.3)  # the third waits
        stop.set()
        assert endless.started.acquire(timeout=PATIENCE_S)


def test_a_full_queue_turns_away_and_says_when_to_come_back(serving: Serving, endless: EndlessSpeaker) -> None:
    stop = threading.Event()
    with serving(endless, slots=1, queue=3) as url, ThreadPoolExecutor(5) as pool:
        listening = [pool.submit(_listen_until, url, stop) for _ in range(5)]
        turned_away = wait(listening, PATIENCE_S, FIRST_COMPLETED).done.pop().result()
        stop.set()
        assert sorted(future.result().status_code for future in listening) == [200] * 4 + [429]
        health = httpx.get(url + "healthz")
    assert turned_away.headers["retry-after"] == str(RETRY_AFTER_S)
    assert turned_away.json()["error"]["code"] == "server_busy"
    assert health.json() == {"status": "ok"}


def _listen_until(url: str, stop: threading.Event) -> httpx.Response:
    body = {"messages": [QUESTION], "stream": True}
    with httpx.stream("POST", url + CHAT, json=body, timeout=PATIENCE_S) as response:
        if response.status_code != 200:
            response.read()
            return response
        for _ in response.iter_bytes():
            if stop.is_set():
                break
    return response
