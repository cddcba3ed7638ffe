"""What the audit log is told of each answer, however it ended."""

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedside.errors import ModelError
from bedside.records import Delta, Generation, GenerationOptions, Message, Section
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.audit import Audit
from bedside.text import sections

from .conftest import PATIENCE_S, EndlessSpeaker, FailingSpeaker, Serving

SECRET = "Mr Smith, born 1950"
CHAT = "v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": SECRET}]}
Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "audit.jsonl")


@pytest.fixture
def logged(audit: Audit) -> Logged:
    def lines() -> list[dict[str, Any]]:
        audit.close()
        text = audit.path.read_text(encoding="utf-8")
        assert "Smith" not in text
        return [json.loads(line) for line in text.splitlines()]

    return lines


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_logged_by_its_id_with_what_it_took(
    serving: Serving, audit: Audit, logged: Logged, stream: bool
) -> None:
    with serving(ScriptedBackend([("", "Ask Smith.")]), app={"audit": audit}, api_key="k") as url:
        headers = {"Authorization": "Bearer k"}
        reply = httpx.post(url + CHAT, json={**ASK, "stream": stream}, headers=headers).text
    (line,) = logged()
    assert line["answer_id"] in reply
    assert (line["endpoint"], line["model"], line["key_name"]) == ("/v1/chat/completions", "scripted", "api-key")
    assert (line["prompt_hmac"], line["prompt_characters"]) == (audit.mark(SECRET), len(SECRET))
    assert (line["answer_hmac"], line["answer_characters"]) == (audit.mark("Ask Smith."), 10)
    assert (line["completion_tokens"], line["finish"]) == (2, "stop")


def test_an_answer_that_nobody_waited_for_is_logged_as_such(
    serving: Serving, audit: Audit, logged: Logged, endless: EndlessSpeaker
) -> None:
    with serving(endless, app={"audit": audit}) as url:
        with httpx.stream("POST", url + CHAT, json={**ASK, "stream": True}, timeout=PATIENCE_S) as response:
            assert next(response.iter_lines())
        assert endless.closed.acquire(timeout=PATIENCE_S)
    assert [line["finish"] for line in logged()] == ["gone"]


def test_a_model_that_says_nothing_is_stopped_when_its_client_leaves(serving: Serving) -> None:
    silent = EndlessSpeaker(silent=True)
    with serving(silent) as url:
        with httpx.stream("POST", url + CHAT, json={**ASK, "stream": True}, timeout=PATIENCE_S) as response:
            assert "hm" in next(response.iter_lines())
        assert silent.closed.acquire(timeout=PATIENCE_S)


def test_a_bug_of_the_server_is_logged_as_an_error_and_not_as_a_client_that_left(
    serving: Serving, audit: Audit, logged: Logged
) -> None:
    class Odd(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Any]:
            yield "no record"

    with serving(Odd([]), app={"audit": audit}) as url:
        httpx.post(url + CHAT, json=ASK)
    assert [line["finish"] for line in logged()] == ["error"]


def test_an_answer_that_took_too_long_is_logged_as_such(
    serving: Serving, audit: Audit, logged: Logged, endless: EndlessSpeaker
) -> None:
    with serving(endless, app={"audit": audit}, answer_s=0.2) as url:
        httpx.post(url + CHAT, json=ASK, timeout=PATIENCE_S)
    assert [line["finish"] for line in logged()] == ["timeout"]


def test_a_failure_is_logged_as_such_and_a_refusal_not_at_all(
    serving: Serving, audit: Audit, logged: Logged, failing: type[FailingSpeaker]
) -> None:
    with serving(failing(ModelError("gone"), words=2), app={"audit": audit}) as url:
        httpx.post(url + CHAT, json=ASK)
        httpx.post(url + CHAT, json={})
    assert [line["finish"] for line in logged()] == ["error"]


SHOCK = {"messages": [{"role": "user", "content": "Passed out, BP 70/40"}]}


@pytest.mark.parametrize("path", ["v1/chat/completions", "v1/completions", "v1/answer"])
def test_of_an_answer_that_is_broken_off_is_logged_and_counted_what_there_was(
    serving: Serving, audit: Audit, logged: Logged, failing: type[FailingSpeaker], path: str
) -> None:
    asked = {"prompt": "Passed out"} if path == "v1/completions" else SHOCK
    with serving(failing(ModelError("gone"), words=3), app={"audit": audit}) as url:
        httpx.post(url + path, json=asked, timeout=PATIENCE_S)
        assert 'bedside_completion_tokens_total{model="failing"} 3.0' in httpx.get(url + "metrics").text
    (line,) = logged()
    assert (line["finish"], line["completion_tokens"]) == ("error", 3)
    assert (line["answer_hmac"], line["answer_characters"]) == (audit.mark("word word word "), 15)
    assert line["flags"] == (["shock"] if path == "v1/answer" else [])


class FailingSections(ScriptedBackend):
    """Thinks two words, and breaks off within the sections that it says."""

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        yield from (Delta(reasoning="Hm. ") for _ in range(2))
        yield from (Delta(answer=piece) for piece in ('{"Diag', 'nosis": [', '"ST', "E", "MI"))
        raise ModelError("gone")


def test_of_sections_that_are_broken_off_is_logged_what_there_was(
    serving: Serving, audit: Audit, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bedside.serve.guarded.RENDER_EVERY_S", 0)
    with serving(FailingSections([]), app={"audit": audit}) as url:
        httpx.post(url + "v1/answer", json=ASK, timeout=PATIENCE_S)
    (line,) = logged()
    said = sections.markdown((Section("Diagnosis", ("STEMI",)),))
    assert (line["answer_hmac"], line["completion_tokens"]) == (audit.mark(said), 2 + 5)


def test_an_emergency_that_was_shown_leaves_a_line_though_no_seat_came_free(
    serving: Serving, audit: Audit, logged: Logged, endless: EndlessSpeaker
) -> None:
    with (
        serving(endless, app={"audit": audit}, wait_s=0.2) as url,
        httpx.stream("POST", url + CHAT, json={**ASK, "stream": True}, timeout=PATIENCE_S),
    ):
        refused = httpx.post(url + "v1/answer", json={**SHOCK, "stream": True}, timeout=PATIENCE_S).text
        httpx.post(url + "v1/answer", json={**ASK, "stream": True}, timeout=PATIENCE_S)
    assert "server_busy" in refused
    assert [(line["finish"], line["flags"]) for line in logged()] == [("error", ["shock"]), ("gone", [])]
