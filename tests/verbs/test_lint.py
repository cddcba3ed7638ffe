"""`bedside lint`, and that `bedside train` refuses what it finds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside import cli

from ..conftest import CHATML
from .conftest import Place

JsonOf = Callable[..., Any]
NO_END = CHATML.replace("'<|im_end|>'", "('<|im_end|>' if message['role'] != 'assistant' else '')")
DEEPSEEK_R1 = CHATML.replace("message['content']", "message['content'].split('</think>')[-1]")
KEYS = {"errors", "warnings", "allowed", "counts", "not_checked", "rows", "trained_tokens", "truncated_rows", "first_example"}  # fmt: skip


def base_with(template: str, tiny_llama: Path, folder: Path) -> str:
    shutil.copytree(tiny_llama, folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(template)
    return f"model.base={folder / 'model'}"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> tuple[str, str]:
    capsys.readouterr()
    assert cli.run(list(arguments)) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_lint_prints_the_keys_that_others_build_on(place: Place, json_of: JsonOf, tmp_path: Path) -> None:
    result = json_of("lint", str(place.recipe), "--runs", str(tmp_path))
    assert result.keys() >= KEYS
    assert result["errors"] == result["warnings"] == []
    assert {finding["rule"] for finding in result["allowed"]} == {"first-loss"}
    train = (tmp_path / "tiny" / "data" / "train.jsonl").read_text().splitlines()
    assert result["rows"] == len(train)
    assert json.loads(train[0])["question"] in result["first_example"]["prompt"]
    assert result["first_example"]["trained"].endswith("<|im_end|>")


@pytest.mark.parametrize(("template", "rule"), [(NO_END, "end-missing"), (DEEPSEEK_R1, "reasoning-removed")])
def test_an_error_is_exit_status_1_and_told_with_its_lines_and_how_to_mend_it(
    place: Place, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str, rule: str
) -> None:
    base = base_with(template, tiny_llama, tmp_path)
    out, _ = told(capsys, "lint", str(place.recipe), base, "--runs", str(tmp_path / "runs"), status=1)
    assert f"ERROR {rule}" in out
    assert f"{place.folder / 'rows.jsonl'} line " in out
    assert "mend: " in out
    assert "more (--json lists them)\n" in out


def test_training_is_refused_in_one_line_that_names_the_rules_and_the_way_to_see_them(
    place: Place, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, runs = base_with("{{ bos_token }}" + CHATML, tiny_llama, tmp_path), tmp_path / "runs"
    out, err = told(capsys, "train", str(place.recipe), base, "--runs", str(runs), status=1)
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("bedside: ")]
    assert "begin-doubled (" in line
    assert f"`bedside lint {runs}/tiny/recipe.toml --runs {runs}`" in line
    assert not (runs / "tiny" / "adapter").exists()
    out, _ = told(capsys, "lint", f"{runs}/tiny/recipe.toml", "--runs", str(runs), status=1)
    assert "ERROR begin-doubled" in out


def test_training_goes_on_where_the_rule_is_allowed_and_says_so(
    place: Place, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_with("{{ bos_token }}" + CHATML, tiny_llama, tmp_path)
    allow = "lint.allow=[begin-doubled, first-loss]"
    command = ["train", str(place.recipe), base, allow, "train.max_steps=1", "--runs", str(tmp_path / "runs")]
    _, err = told(capsys, *command, status=0)
    assert "lint: allowed by the recipe: begin-doubled (" in err


def test_a_first_step_that_is_worse_than_guessing_ends_the_training(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(place.recipe), "lint.allow=[]", "--runs", str(tmp_path)]
    _, err = told(capsys, *command, status=1)
    assert "guessing evenly among all tokens gives ln(" in err
    assert "lint.allow = ['first-loss']" in err
    assert not (tmp_path / "tiny" / "adapter").exists()


def test_a_rule_that_does_not_exist_cannot_be_allowed(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = told(capsys, "lint", str(place.recipe), "lint.allow=[end-lost]", "--runs", str(tmp_path), status=2)
    assert "lint.allow.0 = 'end-lost'" in err


def test_a_row_is_shown_with_what_is_trained_in_brackets(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = told(capsys, "lint", str(place.recipe), "--show", "3", "--runs", str(tmp_path), status=0)
    row = json.loads((tmp_path / "tiny" / "data" / "train.jsonl").read_text().splitlines()[2])
    shown = out[out.index("Row 3 (") :]
    assert row["where"] in shown
    assert f"<|im_start|>user↵\n{row['question']}" in shown
    assert f"⟦<think>↵\n{row['reasoning']}↵\n</think>↵\n↵\n{row['answer']}<|im_end|>⟧" in shown
    assert "tokens are read" in shown


def test_a_shown_row_is_in_the_json_too(place: Place, json_of: JsonOf, tmp_path: Path) -> None:
    result = json_of("lint", str(place.recipe), "--show", "2", "--runs", str(tmp_path))
    assert result["shown"]["row"] == 2
    assert result["shown"]["prompt"] != result["first_example"]["prompt"]


def test_a_row_that_is_not_there_is_told(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = told(capsys, "lint", str(place.recipe), "--show", "900", "--runs", str(tmp_path), status=2)
    assert "--show 900: there are 2" in err


def test_what_is_exported_is_compared_with_what_is_trained(done: Place, json_of: JsonOf) -> None:
    result = json_of(*done.command("lint"))
    assert result["errors"] == []
    assert result["not_checked"] == []


def test_a_base_without_a_template_is_one_line(
    place: Place, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_with("", tiny_llama, tmp_path)
    _, err = told(capsys, "lint", str(place.recipe), base, "--runs", str(tmp_path / "runs"), status=2)
    assert "no chat template; use prompt.style = 'alpaca-think'" in err


def bench(place: Place, path: Path) -> None:
    """An evaluation set of many of the rows' own questions."""
    rows = [json.loads(line) for line in (place.folder / "rows.jsonl").read_text().splitlines()[:20]]
    path.write_text("\n".join(json.dumps({"question": row["q"]}) for row in rows))


def test_rows_of_a_file_that_the_recipe_compares_with_are_told(
    place: Place, json_of: JsonOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(place, tmp_path / "bench.jsonl")
    compared = [f"data.against=['{tmp_path / 'bench.jsonl'}']", "data.decontaminate=report"]
    command = ["lint", str(place.recipe), *compared, "--runs", str(tmp_path / "runs")]
    out, _ = told(capsys, *command, status=0)
    result = json_of(*command)
    found = [finding for finding in result["warnings"] if finding["rule"] == "train-test-leak"]
    assert len(found) == result["counts"]["warnings"]["train-test-leak"] > 5
    assert all("bench.jsonl, a file of data.against" in finding["message"] for finding in found)
    assert f"… and {len(found) - 5} more (--json lists them)" in out


def test_rows_that_the_data_stage_has_left_out_are_no_leak(place: Place, json_of: JsonOf, tmp_path: Path) -> None:
    bench(place, tmp_path / "bench.jsonl")
    compared = f"data.against=['{tmp_path / 'bench.jsonl'}']"
    result = json_of("lint", str(place.recipe), compared, "--runs", str(tmp_path / "runs"))
    assert result["errors"] == result["warnings"] == []


@pytest.mark.parametrize("verb", ["data", "lint"])
def test_a_model_folder_that_is_not_there_is_one_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    _, err = told(capsys, verb, str(place.recipe), "model.base=/gone", "--runs", str(tmp_path), status=2)
    assert [line for line in err.splitlines() if "Traceback" in line] == []
    assert "bedside: /gone: no such folder; model.base takes 'embedded', a folder" in err
