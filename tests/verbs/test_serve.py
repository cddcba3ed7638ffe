"""`bedside serve` as a person starts it: its keys, its log, and that it asks nobody anything."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from bedside import cli
from bedside.export.convert import write_gguf
from bedside.recipe import ServeSection
from bedside.runtime.scripted import ScriptedBackend
from bedside.serve import private
from bedside.serve.audit import Audit, verify
from bedside.verbs import serve as verb

from ..serve.test_audit import entry

ROOT = Path(__file__).parents[2]
OUTGOING = 70
WATCHED = f"""
import ipaddress, os, sys

def is_local(host):
    if isinstance(host, bytes):
        host = host.decode()
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        is_ours = not isinstance(address, tuple) or is_local(address[0])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        is_ours = arguments[0] is None or is_local(arguments[0])
    else:
        return
    if not is_ours:
        print("outgoing:", event, arguments, file=sys.stderr, flush=True)
        os._exit({OUTGOING})

sys.addaudithook(watch)
"""
TOLD = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.9:4318"}
"""An environment in which FastAPI would tell another machine of each request."""
SERVER = WATCHED + "from bedside.cli import main\nmain()\n"
IN_A_TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup, or in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""
CLIENT = f"""
import json, socket, subprocess, sys
import httpx
from pathlib import Path

def sent():
    lines = [line.split() for line in Path("/proc/self/net/dev").read_text().splitlines()]
    return sum(int(line[10]) for line in lines if line[0] == "out:")

before = sent()
server = subprocess.Popen([sys.executable, "-c", {SERVER!r}, "serve", sys.argv[1], "--port", "0", "--context", "256",
                           "--threads", "1"], stderr=subprocess.PIPE, text=True)
url = next(word for line in server.stderr for word in line.split() if word.startswith("http://"))
with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
    body = {{"messages": [{{"role": "user", "content": "Which drug?"}}], "max_tokens": 8}}
    chat = client.post("v1/chat/completions", json=body)
    stream = client.post("v1/chat/completions", json={{**body, "stream": True}})
    told = client.post("v1/feedback", json={{"id": chat.json().get("id", "none"), "rating": "up"}})
    pages = [client.get(path).status_code for path in ("", "page.js", "healthz", "metrics", "v1/models", "openapi.json")]
ended = server.poll()
server.terminate()
server.communicate()
during = sent()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    try:
        probe.sendto(b"x", ("192.0.2.9", 9))
    except OSError:
        pass
print(json.dumps({{"ended": ended, "statuses": [chat.status_code, stream.status_code, told.status_code, *pages],
                  "tokens": chat.json().get("usage", {{}}).get("completion_tokens"),
                  "streamed": stream.text.endswith("data: [DONE]\\n\\n"), "sent": during - before,
                  "probed": sent() - during}}))
"""
ALONE = """
ip link set lo up; ip link add out type veth peer name far; ip link set out addrgenmode none; ip link set far addrgenmode none
ip addr add 192.0.2.1/24 dev out; ip link set far up; ip link set out up; ip route add default via 192.0.2.2; exec "$@"
"""
"""A network with a way out, at the end of which nobody is: what goes there is counted."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BEDSIDE_API_KEY", raising=False)
    return tmp_path


def test_a_new_key_is_shown_once_and_kept_as_a_hash(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "--new-key", "ward"]) == 0
    printed = capsys.readouterr()
    key = printed.out.strip()
    assert re.fullmatch(r"bedside-[\w-]{43}", key)
    path = home / "config" / "bedside" / "keys"
    assert str(path) in printed.err
    assert key not in printed.err + path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cli.run(["serve", "--new-key", "ward"]) == 2
    assert "there is a key named 'ward'" in capsys.readouterr().err


def test_a_setting_that_is_given_on_the_command_line_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "any.gguf", f"serve.keys={home / 'mine'}", "--new-key", "ward"]) == 0
    assert (home / "mine").is_file()
    assert cli.run(["serve", "any.gguf", "serve.hots=0.0.0.0"]) == 2
    assert "unknown key 'serve.hots'; did you mean 'host'?" in capsys.readouterr().err


def test_without_a_model_it_says_what_is_missing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve"]) == 2
    assert "MODEL is missing" in capsys.readouterr().err


def test_the_network_without_a_key_is_refused_before_the_model_is_loaded(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["serve", "nowhere.gguf", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "bedside serve --new-key NAME" in capsys.readouterr().err


def test_the_network_with_a_key_is_told_what_it_means(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "nowhere.gguf", "--host", "0.0.0.0", "--port", "0", "--api-key", "k"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "plain HTTP" in first
    assert "TLS" in second
    assert "no such run, file or folder" in third


def test_a_log_is_verified_by_its_default_place_by_file_and_by_folder(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = home / "state" / "bedside" / "audit" / "audit.jsonl"
    audit = Audit(log)
    audit.record(entry())
    audit.close()
    for given in ([], [str(log)], [str(log.parent)]):
        assert cli.run(["serve", "--verify-log", *given]) == 0
        assert "1 lines" in capsys.readouterr().out
    log.write_bytes(log.read_bytes().replace(b"tiny", b"huge"))
    assert cli.run(["serve", "--verify-log"]) == 1
    assert f"bedside: {log}: line 1 was changed" in capsys.readouterr().err


def test_a_log_that_is_not_there_is_a_mistake(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["serve", "--verify-log"]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.fixture
def gguf(tiny_llama: Path, tmp_path: Path) -> Path:
    write_gguf(tiny_llama, tmp_path / "tiny.gguf", "f32", "tiny")
    return tmp_path / "tiny.gguf"


def served(gguf: Path, home: Path, *before: str) -> dict[str, Any]:
    """What a client saw of `bedside serve`, run after the words of `before`."""
    done = subprocess.run(
        [*before, sys.executable, "-c", CLIENT, str(gguf)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(home / "state"), "XDG_CONFIG_HOME": str(home / "config"), **TOLD},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_it_serves_without_connecting_anywhere_and_keeps_a_log_that_holds(
    gguf: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = served(gguf, home)
    assert seen["ended"] is None
    assert seen["statuses"] == [200, 200, 204, *[200] * 6]
    assert seen["streamed"]
    assert cli.run(["serve", "--verify-log"]) == 0
    log = (home / "state" / "bedside" / "audit" / "audit.jsonl").read_text()
    assert [json.loads(line)["endpoint"] for line in log.splitlines()] == ["/v1/chat/completions"] * 2
    assert "Which drug" not in log
    assert json.loads(log.splitlines()[0])["completion_tokens"] == seen["tokens"] > 0


def audited(gguf: Path, home: Path) -> list[str]:
    """The words of a server that keeps its audit log in `home`."""
    return ["serve", str(gguf), "--port", "0", "--context", "256", "--threads", "1", f"serve.audit={home}"]


def stopped_before_its_log_is_written(
    server: subprocess.Popen[Any], url: str, log: Path, stop: Callable[[], None]
) -> None:
    """Asks the server a question, and stops it while somebody else holds the log."""
    with private.locked(log):
        body = {"messages": [{"role": "user", "content": "Which drug?"}], "max_tokens": 4}
        httpx.post(f"{url}v1/chat/completions", json=body, timeout=60).raise_for_status()
        stop()
        with suppress(subprocess.TimeoutExpired):  # it waits for the lock
            server.wait(2)


def test_a_service_that_is_stopped_leaves_every_answer_in_the_log(gguf: Path, home: Path) -> None:
    log = home / "audit.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *audited(gguf, home)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        try:
            url = next(word for line in server.stderr for word in line.split() if word.startswith("http://"))
            stopped_before_its_log_is_written(server, url, log, lambda: server.send_signal(signal.SIGTERM))
            server.communicate(timeout=60)
        finally:
            server.kill()
    assert server.returncode == 130
    assert verify(log).lines == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals of its own making")
def test_a_terminal_that_is_closed_stops_the_server_as_ctrl_c_does(gguf: Path, home: Path) -> None:
    log = home / "audit.jsonl"
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL + SERVER, *audited(gguf, home)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        cwd=ROOT,
    ) as server:
        try:
            os.close(theirs)
            with open(ours, encoding="utf-8", closefd=False) as screen:
                url = next(word for line in screen for word in line.split() if word.startswith("http://"))
            stopped_before_its_log_is_written(server, url, log, lambda: os.close(ours))
            server.wait(60)
        finally:
            server.kill()
    assert server.returncode == 130
    assert verify(log).lines == 1


def test_in_a_network_of_its_own_no_packet_leaves_it(gguf: Path, home: Path) -> None:
    if not shutil.which("ip") or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("this user may not make a network of their own (unshare --net)")
    seen = served(gguf, home, "unshare", "--net", "sh", "-ec", ALONE, "sh")
    assert seen["statuses"] == [200, 200, 204, *[200] * 6]
    assert seen["sent"] == 0
    assert seen["probed"] > 0, "the counter did not see the packet that was sent on purpose"


@pytest.mark.parametrize(
    "leak",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request as u; u.urlopen('http://hub.example/', timeout=1)",
        "import httpx; httpx.get('http://[2001:db8::1]/', timeout=1)",
    ],
)
def test_the_watch_itself_sees_what_leaves(leak: str) -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED + leak], capture_output=True, text=True, check=False)
    assert done.returncode == OUTGOING
    assert "outgoing: socket." in done.stderr


def test_no_more_seats_are_given_than_the_model_can_answer_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class One(ScriptedBackend):
        at_once = 1

    apps: list[Any] = []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(verb, "speakers", lambda *given: [One([])])
    monkeypatch.setattr("bedside.serve.run.serve", lambda app, listener: apps.append(app))
    settings = ServeSection(port=0, audit="", feedback="", keys=str(tmp_path / "keys"))
    verb.serve("one", settings, 2, None, tmp_path)
    assert apps[0].state.desk.seats == 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("http://name:word@10.0.0.7:8080/v1#big", "Every question is sent to the model's server at 10.0.0.7."),
        ("model.gguf", ""),
    ],
)
def test_a_model_of_another_server_is_warned_of_by_its_host_alone(model: str, said: str) -> None:
    assert verb.elsewhere(model) == said
