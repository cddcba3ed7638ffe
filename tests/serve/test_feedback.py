import json
import stat
from pathlib import Path

import httpx
import pytest

from bedside.runtime.scripted import ScriptedBackend
from bedside.serve import feedback, keys
from bedside.serve.feedback import Feedback

from .conftest import Serving

SAID = {"id": "chatcmpl-1", "rating": "down", "comment": "Größe falsch", "model": "tiny"}


def post(url: str, body: object = SAID, **options: object) -> httpx.Response:
    return httpx.post(url + "v1/feedback", json=body, **options)


def test_a_thumb_and_a_comment_are_kept_for_their_owner_alone(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "state" / "feedback.jsonl"
    with serving(ScriptedBackend([]), app={"feedback": Feedback(path)}) as url:
        assert post(url).status_code == post(url, {"id": "chatcmpl-2", "rating": "up"}).status_code == 204
    first, second = map(json.loads, path.read_text().splitlines())
    assert {name: value for name, value in first.items() if name != "time"} == SAID
    assert set(second) == {"time", "id", "rating"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_question_and_answer_are_kept_only_if_they_are_sent(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    with serving(ScriptedBackend([]), app={"feedback": Feedback(path)}) as url:
        assert post(url, {**SAID, "question": "What raises the JVP?", "answer": "Failure."}).status_code == 204
    assert json.loads(path.read_text())["question"] == "What raises the JVP?"


def test_whose_key_it_was_is_kept_and_not_the_key(serving: Serving, tmp_path: Path) -> None:
    key = keys.new("ward", tmp_path / "keys")
    app = {"feedback": Feedback(tmp_path / "feedback.jsonl"), "keys": keys.read(tmp_path / "keys")}
    with serving(ScriptedBackend([]), app=app) as url:
        assert post(url).status_code == 401
        assert post(url, headers={"Authorization": f"Bearer {key}"}).status_code == 204
    kept = (tmp_path / "feedback.jsonl").read_text()
    assert json.loads(kept)["key_name"] == "ward"
    assert key not in kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"rating": "meh"},
        {"rating": True},
        {"id": "../../etc/passwd"},
        {"id": ""},
        {"comment": "x" * 4001},
        {"question": "x" * 200_001},
        {"comment": "\ud800"},
    ],
)
def test_what_is_no_feedback_is_refused_and_not_kept(
    serving: Serving, tmp_path: Path, wrong: dict[str, object]
) -> None:
    path = tmp_path / "feedback.jsonl"
    with serving(ScriptedBackend([]), app={"feedback": Feedback(path)}) as url:
        refused = httpx.post(
            url + "v1/feedback", content=json.dumps({**SAID, **wrong}), headers={"Content-Type": "application/json"}
        )
    assert refused.status_code == 400
    assert not path.exists()


def test_a_full_file_takes_no_more_and_keeps_what_it_has(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MAX_BYTES", 300)
    path = tmp_path / "feedback.jsonl"
    with serving(ScriptedBackend([]), app={"feedback": Feedback(path)}) as url:
        seen = [post(url).status_code for _ in range(4)]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (204, 409)
    assert path.stat().st_size <= 300
    assert all(json.loads(line)["id"] == "chatcmpl-1" for line in path.read_text().splitlines())


def test_a_server_that_takes_no_feedback_says_so(serving: Serving) -> None:
    with serving(ScriptedBackend([])) as url:
        refused = post(url)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no_feedback")


def test_a_file_that_cannot_be_written_is_told_on_the_terminal_alone(
    serving: Serving, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in the way").write_text("")
    with serving(ScriptedBackend([]), app={"feedback": Feedback(tmp_path / "in the way" / "f.jsonl")}) as url:
        refused = post(url)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "feedback_failed")
    assert str(tmp_path) in capfd.readouterr().err
    assert str(tmp_path) not in refused.text
