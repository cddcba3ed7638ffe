import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from bedside.errors import UsageError
from bedside.recipe import ServeSection
from bedside.serve.run import is_loopback, listen, url_of

from .conftest import PATIENCE_S, EndlessSpeaker, Serving

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it as ignored
from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.run import listen, serve
settings = ServeSection(port=0)
serve(ScriptedBackend([]), settings, listen(settings), slots=1)
"""


def test_it_prints_one_line_with_the_url_and_stops_at_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        line = server.stderr.readline()
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert httpx.get(url + "healthz").json() == {"status": "ok"}
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
    assert out == ""
    assert err.strip().splitlines()[-1] == "KeyboardInterrupt"


def test_stopping_the_server_ends_the_answers_with_a_word(
    serving: Serving, endless: EndlessSpeaker, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"messages": [{"role": "user", "content": "Say much."}], "stream": True}
    with ExitStack() as stack:
        url = stack.enter_context(serving(endless))
        with httpx.stream("POST", f"{url}v1/chat/completions", json=body, timeout=PATIENCE_S) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            with ThreadPoolExecutor(1) as pool:
                stopped = pool.submit(stack.close)
                said = list(lines)
                stopped.result(PATIENCE_S)
    assert "the server is being stopped" in said[-4]
    assert endless.closed.acquire(blocking=False)
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_one_line_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"serve.port = {port}: the port is in use .* --port 0"):
            listen(ServeSection(port=port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ward.example"])
def test_the_network_is_refused_without_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="open to the network and there is no API key"):
        listen(ServeSection(host=host, port=0))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="this machine has no such address"):
        listen(ServeSection(host="192.0.2.1", port=0), "key")  # TEST-NET-1, RFC 5737: nobody's


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("ward", False)],
)
def test_loopback_is_told_from_the_network(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_url_of_a_wildcard_is_one_that_can_be_opened() -> None:
    with listen(ServeSection(host="0.0.0.0", port=0), "key") as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
