"""What the audit log is told of each answer, however it ended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedside.errors import ModelError
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.audit import Audit

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
