"""One question: answer to stdout, all else to stderr."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bedside import cli
from bedside.runtime.scripted import ScriptedBackend
from bedside.text.prompts import NOTICE
from bedside.verbs import ask

from .conftest import Place

SAYS = ("Fever and stiffness.", "Meningitis.")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    """A speaker with one reply, whichever model is asked for."""
    backend = ScriptedBackend([SAYS])
    monkeypatch.setattr(ask, "speaker", lambda model, runs, settings: backend)
    return backend


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.usefixtures("scripted")
def test_the_answer_alone_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ask", "any", "Why?"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "Meningitis. \n"
    assert printed.err == f"Fever and stiffness. \n\n{NOTICE}\n"


@pytest.mark.usefixtures("scripted")
def test_as_json_it_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ask", "any", "Why?", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reasoning"], found["answer"]) == SAYS
    assert {"sections", "citations", "emergency", "abstained", "usage", "model"} <= found.keys()


@pytest.mark.usefixtures("scripted")
def test_an_emergency_is_told_on_stderr_before_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ask", "any", "Passed out, BP 70/40"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "Meningitis. \n"
    assert printed.err.startswith(
        "EMERGENCY? Low blood pressure with signs of shock (systolic pressure 70 (≤ 90), collapse)."
    )


@pytest.mark.usefixtures("scripted")
def test_as_json_an_emergency_is_a_key_with_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ask", "any", "Passed out, BP 70/40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["emergency"] is True
    assert [flag["rule"] for flag in found["flags"]] == ["shock"]


def test_the_question_may_come_from_stdin(scripted: ScriptedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "Warum hat er 40 °C?\n".encode())
    assert cli.run(["ask", "any", "-"]) == 0
    assert scripted.asked[0][-1].content == "Warum hat er 40 °C?"


@pytest.mark.parametrize(("content", "told"), [(b"\xff\xfe bad", "is not UTF-8 text (byte 0)"), (b" \n", "is empty")])
def test_a_question_that_is_none_is_refused_before_the_model_is_loaded(
    scripted: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, capsys, content: bytes, told: str
) -> None:
    stdin(monkeypatch, content)
    assert cli.run(["ask", "any", "-"]) == 2
    assert told in capsys.readouterr().err
    assert scripted.asked == []


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_reader_that_leaves_is_no_mistake(done: Place, option: list[str]) -> None:
    model = done.runs / "tiny" / "merged"
    command = [sys.executable, "-m", "bedside", "ask", str(model), "Why?", "--max-tokens", "24", *option]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        left = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False)
    assert left.returncode == 0
    assert "Traceback" not in left.stderr
    assert "Exception" not in left.stderr


def test_a_surrogate_on_the_command_line_is_refused(done: Place, capsys: pytest.CaptureFixture[str]) -> None:
    model = done.runs / "tiny" / "merged"
    assert cli.run(["ask", str(model), "bad \udcff"]) == 2
    assert "not valid UTF-8" in capsys.readouterr().err


def test_the_context_of_a_model_is_that_of_its_recipe_or_of_the_command_line(done: Place, tmp_path: Path) -> None:
    from bedside.verbs.serve import settings_of

    assert settings_of("tiny", done.runs).context == 4096
    assert settings_of("tiny", done.runs, context=512, port=None).context == 512
    assert settings_of(str(tmp_path / "any.gguf"), tmp_path).port == 8000
