"""The demo's own steps, on the tiny model; `make demo` runs the real one in CI."""

from pathlib import Path

import pytest

from bedside import cli, recipe_file

from .conftest import Place


def test_it_asks_a_held_out_question_and_sets_the_reasoning_apart(
    done: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, json_of
):
    (tmp_path / "starter.toml").write_text(done.recipe.read_text())
    monkeypatch.setattr(recipe_file, "SHIPPED", tmp_path)
    result = json_of("demo", "--runs", str(done.runs))
    asked = result["question"]
    assert asked in (done.runs / "tiny/data/test.jsonl").read_text()
    assert asked not in (done.runs / "tiny/data/train.jsonl").read_text()
    assert cli.run(["demo", "--runs", str(done.runs)]) == 0
    printed = capsys.readouterr().out
    for part in (
        "Question that was not trained on",
        "Reasoning of",
        "Answer:",
        "Reference:",
        "Verdict:",
        "Report:",
        " serve ",
    ):
        assert part in printed
    assert "not a medical device" in printed
