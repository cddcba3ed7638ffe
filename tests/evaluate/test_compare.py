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


@pytest.mark.parametrize("style", ["likelihood", "rouge"])
def test_style_and_wording_alone_make_nothing_better_but_may_make_it_worse(tmp_path: Path, style: str):
    low, high = [0.1 - i / 1000 for i in range(30)], [0.9 - i / 900 for i in range(30)]
    weak = evaluation(tmp_path / "weak", **{style: low, "choice": [1.0, 0.0] * 15})
    strong = evaluation(tmp_path / "strong", **{style: high, "choice": [1.0, 0.0] * 15})
    better = compare(weak, strong, seed=1)
    assert {task["task"]: task["verdict"] for task in better["tasks"]} == {style: "better", "choice": "underpowered"}
    assert better["verdict"] == "underpowered"
    assert compare(strong, weak, seed=1)["verdict"] == "worse"


def test_where_only_style_was_measured_it_decides(tmp_path: Path):
    weak = evaluation(tmp_path / "weak", rouge=[0.1 - i / 1000 for i in range(30)])
    strong = evaluation(tmp_path / "strong", rouge=[0.9 - i / 900 for i in range(30)])
    assert compare(weak, strong, seed=1)["verdict"] == "better"


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
