"""Any model on the items of a run: a GGUF file, a model folder, a server; and one evaluation against another."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bedside import cli
from bedside.runtime.device import choose

from .conftest import Place


def test_a_gguf_file_is_scored_by_what_it_writes_and_compared_with_the_base(done: Place, json_of, capsys):
    (exported,) = (done.runs / "tiny/export").glob("*.gguf")
    found = json_of(*done.command("evaluate", "--model", str(exported)))
    assert [task["task"] for task in found["tasks"]] == ["rouge"]
    compared = json_of("compare", "tiny:base", f"tiny:{exported.stem}", "--runs", str(done.runs))
    assert [task["n"] for task in compared["tasks"]] == [4]
    assert compared["names"] == ["base", exported.stem]
    assert sorted(compared["left_out"]) == ["decision: scored on one side only", "likelihood: scored on one side only"]


def test_what_cannot_be_asked_of_a_gguf_file_is_told(done: Place, capsys: pytest.CaptureFixture[str]):
    (exported,) = (done.runs / "tiny/export").glob("*.gguf")
    only = done.command("evaluate", "evaluate.tasks=['likelihood']", "--model", str(exported))
    assert cli.run(only) == 2
    assert "it can only write, and likelihood need likelihoods; add 'choice-direct'" in capsys.readouterr().err


def test_the_merged_folder_scores_as_the_tuned_model_does(done: Place, json_of):
    merged = json_of(*done.command("evaluate", "--model", str(done.runs / "tiny/merged")))
    tuned = json_of(*done.command("evaluate"))
    values = [{task["task"]: task["value"] for task in scores["tasks"]} for scores in (merged, tuned)]
    rounding = 1e-4 if choose().precision == "fp32" else 0.05  # that of merged weights to the type of the base
    assert values[0] == pytest.approx(values[1], abs=rounding)


def test_a_server_that_dies_keeps_what_it_answered_and_is_not_asked_again(done: Place, tmp_path: Path, json_of, capsys):
    with serving() as server:
        server.answers = 34
        command = done.command("evaluate", "evaluate.tasks=['instructions']", "--model", server.url, "--at-once", "1")
        assert cli.run(command) == 2
        told = capsys.readouterr().err
        assert "status 400: the model is gone (task instructions, item '" in told
        assert "what was answered is kept, and the same command goes on" in told
        server.answers = 1000
        found = json_of(*command)
    assert found["tasks"][0]["n"] == 65
    assert len(server.asked) - 65 in (1, 2)  # the one that was refused, and one that was on its way
    assert found["model"] == "toy"


def test_a_name_is_one_models_and_never_the_runs_own(done: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (exported,) = (done.runs / "tiny/export").glob("*.gguf")
    other = tmp_path / exported.name
    shutil.copyfile(exported, other)
    for model in (exported, other):
        assert cli.run(done.command("evaluate", "--model", str(model), "--name", "served")) == 0
    assert "nothing was asked" in capsys.readouterr().err  # a copy is the same model
    with other.open("ab") as file:
        file.write(bytes(32))
    assert cli.run(done.command("evaluate", "--model", str(other), "--name", "served")) == 2
    assert f"the scores of {exported} are called 'served'; choose a --name" in capsys.readouterr().err
    assert cli.run(done.command("evaluate", "--model", str(other), "--name", "tuned")) == 2


@pytest.mark.parametrize("name", ["../served", "", ".hidden", "a b", "a" * 101])
def test_a_name_that_is_no_plain_one_is_refused_before_the_model_is_looked_at(
    done: Place, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.run(done.command("evaluate", "--model", str(tmp_path / "none.gguf"), "--name", name)) == 2
    assert "want 1 to 100 letters, digits" in capsys.readouterr().err


def test_scores_of_a_server_that_are_there_are_told_and_asked_for_again_on_demand(done: Place, json_of, capsys):
    with serving() as server:
        server.answers = 1000
        command = done.command("evaluate", "evaluate.tasks=['instructions']", "--model", server.url, "--name", "sv")
        assert cli.run(command) == 0
        assert "nothing was asked" not in capsys.readouterr().err
        server.said = "No."
        assert cli.run(command) == 0
        told = capsys.readouterr().err
        assert "'sv' was scored on 20" in told
        assert "nothing was asked; --again asks anew" in told
        assert len(server.asked) == 65
        assert cli.run([*command, "--again"]) == 0
        assert len(server.asked) == 130
    rows = (done.runs / "tiny/evaluation/sv/instructions.jsonl").read_text().splitlines()
    assert {json.loads(row)["answer"] for row in rows} == {"No."}


def test_a_server_that_lists_another_model_under_its_name_is_asked_anew(done: Place, capsys):
    with serving() as server:
        server.answers = 1000
        command = done.command("evaluate", "evaluate.tasks=['instructions']", "--model", server.url, "--name", "swap")
        assert cli.run(command) == 0
        server.listed = {"meta": {"n_params": 7}}
        assert cli.run(command) == 0
        assert "another model than when 'swap' was scored" in capsys.readouterr().err
        assert len(server.asked) == 130


def test_asking_again_goes_on_with_no_answer_of_before_but_with_its_own(done: Place, capsys):
    with serving() as server:
        command = done.command("evaluate", "evaluate.tasks=['instructions']", "--model", server.url, "--name", "new")
        command += ["--at-once", "1"]
        server.answers = 30
        assert cli.run(command) == 2
        server.said, server.answers = "No.", 50
        assert cli.run([*command, "--again"]) == 2
        server.answers = 1000
        assert cli.run([*command, "--again"]) == 0
    assert "items were answered before" in capsys.readouterr().err
    rows = (done.runs / "tiny/evaluation/new/instructions.jsonl").read_text().splitlines()
    assert {json.loads(row)["answer"] for row in rows} == {"No."}


def test_where_the_base_was_never_scored_the_command_that_does_so_is_told(done: Place, tmp_path: Path, capsys):
    with serving() as server:
        server.answers = 1000
        command = ["evaluate", str(done.recipe), "evaluate.tasks=['instructions']", "--model", server.url]
        assert cli.run([*command, "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert f"once `bedside evaluate {done.recipe} 'evaluate.tasks=['\"'\"'instruct" in told
    assert "has scored the base, `bedside compare tiny:base tiny:toy` compares it" in told


@pytest.mark.parametrize("option", [["--name", "x"], ["--at-once", "2"], ["--again"]])
def test_what_is_about_another_model_needs_one(done: Place, tmp_path: Path, capsys, option: list[str]):
    assert cli.run(["evaluate", str(done.recipe), *option, "--runs", str(tmp_path)]) == 2
    assert f"{option[0]} needs --model" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_another_models_scores_leave_the_runs_own_recipe_alone(done: Place):
    (exported,) = (done.runs / "tiny/export").glob("*.gguf")
    before = (done.runs / "tiny/recipe.toml").read_bytes()
    other = done.command("evaluate", "evaluate.generate_limit=2", "--model", str(exported), "--name", "few")
    assert cli.run(other) == 0
    assert (done.runs / "tiny/recipe.toml").read_bytes() == before


def test_one_evaluation_needs_another_to_be_compared_with(done: Place, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["compare", "tiny:base", "--runs", str(done.runs)]) == 2
    assert "against what? Name a second evaluation, such as 'tiny:base'" in capsys.readouterr().err


def test_an_evaluation_that_is_not_there_is_told_with_those_that_are(done: Place, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["compare", "tiny:base", "tiny:other", "--runs", str(done.runs)]) == 2
    assert "'tiny:other': no such evaluation; there are: base, " in capsys.readouterr().err


def test_items_that_do_not_fit_a_gguf_file_are_counted_and_named_before_any_is_asked(done: Place, capsys):
    (exported,) = (done.runs / "tiny/export").glob("*.gguf")
    command = done.command("evaluate", "evaluate.max_tokens=300", "--model", str(exported), "--name", "long")
    assert cli.run([*command[:2], "serve.context=300", *command[2:]]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "rouge: 4 of 4 items do not fit into tiny-q8_0's window of 300 tokens, the longest needs 4" in told
    assert told.endswith(
        "raise serve.context, or lower evaluate.max_tokens, or leave long rows out with data.max_characters"
    )
    assert not list((done.runs / "tiny/evaluation").glob("*long*"))


@pytest.mark.parametrize("model", ["nothing.gguf", "no-run"])
def test_a_model_that_is_not_there_is_told(done: Place, capsys: pytest.CaptureFixture[str], model: str):
    assert cli.run(done.command("evaluate", "--model", model)) == 2
    assert f"{model}: no such run, file or folder" in capsys.readouterr().err


class Answers(ThreadingHTTPServer):
    """Says what it is told to as often as `answers` says, and refuses from then on."""

    answers = 0
    url = ""
    said = "Yes."

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.asked: list[dict[str, Any]] = []
        self.listed: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "toy", **self.server.listed}]})

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if len(self.server.asked) > self.server.answers:
            self._send(400, {"error": {"message": "the model is gone"}})
        else:
            self._send(200, {"choices": [{"message": {"content": self.server.said}, "finish_reason": "stop"}]})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving() -> Iterator[Answers]:
    server = Answers()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
