"""Every example of docs/serving.md does what the page says."""

import contextlib
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bedside.runtime.scripted import ScriptedBackend
from bedside.serve.feedback import Feedback, FeedbackRequest
from bedside.serve.guarded_wire import AnswerReply, AnswerRequest

from .conftest import Serving
from .test_embeddings import Lengths

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000/"
EXAMPLES = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.DOTALL)
REPLY = ("It is full.", '{"diagnosis": "Tamponade"}')


class AllMiniLm(Lengths):
    name = "all-minilm"


@pytest.mark.parametrize(("language", "code"), EXAMPLES, ids=lambda text: text.splitlines()[0][:40])
def test_an_example_runs(serving: Serving, tmp_path: Path, language: str, code: str) -> None:
    app = {"embedder": AllMiniLm(), "feedback": Feedback(tmp_path / "feedback.jsonl")}
    with serving(ScriptedBackend([REPLY]), app=app) as url:
        assert HERE in code
        said = _run(language, code.replace(HERE, url))
    assert said.strip()
    assert '"error"' not in said


def test_the_page_shows_both_ways_of_calling() -> None:
    assert {language for language, _ in EXAMPLES} == {"console", "python"}


def _run(language: str, code: str) -> str:
    if language == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "serving.md", "exec"), {"__name__": "example"})
        return out.getvalue()
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = code.replace("curl ", "curl --silent --show-error --fail-with-body ")
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("fields", [AnswerRequest.model_fields, AnswerReply.model_fields, FeedbackRequest.model_fields])
def test_the_page_names_every_key_of_the_guarded_endpoints(fields: dict[str, object]) -> None:
    assert [name for name in fields if f"`{name}`" not in PAGE and f'"{name}":' not in PAGE] == []
