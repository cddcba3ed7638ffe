"""Seats, the queue before them, and how long a request waits and an answer takes."""

import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from bedside.recipe import ServeSection
from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime.remote import Remote
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.app import create_app
from bedside.serve.faults import RETRY_AFTER_S

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

CHAT = "v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "What raises the JVP?"}], "stream": True}


def other(name: str) -> EndlessSpeaker:
    speaker = EndlessSpeaker()
    speaker.name = name
    return speaker


def hear(url: str, **more: object) -> httpx.Response:
    return httpx.post(url + CHAT, json={**ASK, **more}, timeout=PATIENCE_S)


def test_one_model_does_not_wait_for_the_other(serving: Serving, endless: EndlessSpeaker) -> None:
    second = other("second")
    with serving(endless, second, slots=1, queue=0) as url:
        asked = [{**ASK, "model": "endless"}, {**ASK, "model": "second"}]
        both = [httpx.stream("POST", url + CHAT, json=body, timeout=PATIENCE_S) for body in asked]
        with both[0] as first, both[1] as also:
            assert (first.status_code, also.status_code) == (200, 200)
            assert hear(url, model="endless").status_code == 429


def test_who_waits_for_one_model_takes_no_place_in_the_queue_of_the_other(serving: Serving) -> None:
    done = threading.Event()
    with serving(other("first"), other("second"), slots=1, queue=1) as url, ThreadPoolExecutor(4) as pool:
        for taken, name in enumerate(("first", "first", "second", "second"), start=1):
            asked = pool.submit(_hold, url, name, done)
            _comes(lambda there=taken: _number(url, "bedside_seats_in_use") + _number(url, "bedside_queue") == there)
        queue = _number(url, "bedside_queue")
        done.set()
        assert (asked.result(), queue) == (200, 2)


def test_who_waits_for_too_long_is_told_to_come_back(serving: Serving, endless: EndlessSpeaker) -> None:
    with serving(endless, wait_s=0.1) as url, httpx.stream("POST", url + CHAT, json=ASK, timeout=PATIENCE_S):
        turned_away = hear(url)
    assert (turned_away.status_code, turned_away.headers["retry-after"]) == (429, str(RETRY_AFTER_S))


def test_who_goes_while_it_waits_is_never_answered(serving: Serving, endless: EndlessSpeaker) -> None:
    with serving(endless, slots=1) as url:
        with httpx.stream("POST", url + CHAT, json=ASK, timeout=PATIENCE_S) as first:
            assert first.status_code == 200
            assert endless.started.acquire(timeout=PATIENCE_S)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url + CHAT, json=ASK, timeout=0.3)
            assert _number(url, "bedside_queue") == 0
        assert endless.closed.acquire(timeout=PATIENCE_S)
        assert not endless.started.acquire(timeout=0.3)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_end_is_broken_off_and_not_asked_for_again(
    serving: Serving, endless: EndlessSpeaker, stream: bool
) -> None:
    with serving(endless, answer_s=0.3) as url:
        reply = hear(url, stream=stream)
        assert endless.closed.acquire(timeout=PATIENCE_S)
    assert "took longer than 0.3 seconds (serve.answer_s)" in reply.text
    if stream:
        assert reply.text.endswith("data: [DONE]\n\n")
    else:
        assert (reply.status_code, reply.headers["x-should-retry"]) == (503, "false")


class SlowToStop(EndlessSpeaker):
    """Stops only once it may, however long ago its iterator was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.may_stop = threading.Event()

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        try:
            yield from super().stream(messages, options)
        finally:
            self.may_stop.wait(PATIENCE_S)


def test_a_seat_is_free_only_once_the_model_has_really_stopped(serving: Serving) -> None:
    speaker = SlowToStop()
    with serving(speaker, slots=1) as url, ThreadPoolExecutor(1) as pool:
        with httpx.stream("POST", url + CHAT, json=ASK, timeout=PATIENCE_S) as first:
            assert first.status_code == 200
        assert speaker.started.acquire(timeout=PATIENCE_S)
        assert speaker.closed.acquire(timeout=PATIENCE_S)
        pool.submit(_begin, url)
        assert not speaker.started.acquire(timeout=0.3)
        speaker.may_stop.set()
        assert speaker.started.acquire(timeout=PATIENCE_S)


@pytest.mark.parametrize("stream", [False, True])
def test_that_the_time_is_up_is_told_before_the_model_has_stopped(serving: Serving, stream: bool) -> None:
    speaker = SlowToStop()
    with serving(speaker, answer_s=0.3) as url:
        told = hear(url, stream=stream).text
        busy = _number(url, "bedside_seats_in_use")
        speaker.may_stop.set()
    assert "answer_timeout" in told
    assert busy == 1


class Verbose(EndlessSpeaker):
    """Its answers fill every buffer between it and its client."""

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        for event in super().stream(messages, options):
            yield Delta(answer="word " * 50_000) if isinstance(event, Delta) else event


@contextmanager
def stalled(url: str) -> Iterator[socket.socket]:
    """A client that asks and reads no answer."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    body = json.dumps(ASK).encode()
    head = f"POST /{CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, port))
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        yield client


def test_a_client_that_does_not_read_keeps_no_seat_of_a_model_that_has_ended(serving: Serving) -> None:
    speaker = Verbose(words=40)
    with serving(speaker, slots=1) as url, stalled(url):
        assert speaker.closed.acquire(timeout=PATIENCE_S)
        assert _comes(lambda: _number(url, "bedside_seats_in_use") == 0)
        assert hear(url).text.endswith("data: [DONE]\n\n")


def test_a_client_that_does_not_read_is_cut_off_when_the_answer_s_time_is_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bedside.serve.desk.LAST_WORD_S", 0.2)
    speaker = Verbose()
    with serving(speaker, slots=1, answer_s=0.5) as url, stalled(url):
        assert _comes(lambda: f'endpoint="/{CHAT}",status="200"' in httpx.get(url + "metrics").text)
        assert _number(url, "bedside_seats_in_use") == 0


def test_a_client_that_takes_nothing_of_what_waits_for_it_is_hung_up_on(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bedside.serve.run.STALLED_S", 0.3)
    speaker, told = Verbose(), b""
    with serving(speaker, slots=1) as url, stalled(url) as client:
        assert speaker.closed.acquire(timeout=PATIENCE_S)
        client.settimeout(PATIENCE_S)
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                told += piece
    assert told
    assert b"[DONE]" not in told


def test_what_a_remote_model_cannot_be_asked_is_a_400(serving: Serving) -> None:
    with closing(Remote("http://127.0.0.1:9/v1#toy")) as speaker, serving(speaker) as url:
        reply = httpx.post(url + "v1/completions", json={"prompt": "Fever", "logprobs": 1}, timeout=PATIENCE_S)
    assert reply.status_code == 400
    assert "in a chat only" in reply.json()["error"]["message"]


def test_all_events_of_a_fast_model_arrive_in_order(serving: Serving) -> None:
    words = " ".join(str(i) for i in range(3_000))
    with serving(ScriptedBackend([("", words)])) as url:
        text = hear(url).text
    told = [line.partition('"content":"')[2].partition('"')[0] for line in text.splitlines() if '"content":"' in line]
    assert "".join(told).split() == words.split()


def test_while_it_is_being_stopped_it_is_not_ready_and_takes_nothing() -> None:
    app = create_app([ScriptedBackend([("", "Yes.")])], ServeSection())
    api = TestClient(app, base_url="http://127.0.0.1")
    assert (api.get("/readyz").status_code, api.get("/readyz").json()) == (200, {"status": "ready"})
    app.state.desk.closing = True
    refused = api.get("/readyz"), api.post(f"/{CHAT}", json=ASK)
    assert [reply.status_code for reply in refused] == [503, 503]
    assert {reply.json()["error"]["code"] for reply in refused} == {"server_stopping"}
    assert api.get("/healthz").status_code == 200


def _begin(url: str) -> None:
    with httpx.stream("POST", url + CHAT, json=ASK, timeout=PATIENCE_S):
        pass


def _hold(url: str, model: str, done: threading.Event) -> int:
    with httpx.stream("POST", url + CHAT, json={**ASK, "model": model}, timeout=PATIENCE_S) as reply:
        done.wait(PATIENCE_S)
        return reply.status_code


def _comes(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _number(url: str, name: str) -> float:
    lines = httpx.get(url + "metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))
