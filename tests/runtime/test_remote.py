"""Any OpenAI-compatible server, well or ill: a real HTTP server that answers as it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bedside.errors import ModelError, OfflineError, RemoteError, UsageError
from bedside.records import Delta, Generation, GenerationOptions, Message, TokenLogprob
from bedside.runtime.remote import KEY, TRIES, Remote

Reply = tuple[int, dict[str, str], str]
JSON = {"Content-Type": "application/json"}
OPTIONS = GenerationOptions(max_tokens=20, answer_tokens=5)
ASKED = [[Message("user", f"Question {i}?")] for i in range(6)]


def said(content: str | None, finish: str = "stop", **more: Any) -> Reply:
    choice = {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    return 200, JSON, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 7}})


class Server:
    """Answers the nth request for a completion by `reply(n, request)`, and keeps what it was sent."""

    def __init__(self) -> None:
        self.reply: Callable[[int, dict[str, Any]], Reply] = lambda n, request: said("Yes.")
        self.models = ["toy"]
        self.listed: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send((200, JSON, json.dumps({"data": [{"id": name, **outer.listed} for name in outer.models]})))

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append(request)
                    outer.keys.append(self.headers["Authorization"])
                    number = len(outer.requests)
                self.send(outer.reply(number, request))

            def send(self, reply: Reply) -> None:
                status, headers, body = reply
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                    self.send_header(name, value)
                with suppress(OSError):  # who asked has gone
                    self.end_headers()
                    self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


def patient(waits: list[float]) -> Callable[[float], None]:
    return waits.append


def test_answers_come_in_the_order_asked_with_what_was_asked_for(server: Server):
    server.reply = lambda n, request: said(f"To {request['messages'][0]['content']}")
    progress: list[int] = []
    found = Remote(server.url).write(ASKED, OPTIONS, progress.append)
    assert [one.answer for one in found] == [f"To Question {i}?" for i in range(6)]
    assert sum(progress) == 6
    assert server.requests[0] | {"messages": []} == {
        "model": "toy", "messages": [], "max_tokens": 25, "temperature": 0.0, "top_p": 1.0, "seed": 42,
    }  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [
        said("<think>\nFirst.\n</think>\n\nYes."),
        said("Yes.", reasoning_content="First."),
        said("Yes.", reasoning="First."),
        said(None, refusal="Yes.", reasoning="First."),
    ],
)
def test_reasoning_is_told_apart_wherever_a_server_puts_it(server: Server, reply: Reply):
    server.reply = lambda n, request: reply
    (found,) = Remote(server.url).write(ASKED[:1], OPTIONS)
    assert (found.reasoning, found.answer, found.completion_tokens) == ("First.", "Yes.", 7)


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_answer_is_an_answer_that_says_nothing(server: Server, content: str | None):
    server.reply = lambda n, request: said(content, "length")
    (found,) = Remote(server.url).write(ASKED[:1], OPTIONS)
    assert (found.answer, found.finish) == ("", "length")


def test_an_answer_of_no_token_is_none_and_is_asked_for_again(server: Server):
    nothing = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    server.reply = lambda n, request: (200, {}, json.dumps(nothing)) if n < 3 else said("Yes.")
    waits: list[float] = []
    (found,) = Remote(server.url, wait=patient(waits)).write(ASKED[:1], OPTIONS)
    assert (found.answer, waits) == ("Yes.", [1.0, 2.0])
    server.reply = lambda n, request: (200, {}, json.dumps(nothing))
    with pytest.raises(OfflineError, match=r"no answer in 5 tries \(an empty answer of no token\)$"):
        Remote(server.url, wait=patient([])).write(ASKED[:1], OPTIONS)


def test_what_passes_is_tried_again_after_longer_and_longer_waits(server: Server):
    ill = [(503, {}, "busy"), (429, {"Retry-After": "7"}, ""), (500, {"Retry-After": "soon"}, "")]
    server.reply = lambda n, request: ill[n - 1] if n <= len(ill) else said("Yes.")
    waits: list[float] = []
    (found,) = Remote(server.url, wait=patient(waits)).write(ASKED[:1], OPTIONS)
    assert (found.answer, waits) == ("Yes.", [1.0, 7.0, 4.0])


@pytest.mark.parametrize(("told", "waited"), [("-1", 0.0), ("nan", 1.0), ("1e9", 60.0)])
def test_a_server_cannot_make_it_wait_for_ever(server: Server, told: str, waited: float):
    server.reply = lambda n, request: (503, {"Retry-After": told}, "") if n == 1 else said("Yes.")
    waits: list[float] = []
    Remote(server.url, wait=patient(waits)).write(ASKED[:1], OPTIONS)
    assert waits == [waited]


def test_it_does_not_try_for_ever(server: Server):
    server.reply = lambda n, request: (502, {}, "")
    waits: list[float] = []
    with pytest.raises(OfflineError, match=r"no answer in 5 tries \(status 502\)$"):
        Remote(server.url, wait=patient(waits)).write(ASKED[:1], OPTIONS)
    assert (len(server.requests), waits) == (TRIES, [1.0, 2.0, 4.0, 8.0])


def test_a_server_that_has_gone_is_named(server: Server):
    remote = Remote(server.url, wait=lambda seconds: None)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(OfflineError, match=f"{server.url}: no answer in 5 tries"):
        remote.write(ASKED[:1], OPTIONS)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            (200, {"Content-Type": "text/html; charset=utf-8"}, "<html>Sign in</html>"),
            "status 200 with text/html instead",
        ),
        ((200, JSON, '{"error": {"message": "model\\nnot loaded"}}'), "status 200: model not loaded"),
        ((401, JSON, '{"error": "no key"}'), f"status 401: no key; set {KEY}"),
        ((400, JSON, '{"detail": "context too long"}'), "status 400: .*context too long"),
        ((200, JSON, '{"choices": []}'), r"a reply without choices\[0\].message"),
        (said([{"text": "Yes."}]), r"a reply without choices\[0\].message in text"),  # type: ignore[arg-type]
        ((200, JSON, "[" * 100_000), "with application/json instead of JSON"),
        ((200, JSON, '{"error": "\\u001b[31mred"}'), "status 200: \\[31mred"),
        ((200, JSON, "[1, 2]"), r"a reply without choices\[0\].message"),
        ((302, {"Location": "http://elsewhere.invalid/"}, ""), "status 302"),
    ],
)
def test_what_is_no_answer_is_told_in_one_line_and_not_tried_again(server: Server, reply: Reply, told: str):
    server.reply = lambda n, request: reply
    with pytest.raises(ModelError, match=told) as error:
        Remote(server.url).write(ASKED[:1], OPTIONS)
    assert "\n" not in str(error.value)
    assert len(server.requests) == 1


def test_the_key_is_sent_where_there_is_one_and_never_told(server: Server, monkeypatch: pytest.MonkeyPatch):
    Remote(server.url).write(ASKED[:1], OPTIONS)
    monkeypatch.setenv(KEY, "secret\n")
    Remote(server.url).write(ASKED[:1], OPTIONS)
    assert server.keys == [None, "Bearer secret"]
    server.reply = lambda n, request: (401, JSON, '{"error": "wrong key secret"}')
    with pytest.raises(ModelError, match=r"wrong key \[key\]; set"):
        Remote(server.url).write(ASKED[:1], OPTIONS)


def test_a_key_that_cannot_be_sent_is_refused_without_telling_it(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEY, "sécret\u0007")
    with pytest.raises(UsageError, match=f"{KEY}: holds signs that no key can have"):
        Remote(server.url)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_asked_of_this_machine_is_never_shown_to_a_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, host: str
):
    for listed in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(listed, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    remote = Remote(server.url.replace("127.0.0.1", host), wait=lambda seconds: None)
    assert remote.write(ASKED[:1], OPTIONS)[0].answer == "Yes."


def test_a_password_in_an_address_is_refused_without_telling_it():
    with pytest.raises(UsageError, match="an address must not carry a password") as error:
        Remote("http://user:hunter2@127.0.0.1/v1")
    assert "hunter2" not in str(error.value)


def test_a_reply_without_end_is_broken_off(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.reply = lambda n, request: said("word " * 1000)
    remote = Remote(server.url, wait=lambda seconds: None)
    monkeypatch.setattr("bedside.runtime.remote.LARGEST_REPLY", 1000)
    with pytest.raises(OfflineError, match="a reply without end"):
        remote.write(ASKED[:1], OPTIONS)


def test_closing_ends_the_wait_for_another_try(server: Server):
    server.reply = lambda n, request: (503, {"Retry-After": "60"}, "")
    remote = Remote(server.url)
    threading.Timer(0.1, remote.close).start()
    with pytest.raises((OfflineError, RuntimeError)):
        remote.write(ASKED[:1], OPTIONS)
    assert len(server.requests) < TRIES


def test_closing_while_a_connection_opens_leaves_no_socket(server: Server, monkeypatch: pytest.MonkeyPatch):
    remote, trace = Remote(f"{server.url}#toy"), Remote._trace
    opened: list[Any] = []

    def closed_meanwhile(self: Remote, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            opened.append(info["return_value"].get_extra_info("socket"))
            remote.close()
        trace(self, event, info)

    monkeypatch.setattr(Remote, "_trace", closed_meanwhile)
    with pytest.raises((OfflineError, RuntimeError)):
        remote.write(ASKED[:1], OPTIONS)
    assert [one.fileno() for one in opened] == [-1]


def test_closing_ends_what_is_still_being_answered(server: Server):
    asked, never = threading.Event(), threading.Event()

    def hang(number: int, request: dict[str, Any]) -> Reply:
        asked.set()
        never.wait(60)
        return said("Late.")

    server.reply = hang
    remote = Remote(server.url)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            remote.write(ASKED[:1], OPTIONS)
        except OfflineError as error:
            failed.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert asked.wait(10)
    remote.close()
    thread.join(10)
    never.set()
    assert (len(failed), len(server.requests)) == (1, 1)


def test_half_of_a_surrogate_pair_is_replaced_in_an_answer(server: Server):
    server.reply = lambda n, request: said("Yes \ud800.", reasoning="\ud83d\ude00 \udc00")
    (found,) = Remote(server.url).write(ASKED[:1], OPTIONS)
    assert (found.answer, found.reasoning) == ("Yes \ufffd.", "\U0001f600 \ufffd")


def test_what_a_server_lists_of_its_model_is_told_without_what_changes_each_time(server: Server):
    server.listed = {"meta": {"n_params": 7}, "created": 1, "permission": []}
    server.models = ["small", "large"]
    assert Remote(f"{server.url}#large").told() == {"meta": {"n_params": 7}}
    assert Remote(f"{server.url}#other").told() == {}


def test_one_of_several_models_has_to_be_named(server: Server):
    server.models = ["small", "large"]
    with pytest.raises(ModelError, match=f"models there: small, large; name one as '{server.url}#NAME'"):
        Remote(server.url)
    assert Remote(f"{server.url}#large").name == "large"


def test_a_name_that_the_server_does_not_list_is_doubted(server: Server):
    assert Remote(f"{server.url}#toy").doubt() == ""
    assert Remote(f"{server.url}#other").doubt() == "the list has no 'other', but: toy"
    assert "no list" in Remote("http://127.0.0.1:1/v1#toy").doubt()


def test_where_the_address_lacks_its_end_that_is_said(server: Server):
    server.reply = lambda n, request: (404, JSON, '{"detail": "Not Found"}')
    with pytest.raises(RemoteError, match=r"Not Found; does the address end in /v1\?"):
        Remote(f"{server.url.removesuffix('/v1')}#toy").write(ASKED[:1], OPTIONS)


@pytest.mark.parametrize("url", ["http://", "http://[::1"])
def test_what_is_no_address_is_refused_at_once(url: str):
    with pytest.raises(ModelError, match="no address of a server"):
        Remote(url, wait=lambda seconds: pytest.fail("waited"))


STREAM = {"Content-Type": "text/event-stream"}
DONE = "data: [DONE]\n\n"
QUESTION = [Message("user", "Why?")]


def chunk(finish: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]}


def streamed(*events: Any, ended: str = DONE) -> Reply:
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]
    return 200, STREAM, ": a comment\n\n" + "".join(lines) + ended


def heard(stream: Iterator[Delta | Generation]) -> tuple[list[Delta], Generation]:
    *deltas, last = stream
    assert isinstance(last, Generation)
    return [delta for delta in deltas if isinstance(delta, Delta)], last


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}


@pytest.mark.parametrize(
    "events",
    [
        [
            chunk(role="assistant"),
            chunk(reasoning_content="Fir"),
            chunk(reasoning_content="st."),
            chunk(content="Yes."),
        ],
        [chunk(reasoning="First."), chunk(content="Ye"), chunk(content="s.")],
        [chunk(content="<thi"), chunk(content="nk>First.</th"), chunk(content="ink>\n\nYes.")],
    ],
)
def test_a_stream_is_passed_on_with_the_reasoning_apart(server: Server, events: list[Any]):
    server.reply = lambda n, request: streamed(*events, chunk("stop"), USAGE)
    deltas, last = heard(Remote(server.url).stream(QUESTION, GenerationOptions(max_tokens=8)))
    assert "".join(delta.reasoning for delta in deltas) == last.reasoning == "First."
    assert "".join(delta.answer for delta in deltas) == last.answer == "Yes."
    assert (last.finish, last.prompt_tokens, last.completion_tokens) == ("stop", 3, 9)
    assert server.requests[0] == {
        "model": "toy", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 8, "temperature": 0.0,
        "top_p": 1.0, "seed": 42, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_what_the_api_has_is_asked_of_the_server(server: Server):
    told = {"content": [{"token": "{}", "logprob": -0.5, "top_logprobs": [{"token": "[]", "logprob": -1.5}]}]}
    server.reply = lambda n, request: streamed(chunk(content="{}", logprobs=told), chunk("stop"))
    options = GenerationOptions(max_tokens=8, schema='{"type": "object"}', logprobs=1)
    deltas, last = heard(Remote(server.url).stream(QUESTION, options))
    assert last.logprobs == (TokenLogprob("{}", -0.5, (("[]", -1.5),)),)
    assert deltas == [Delta(answer="{}", logprobs=last.logprobs)]
    asked = server.requests[0]
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 1)


def test_a_stop_sequence_ends_a_server_s_answer(server: Server):
    server.reply = lambda n, request: streamed(*(chunk(content=word) for word in ("Rest. E", "N", "D more")))
    deltas, last = heard(Remote(server.url).stream(QUESTION, GenerationOptions(stop=("END",))))
    assert ("".join(delta.answer for delta in deltas), last.answer, last.finish) == ("Rest. ", "Rest.", "stop")


def test_a_stream_cut_at_its_limit_says_so(server: Server):
    server.reply = lambda n, request: streamed(chunk(content="And"), chunk("length"))
    assert heard(Remote(server.url).stream(QUESTION, GenerationOptions()))[1].finish == "length"


@pytest.mark.parametrize("whole", ["reason", "end"])
def test_a_stream_that_says_in_either_way_that_it_is_whole_is_an_answer(server: Server, whole: str):
    last = [chunk("stop")] if whole == "reason" else []
    server.reply = lambda n, request: streamed(chunk(content="Rest."), *last, ended="" if last else DONE)
    assert heard(Remote(server.url).stream(QUESTION, GenerationOptions()))[1].answer == "Rest."


def test_a_stream_that_ends_in_the_middle_is_told_after_what_came_of_it(server: Server):
    server.reply = lambda n, request: streamed(chunk(content="Give "), chunk(content="no"), ended="")
    deltas: list[Delta | Generation] = []
    with pytest.raises(OfflineError, match=f"{server.url}: the answer broke off"):
        deltas += Remote(server.url).stream(QUESTION, GenerationOptions())
    assert deltas == [Delta(answer="Give "), Delta(answer="no")]


def test_a_server_continues_a_text(server: Server):
    server.reply = lambda n, request: streamed({"choices": [{"text": " and", "finish_reason": None}]})
    _, last = heard(Remote(server.url).complete("Fever", GenerationOptions(max_tokens=3)))
    assert last.answer == " and"
    assert (server.requests[0]["prompt"], "messages" in server.requests[0]) == ("Fever", False)


def test_what_a_server_cannot_be_asked_is_refused(server: Server):
    remote = Remote(server.url)
    with pytest.raises(UsageError, match="how long it reasons"):
        remote.stream(QUESTION, GenerationOptions(thinking_tokens=5))
    with pytest.raises(UsageError, match="in a chat only"):
        remote.complete("Fever", GenerationOptions(logprobs=0))
    with pytest.raises(UsageError, match="known to its server alone"):
        remote.tokens("Fever")
    assert server.requests == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((400, JSON, json.dumps({"error": {"message": "too long"}})), "status 400: too long"),
        ((500, JSON, json.dumps({"error": "down"})), "status 500: down"),
        (streamed({"error": {"message": "broke down"}}), "broke down"),
        (streamed("[1]"), "a chunk that is no object"),
        (streamed("{"), "instead of JSON"),
        (streamed({"choices": [3]}), r"without choices\[0\].delta"),
        (streamed(chunk(content=["Yes"])), r"without choices\[0\].delta"),
        (streamed(), "without a stream of answers"),
        (said("Yes."), "without a stream of answers"),
    ],
)
def test_what_a_server_says_instead_of_a_stream_is_told(server: Server, reply: Reply, message: str):
    server.reply = lambda n, request: reply
    with pytest.raises(ModelError, match=message):
        list(Remote(server.url).stream(QUESTION, GenerationOptions()))


@pytest.mark.parametrize(
    "reply",
    [
        (422, JSON, json.dumps({"detail": [{"input": "Mr Smith"}]})),
        (400, JSON, json.dumps({"error": {"input": "Mr Smith"}})),
        (500, JSON, json.dumps({"asked": "Mr Smith"})),
        streamed({"choices": [{"delta": {"content": ["Mr Smith"]}}]}),
        streamed(["Mr Smith"]),
    ],
)
def test_of_what_a_server_says_only_its_error_s_message_is_told(server: Server, reply: Reply):
    server.reply = lambda n, request: reply
    with pytest.raises(RemoteError) as error:
        list(Remote(server.url).stream(QUESTION, GenerationOptions()))
    assert "Smith" not in str(error.value)


def test_a_stream_to_nobody_is_told():
    remote = Remote("http://127.0.0.1:9/v1#toy")
    with pytest.raises(OfflineError, match="no answer"):
        list(remote.stream(QUESTION, GenerationOptions()))


def test_a_stream_without_end_is_broken_off(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bedside.runtime.remote.LARGEST_REPLY", 1000)
    server.reply = lambda n, request: streamed(*[chunk(content="more ")] * 100)
    with pytest.raises(OfflineError, match="a reply without end"):
        list(Remote(server.url).stream(QUESTION, GenerationOptions()))
