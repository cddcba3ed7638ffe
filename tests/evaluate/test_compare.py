"""Pairs by id, and says "worse" when it is."""

import json
from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.evaluate.compare import compare


def evaluation(folder: Path, **tasks: list[float]) -> Path:
    folder.mkdir()
    for task, scores in tasks.items():
        lines = [json.dumps({"id": str(i), "score": score}) for i, score in enumerate(scores)]
        (folder / f"{task}.jsonl").write_text("\n".join(lines))
    (folder / "scores.json").write_text(json.dumps({"model": folder.name, "tasks": []}))
    return folder


def test_a_tuned_model_that_lost_is_called_worse(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0] * 40)
    tuned = evaluation(tmp_path / "tuned", choice=[1.0] * 25 + [0.0] * 15)
    found = compare(base, tuned, seed=1)
    assert found["verdict"] == "worse"
    assert found["tasks"][0]["difference"] == pytest.approx(-15 / 40)
    assert found["tasks"][0]["p"] == pytest.approx(2 * 0.5**15)  # McNemar: 15 losses, no win


def test_a_better_likelihood_alone_makes_nothing_better(tmp_path: Path):
    base = evaluation(tmp_path / "base", likelihood=[-3.0 - i / 100 for i in range(30)], choice=[1.0, 0.0] * 15)
    tuned = evaluation(tmp_path / "tuned", likelihood=[-2.0 - i / 90 for i in range(30)], choice=[1.0, 0.0] * 15)
    found = compare(base, tuned, seed=1)
    by_task = {task["task"]: task["verdict"] for task in found["tasks"]}
    assert by_task == {"likelihood": "better", "choice": "underpowered"}
    assert found["verdict"] == "underpowered"


def test_one_worse_task_outweighs_a_better_one(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0] * 20 + [0.0] * 20, rouge=[0.1 + i / 1000 for i in range(40)])
    tuned = evaluation(tmp_path / "tuned", choice=[0.0] * 40, rouge=[0.3 + i / 900 for i in range(40)])
    assert compare(base, tuned, seed=1)["verdict"] == "worse"


def test_order_of_rows_does_not_matter_but_other_items_are_refused(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0, 0.0, 1.0])
    tuned = evaluation(tmp_path / "tuned", choice=[0.0, 0.0, 1.0])
    lines = (tuned / "choice.jsonl").read_text().splitlines()
    (tuned / "choice.jsonl").write_text("\n".join(reversed(lines)))
    assert compare(base, tuned, seed=1)["tasks"][0]["difference"] == pytest.approx(-1 / 3)
    (tuned / "choice.jsonl").write_text("\n".join(lines[:2]))
    with pytest.raises(DataError, match="item '2' is in one evaluation only"):
        compare(base, tuned, seed=1)


def test_a_task_that_one_side_lacks_is_named(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0, 0.0], rouge=[0.1, 0.2])
    tuned = evaluation(tmp_path / "tuned", choice=[1.0, 0.0])
    with pytest.raises(DataError, match="no task 'rouge'"):
        compare(base, tuned, seed=1)
