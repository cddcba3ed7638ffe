import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bedside.errors import UsageError
from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve import access, run
from bedside.serve.keys import Keys
from bedside.serve.run import is_loopback, listen, meaning_of_open, url_of

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

KEYS = Keys().with_given("a-key-of-the-ward")
ROOT = Path(__file__).parents[2]
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it as ignored
from bedside.recipe import ServeSection
from bedside.serve.app import create_app
from bedside.serve.run import listen, serve
from tests.serve.conftest import EndlessSpeaker
settings = ServeSection(port=0, grace_s=float(sys.argv[1]), max_tokens=30)
serve(create_app([EndlessSpeaker(words=int(sys.argv[2]))], settings), listen(settings))
"""
ASK = {"messages": [{"role": "user", "content": "Say much."}], "stream": True}


@contextmanager
def running(grace_s: float = 30, words: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its URL; it says `words` words, or with 0 goes on for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(grace_s), str(words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        try:
            line = server.stderr.readline()
            yield server, next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        finally:
            server.kill()


@contextmanager
def listening(url: str) -> Iterator[Iterator[str]]:
    """The lines of an answer that has begun."""
    with httpx.stream("POST", f"{url}v1/chat/completions", json=ASK, timeout=PATIENCE_S) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        yield lines


def test_it_prints_one_line_with_the_url_and_stops_at_ctrl_c() -> None:
    with running() as (server, url):
        assert httpx.get(url + "healthz").json() == {"status": "ok"}
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=PATIENCE_S)
    assert out == ""
    assert err.strip().splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_answers_end_and_turns_new_ones_away(sent: signal.Signals) -> None:
    with running(words=100) as (server, url), listening(url) as lines:
        server.send_signal(sent)
        assert "1 answer may end within 30 s, nothing new is taken" in server.stderr.readline()
        refused = httpx.post(f"{url}v1/chat/completions", json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_stopping")
        said = list(lines)
        server.communicate(timeout=PATIENCE_S)
    assert said[-2:] == ["data: [DONE]", ""]
    assert sum("word" in line for line in said) == 100
    assert "error" not in "".join(said)


def test_the_second_ctrl_c_ends_answers_with_a_word() -> None:
    with running() as (server, url), listening(url) as lines:
        server.send_signal(signal.SIGINT)
        assert "Ctrl-C again ends at once" in server.stderr.readline()
        server.send_signal(signal.SIGINT)
        said = list(lines)
        server.communicate(timeout=PATIENCE_S)
    assert "the server is being stopped" in said[-4]
    assert said[-2] == "data: [DONE]"


def test_an_answer_that_outlasts_the_grace_ends_with_a_word() -> None:
    with running(grace_s=0.2) as (server, url), listening(url) as lines:
        server.send_signal(signal.SIGINT)
        said = list(lines)
        server.communicate(timeout=PATIENCE_S)
    assert "the server is being stopped" in said[-4]


def test_stopping_the_server_stops_the_model_and_says_nothing_more(
    serving: Serving, endless: EndlessSpeaker, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(serving(endless))
        with listening(url) as lines, ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(stack.close)
            assert "the server is being stopped" in list(lines)[-4]
            stopped.result(PATIENCE_S)
    assert endless.closed.acquire(blocking=False)
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\n",
    ],
)
def test_a_client_that_never_ends_its_head_is_hung_up_on(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(run, "REQUEST_S", 0.3)
    with serving(ScriptedBackend([])) as url, connected(url) as client:
        client.sendall(sent)
        while client.recv(65536):
            pass


CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\nX-Long: ",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nX-Long: ",
        CHUNKED + b"Content-Type: application/json\r\n\r\n1\r\n{\r\n0\r\nX-Long: ",
    ],
    ids=["head", "second head", "trailer"],
)
def test_a_client_that_sends_a_head_without_end_is_hung_up_on(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(run, "REQUEST_S", 2 * PATIENCE_S)
    with serving(ScriptedBackend([])) as url, connected(url) as client, suppress(ConnectionError):
        client.sendall(begun + b"x" * 2 * run.MAX_HEAD_BYTES)
        while client.recv(65536):
            pass


def test_a_body_that_is_refused_may_be_as_long_as_it_likes(serving: Serving) -> None:
    body, headers = b" " * (20 * run.MAX_HEAD_BYTES), {"Content-Type": "application/json"}
    with serving(ScriptedBackend([])) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        asked = [client.post("v1/chat/completions", content=body, headers=headers) for _ in range(2)]
    assert [one.status_code for one in asked] == [413, 413]


def test_silent_clients_are_hung_up_on_at_once_where_there_are_too_many(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "REQUEST_S", 2 * PATIENCE_S)
    monkeypatch.setattr(run, "CONNECTIONS", 2)
    monkeypatch.setattr(run, "TURNED_AWAY", 1)
    with serving(ScriptedBackend([])) as url, connected(url), connected(url), connected(url) as told:
        with connected(url) as client, suppress(ConnectionResetError):
            assert client.recv(1) == b""
        told.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert told.recv(65536).startswith(b"HTTP/1.1 503 ")


def test_a_client_that_never_ends_its_body_is_told_so(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BODY_S", 0.3)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with serving(ScriptedBackend([])) as url, connected(url) as client:
        client.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_takes_long_is_not_hung_up_on(
    serving: Serving, endless: EndlessSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "REQUEST_S", 0.1)
    monkeypatch.setattr(access, "BODY_S", 0.1)
    with serving(endless) as url, listening(url) as lines:
        assert sum("word" in next(lines) for _ in range(200)) > 50


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=PATIENCE_S)


def test_a_port_in_use_is_one_line_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"serve.port = {port}: the port is in use .* --port 0"):
            listen(ServeSection(port=port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ward.example"])
def test_the_network_is_refused_without_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="there is no API key; make one with `bedside serve --new-key NAME`"):
        listen(ServeSection(host=host, port=0))


def test_a_proxy_before_it_is_the_network_too() -> None:
    with pytest.raises(UsageError, match=r"serve\.names = bedside\.ward\.example: others could ask here"):
        listen(ServeSection(port=0, names=("bedside.ward.example",)))


@pytest.mark.parametrize(
    ("host", "reach"),
    [("0.0.0.0", "every network that this machine is in"), ("10.0.0.5", "whoever can reach 10.0.0.5")],
)
def test_what_an_open_server_means_is_told_in_two_lines(host: str, reach: str) -> None:
    first, second = meaning_of_open(ServeSection(host=host)).splitlines()
    assert reach in first
    assert "plain HTTP" in first
    assert "TLS" in second


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="this machine has no such address"):
        listen(ServeSection(host="192.0.2.1", port=0), KEYS)  # TEST-NET-1, RFC 5737: nobody's


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("ward", False)],
)
def test_loopback_is_told_from_the_network(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_url_of_a_wildcard_is_one_that_can_be_opened() -> None:
    with listen(ServeSection(host="0.0.0.0", port=0), KEYS) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
