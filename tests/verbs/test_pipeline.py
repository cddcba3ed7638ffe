"""Every verb on a whole run of the tiny model: what it prints, what it reuses, what it leaves behind."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bedside import cli
from bedside.recipe_file import load
from bedside.runs import Run

from .conftest import Place

STAGES = [
    "data",
    "data/report",
    "adapter",
    "evaluation/base",
    "evaluation/tuned",
    "comparison",
    "merged",
    "export",
    "report",
]


def runs(place: Place) -> list[str]:
    return ["--runs", str(place.runs)]


def test_a_second_run_makes_nothing(done: Place, json_of):
    result = json_of(*done.command("run"))
    assert result["made"] == []
    assert Path(result["report"]).is_file()


@pytest.mark.parametrize(
    ("verb", "keys"),
    [
        ("data", {"read", "kept", "dropped", "splits"}),
        (
            "train",
            {"adapter", "steps", "first_loss", "final_loss", "tokens_per_s", "peak_memory_gib", "trainable_parameters"},
        ),
        ("evaluate", {"model", "tasks"}),
        ("export", {"files", "parity"}),
    ],
)
def test_each_stage_prints_the_keys_that_others_build_on(done: Place, json_of, verb: str, keys: set[str]):
    assert keys <= json_of(*done.command(verb)).keys()


def test_evaluate_tells_n_interval_and_what_could_not_be_read(done: Place, json_of):
    tasks = json_of(*done.command("evaluate"))["tasks"]
    assert [task["task"] for task in tasks] == ["likelihood", "rouge", "decision"]
    for task in tasks:
        assert {"n", "metric", "value", "ci", "unparsed", "baseline", "seconds"} <= task.keys()
        assert task["ci"][0] <= task["value"] <= task["ci"][1]


def test_compare_gives_a_verdict_and_pairs_by_item(done: Place, json_of):
    result = json_of("compare", "tiny", *runs(done))
    assert result["verdict"] in ("better", "worse", "no difference shown", "underpowered")
    wanted = {"task", "n", "base", "tuned", "difference", "ci", "p", "p_adjusted", "detectable"}
    for task in result["tasks"]:
        assert wanted <= task.keys()
        assert task["difference"] == pytest.approx(task["tuned"] - task["base"])


def test_a_run_against_itself_shows_no_difference_at_all(done: Place, json_of):
    result = json_of("compare", "tiny", "tiny", *runs(done))
    assert {task["difference"] for task in result["tasks"]} == {0.0}
    assert result["verdict"] in ("no difference shown", "underpowered")


def test_the_exported_file_says_what_was_trained(done: Place, json_of):
    result = json_of(*done.command("export"))
    assert result["parity"]["ok"]
    assert result["parity"]["tokens_equal"]
    assert result["parity"]["measured"]["plain"]["kl_mean"] < 1e-3
    assert [Path(file["path"]).stat().st_size for file in result["files"]] == [f["bytes"] for f in result["files"]]


def test_export_leaves_the_file_a_modelfile_a_card_notes_on_running_and_nothing_else(done: Place):
    names = sorted(path.name for path in (done.runs / "tiny" / "export").iterdir())
    assert names == [
        "Modelfile", "README.md", "RUN.md", "SHA256SUMS", "evidence", "export.json", "manifest.json", "tiny-q8_0.gguf",
    ]  # fmt: skip


def test_ask_puts_the_answer_on_stdout_and_the_rest_on_stderr(done: Place, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["ask", "tiny", "Which drug is number 3?", "--max-tokens", "12", *runs(done)]) == 0
    printed = capsys.readouterr()
    assert "not a medical device" in printed.err
    assert "not a medical device" not in printed.out


@pytest.mark.parametrize("model", ["tiny", "tiny/export/tiny-q8_0.gguf", "tiny/merged"])
def test_ask_takes_a_run_a_gguf_file_and_a_model_folder(done: Place, json_of, model: str):
    path = model if model == "tiny" else str(done.runs / model)
    result = json_of("ask", path, "Which drug is number 3?", "--max-tokens", "8", *runs(done))
    assert {"answer", "reasoning", "sections", "citations", "emergency", "abstained", "usage", "model"} <= result.keys()
    assert result["usage"]["completion_tokens"] <= 8


def test_folder_and_unquantised_file_of_one_model_answer_alike(done: Place, json_of, tmp_path: Path):
    from bedside.export.convert import write_gguf

    write_gguf(done.runs / "tiny" / "merged", tmp_path / "plain.gguf", "f32", "plain")
    answers = [
        json_of("ask", str(path), "Which drug is number 5?", "--max-tokens", "16")
        for path in (done.runs / "tiny" / "merged", tmp_path / "plain.gguf")
    ]
    torn = "\ufffd"  # a character that the token limit cut in two
    assert answers[0]["answer"].rstrip(torn) == answers[1]["answer"].rstrip(torn)
    assert answers[0]["usage"] == answers[1]["usage"]


def test_runs_lists_every_stage_as_done(done: Place, json_of):
    entry = json_of("runs", *runs(done))["runs"][0]
    assert entry["name"] == "tiny"
    assert entry["stages"] == dict.fromkeys(STAGES, "done")
    assert entry["created"] is not None


def test_runs_without_any_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["runs", "--runs", str(tmp_path)]) == 0
    assert "bedside demo" in capsys.readouterr().out


def test_a_changed_setting_makes_only_what_depends_on_it(done: Place, tmp_path: Path, json_of):
    shutil.copytree(done.runs, tmp_path / "runs")
    made = json_of("run", str(done.recipe), "train.lr=1e-3", "--runs", str(tmp_path / "runs"))["made"]
    assert made == ["adapter", "evaluation/tuned", "comparison", "merged", "export", "report"]


def test_a_trained_model_that_another_recipe_would_replace_is_told_and_can_be_gone_on_with(
    done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    runs = tmp_path / "runs"
    shutil.copytree(done.runs, runs)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bedside.verbs.train.make", interrupt)
    assert cli.run(["export", str(done.recipe), "train.lr=1e-3", "--runs", str(runs)]) == 130
    again = ["run", str(runs / "tiny" / "recipe.toml"), "--runs", str(runs)]
    told = f"adapter: made anew, changed since: recipe 'train'; `bedside {' '.join(again)}` keeps the run's settings"
    assert told in capsys.readouterr().err
    assert cli.run(again) == 0
    assert "adapter: unchanged" in capsys.readouterr().err


def test_a_changed_model_renews_the_data_report_and_reads_no_source(done: Place, tmp_path: Path, json_of):
    shutil.copytree(done.runs, tmp_path / "runs")
    command = ["run", str(done.recipe), "model.max_length=64", "--until", "data", "--runs", str(tmp_path / "runs")]
    assert json_of(*command)["made"] == ["data/report"]
    folder = tmp_path / "runs" / "tiny" / "data"
    assert json.loads((folder / "stats.json").read_text())["tokens"]["max_length"] == 64
    assert "64" in (folder / "report.html").read_text()
    assert (folder / "train.jsonl").stat().st_mtime_ns == (done.runs / "tiny/data/train.jsonl").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("override", "made"),
    [
        ("data.licence=MIT", ["data/report"]),
        ("prompt.style=alpaca-think", ["data/report"]),
        ("evaluate.tasks=['rouge']", []),
        ("train.rank=2", []),
        ("data.near_duplicates=1", ["data", "data/report"]),
    ],
)
def test_only_what_decides_about_rows_reads_them_again(
    done: Place, tmp_path: Path, json_of, override: str, made: list[str]
):
    shutil.copytree(done.runs / "tiny" / "data", tmp_path / "tiny" / "data")
    command = ["run", str(done.recipe), override, "--until", "data", "--runs", str(tmp_path)]
    assert json_of(*command)["made"] == made


def test_what_only_people_read_makes_no_model_stale(done: Place, tmp_path: Path, json_of):
    shutil.copytree(done.runs, tmp_path / "runs")
    command = ["run", str(done.recipe), "data.licence=MIT", "--until", "data", "--runs", str(tmp_path / "runs")]
    assert json_of(*command)["made"] == ["data/report"]
    stages = json_of("runs", "--runs", str(tmp_path / "runs"))["runs"][0]["stages"]
    assert [name for name, state in stages.items() if state != "done"] == ["export", "report"]


def test_a_stale_report_on_the_data_is_no_matter_of_a_comparison(
    done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json_of
):
    from bedside.verbs import data

    shutil.copytree(done.runs, tmp_path / "runs")
    monkeypatch.setattr(data, "_plots_are_here", lambda: False)
    stages = json_of("runs", "--runs", str(tmp_path / "runs"))["runs"][0]["stages"]
    assert [name for name, state in stages.items() if state != "done"] == ["data/report"]
    assert json_of("compare", "tiny", "--runs", str(tmp_path / "runs"))["stale"] == []


def test_rows_are_prepared_where_the_base_is_not(done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json_of):
    monkeypatch.setattr("bedside.models.locate.EMBEDDED_PACKAGE", "no_such_package")
    stats = json_of("data", str(done.recipe), "model.base=embedded", "--runs", str(tmp_path))
    assert (stats["kept"], stats["tokens"]) == (40, None)


def test_the_model_card_takes_over_the_data_card(done: Place):
    card = (done.runs / "tiny" / "export" / "README.md").read_text()
    digest = hashlib.sha256((done.folder / "rows.jsonl").read_bytes()).hexdigest()
    read = re.sub(r"\[([^\[\]]*)\]\[\d+\]", r"\1", card)
    for said in ("- Name: tiny-llama", digest, "40 read = 40 kept + 0 left out", "### Contamination"):
        assert said in read


def test_a_changed_row_makes_everything_again(done: Place, tmp_path: Path, json_of):
    shutil.copytree(done.runs, tmp_path / "runs")
    rows = tmp_path / "rows.jsonl"
    rows.write_text((done.folder / "rows.jsonl").read_text().replace("aspirin", "ibuprofen"))
    command = ["run", str(done.recipe), f"data.path={rows}", "--until", "train", "--runs", str(tmp_path / "runs")]
    assert json_of(*command)["made"] == ["data", "data/report", "adapter"]
    entry = json_of("runs", "--runs", str(tmp_path / "runs"))["runs"][0]
    assert entry["stages"]["evaluation/base"] == "stale"


def test_a_result_that_is_older_than_its_recipe_is_told(done: Place, tmp_path: Path, capsys, json_of):
    folder = tmp_path / "runs"
    shutil.copytree(done.runs, folder)
    assert cli.run(["data", str(done.recipe), "seed=7", "--runs", str(folder)]) == 0
    [stale] = json_of("compare", "tiny", "--runs", str(folder))["stale"]
    assert "stage 'adapter' is stale, changed since: recipe 'seed', stage 'data'" in stale
    assert f"`bedside run {folder}/tiny/recipe.toml --runs {folder}` renews it" in stale
    capsys.readouterr()
    assert cli.run(["compare", "tiny", "--runs", str(folder)]) == 0
    printed = capsys.readouterr()
    assert stale in printed.out
    assert stale in printed.err
    assert json_of("compare", "tiny", *runs(done))["stale"] == []


def test_the_run_keeps_the_whole_recipe(done: Place):
    assert load(done.runs / "tiny" / "recipe.toml") == load(done.recipe)
    assert "dropout = 0.0" in (done.runs / "tiny" / "recipe.toml").read_text()


def test_the_report_is_one_page_without_outside_links(done: Place):
    folder = done.runs / "tiny" / "report"
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "report.html", "report.md", "results.json"}
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)


KILLED = """
import sys
from bedside.train import loop
real = loop.accumulate
def slow(*args):
    import time
    time.sleep(0.4)
    return real(*args)
loop.accumulate = slow
from bedside import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def test_kill_9_in_training_then_the_same_command_ends_with_the_same_adapter(done: Place, tmp_path: Path):
    target = ["--runs", str(tmp_path / "runs"), "--until", "train"]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, "run", str(done.recipe), *target], stderr=subprocess.DEVNULL
    )
    partial = tmp_path / "runs" / "tiny" / ".adapter.partial"
    deadline = time.monotonic() + 120
    while not list(partial.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "runs" / "tiny" / "adapter").exists()
    assert list(partial.glob("checkpoints/step-0000002")), "it was not killed in the middle of training"
    assert cli.run(["run", str(done.recipe), *target]) == 0
    name = "tiny/adapter/adapter_model.safetensors"
    assert (tmp_path / "runs" / name).read_bytes() == (done.runs / name).read_bytes()
    assert not partial.exists()


def test_another_process_on_the_same_run_is_told_in_one_line(done: Place, capsys: pytest.CaptureFixture[str]):
    with Run.open(done.runs / "tiny").lock():
        assert cli.run(done.command("run")) == 2
    assert "another process is at work on this run" in capsys.readouterr().err


def test_interrupting_says_how_to_go_on(done: Place, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    from bedside.train import loop

    def interrupt(*args: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "accumulate", interrupt)
    assert cli.run(["train", str(done.recipe), "--runs", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_file_that_says_something_else_is_marked_and_the_command_fails_each_time(
    done: Place, tmp_path: Path, monkeypatch, capsys
):
    from bedside.export import parity, readings
    from bedside.verbs.serve import unverified

    shutil.copytree(done.runs, tmp_path / "runs")
    fault = readings.Finding("weights-differ", "F16 file", "planted")
    monkeypatch.setattr(parity, "_judged", lambda *args: iter([fault]))
    command = ["export", str(done.recipe), "export.quantise=['f16']", "--runs", str(tmp_path / "runs")]
    for _ in range(2):
        assert cli.run(command) == 1
        assert (
            "not what was trained (weights-differ), so the release is marked as unverified" in capsys.readouterr().err
        )
    folder = tmp_path / "runs/tiny/export"
    assert json.loads((folder / "export.json").read_text())["parity"]["ok"] is False
    assert "**Unverified.**" in (folder / "README.md").read_text()
    assert "not shown to answer as" in unverified("tiny", tmp_path / "runs")
    assert unverified("tiny", done.runs) == ""


def test_parity_marks_a_release_that_turns_out_otherwise_than_its_card_says(
    done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedside.export import parity, readings

    shutil.copytree(done.runs, tmp_path / "runs")
    folder = tmp_path / "runs/tiny/export"
    fault = readings.Finding("weights-differ", "16-bit file", "parts")
    with monkeypatch.context() as spoilt:
        spoilt.setattr(parity, "_judged", lambda *args: iter([fault]))
        assert cli.run(["parity", "tiny", "--runs", str(tmp_path / "runs")]) == 1
    assert json.loads((folder / "export.json").read_text())["parity"]["ok"] is False
    assert "**Unverified.**" in (folder / "README.md").read_text()
    assert cli.run(["parity", "tiny", "--runs", str(tmp_path / "runs")]) == 0
    assert "**Unverified.**" not in (folder / "README.md").read_text()


def test_parity_of_a_run_is_asked_anew(done: Place, json_of, capsys):
    found = json_of("parity", "tiny", "--runs", str(done.runs))
    assert found["ok"]
    assert found["measured"].keys() == {"adapter", "plain", "q8_0"}
    assert cli.run(["parity", "nothing-there", "--runs", str(done.runs)]) == 2
    assert "no run here" in capsys.readouterr().err


def test_a_release_tells_how_it_is_run_and_holds_the_adapter_and_its_base_where_they_are_wanted(
    done: Place, tmp_path: Path, json_of
):
    shutil.copytree(done.runs, tmp_path / "runs")
    told = json_of("export", str(done.recipe), "export.adapter=with-base", "--runs", str(tmp_path / "runs"))
    folder = tmp_path / "runs" / "tiny" / "export"
    names = {path.name for path in folder.iterdir()}
    assert [file["quantisation"] for file in told["files"]] == ["q8_0"]
    assert [Path(file["path"]).name for file in told["adapter"]] == ["tiny-adapter-f16.gguf", "tiny-base-q8_0.gguf"]
    for text in ((folder / name).read_text() for name in ("RUN.md", "Modelfile", "Modelfile.adapter")):
        named = set(re.findall(r"\./([\w.-]+)", text))
        assert named
        assert named <= names
    for file in told["adapter"]:
        assert hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest() == file["sha256"]
        assert file["sha256"] in (folder / "README.md").read_text()
