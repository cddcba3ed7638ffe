"""Pairs by id, and says "worse" when it is."""

import json
from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.evaluate.compare import compare
from bedside.verbs.compare import in_words


def evaluation(folder: Path, **tasks: list[float]) -> Path:
    folder.mkdir()
    for task, scores in tasks.items():
        lines = [
            json.dumps({"id": str(i), "score": score, "answer": "word " * (i % 3)}) for i, score in enumerate(scores)
        ]
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


@pytest.mark.parametrize("task", ["rouge", "general"])
def test_where_nothing_tells_right_from_wrong_nothing_is_better(tmp_path: Path, task: str):
    weak = evaluation(tmp_path / "weak", **{task: [0.0] * 30})
    strong = evaluation(tmp_path / "strong", **{task: [1.0] * 30})
    found = compare(weak, strong, seed=1)
    assert ([one["verdict"] for one in found["tasks"]], found["verdict"]) == (["better"], "underpowered")
    assert compare(strong, weak, seed=1)["verdict"] == "worse"


def test_a_model_that_learnt_only_to_answer_is_not_better(tmp_path: Path):
    def written(name: str, answers: list[str | None], baseline: float) -> Path:
        folder = evaluation(tmp_path / name, **{"choice-direct": []})
        rows = [
            {"id": str(i), "score": float(said == "A"), "how": "answered" if said else "none", "answer": "x"}
            for i, said in enumerate(answers)
        ]
        (folder / "choice-direct.jsonl").write_text("\n".join(map(json.dumps, rows)))
        score = {"task": "choice-direct", "baseline": baseline, "ci": [0.0, 1.0]}
        (folder / "scores.json").write_text(json.dumps({"model": name, "tasks": [score]}))
        return folder

    silent = written("silent", [None] * 100, 0.25)
    guesses = written("guesses", ["A", "B", "C", "D"] * 25, 0.25)
    (task,) = compare(silent, guesses, seed=1)["tasks"]
    assert (task["p"] < 0.001, task["unparsed"], task["verdict"]) == (True, (100, 0), "underpowered")
    guessing = task["guessing"]
    assert (guessing["base"], guessing["difference"], guessing["p"]) == (0.25, 0.0, pytest.approx(1.0, abs=0.05))
    assert compare(guesses, silent, seed=1)["tasks"][0]["guessing"] is None
    knows = written("knows", ["A"] * 80 + ["B"] * 20, 0.25)
    assert compare(silent, knows, seed=1)["verdict"] == "better"


def test_what_no_task_measured_is_named_with_the_task_that_would(tmp_path: Path):
    one = evaluation(tmp_path / "one", choice=[1.0, 0.0])
    left_open = " ".join(compare(one, one, seed=1)["unmeasured"])
    assert "harmful requests: add 'safety'" in left_open
    assert "right more often" not in left_open


def test_too_few_items_of_one_task_outweigh_no_difference_on_another(tmp_path: Path):
    half = {"choice": [1.0, 0.0] * 1000, "decision": [1.0, 0.0] * 6}
    a, b = evaluation(tmp_path / "a", **half), evaluation(tmp_path / "b", **half)
    found = compare(a, b, seed=1)
    assert [task["verdict"] for task in found["tasks"]] == ["no difference shown", "underpowered"]
    assert found["verdict"] == "underpowered"


def test_items_of_one_id_and_another_question_are_refused(tmp_path: Path):
    one, other = (evaluation(tmp_path / name, choice=[1.0, 0.0]) for name in ("one", "other"))
    for folder, digest in ((one, "aa"), (other, "bb")):
        rows = [{"id": str(i), "score": 1.0, "item": digest if i else "same"} for i in range(2)]
        (folder / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="item '1' is not the same question in both"):
        compare(one, other, seed=1)


def test_an_answer_after_reasoning_is_not_held_against_one_without(tmp_path: Path):
    one, other = (evaluation(tmp_path / name, choice=[1.0, 0.0], safety=[1.0, 0.0]) for name in ("one", "other"))
    rows = [{"id": str(i), "score": 1.0, "answer": "No.", "reasoning": "Hm."} for i in range(2)]
    (other / "safety.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert compare(one, other, seed=1)["left_out"] == []  # one prompt, in which both were closed
    scored(other, prompt={"reasoning": "none"})
    found = compare(one, other, seed=1)
    assert found["same_prompt"] is False
    assert found["left_out"] == [
        "safety: one side reasoned before it answered and the other did not; compare what ends in -reason"
    ]
    scored(one, prompt={"reasoning": "none"})  # as of two servers, whose reasoning cannot be closed
    found = compare(one, other, seed=1)
    assert found["same_prompt"] is True
    assert [task["task"] for task in found["tasks"]] == ["choice"]


@pytest.mark.parametrize("kept", ["general", "instructions", "safety"])
def test_what_tuning_may_cost_makes_nothing_better_but_may_make_it_worse(tmp_path: Path, kept: str):
    weak = evaluation(tmp_path / "weak", **{kept: [0.0] * 40, "choice": [1.0, 0.0] * 20})
    strong = evaluation(tmp_path / "strong", **{kept: [1.0] * 40, "choice": [1.0, 0.0] * 20})
    better = compare(weak, strong, seed=1)
    assert {task["task"]: task["counted"] for task in better["tasks"]} == {kept: False, "choice": True}
    assert better["verdict"] == "underpowered"
    assert compare(strong, weak, seed=1)["verdict"] == "worse"


def test_outputs_that_are_identical_are_told_and_scores_alone_are_not(tmp_path: Path):
    one, same, other = (evaluation(tmp_path / name, rouge=[0.1, 0.2, 0.4]) for name in ("one", "same", "other"))
    rows = [{"id": str(i), "score": score, "answer": f"Other {i}."} for i, score in enumerate((0.1, 0.2, 0.4))]
    (other / "rouge.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [compare(one, beside, seed=1)["tasks"][0]["identical"] for beside in (same, other)] == [True, False]
    told = in_words(compare(one, same, seed=1))
    assert "On rouge the two gave the same on every item: their outputs are identical." in told
    assert told.splitlines()[4].split()[:3] == ["rouge", "3", "-"]


def test_two_evaluations_are_called_by_the_names_they_were_given(tmp_path: Path):
    one, other = (evaluation(tmp_path / name, choice=[1.0, 0.0]) for name in ("one", "other"))
    score = {"task": "choice", "baseline": 0.25, "ci": [0.1, 0.9]}
    (other / "scores.json").write_text(json.dumps({"model": "b.gguf", "tasks": [score]}))
    found = compare(one, other, seed=1, names=("first-model", "sv"))
    assert found["names"] == ["first-model", "sv"]
    told = in_words(found)
    assert ("base " in told, "tuned" in told) == (False, False)
    assert "first-model          sv  difference" in told
    assert "On choice sv is not shown to beat ignoring the question" in told


def test_items_that_were_won_and_lost_are_listed(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0, 0.0, 1.0, 0.0])
    tuned = evaluation(tmp_path / "tuned", choice=[0.0, 1.0, 1.0, 0.0])
    task = compare(base, tuned, seed=1)["tasks"][0]
    assert (task["won"], task["lost"]) == (("1",), ("0",))


def test_nearer_answers_are_counted_with_their_length(tmp_path: Path):
    base = evaluation(tmp_path / "base", rouge=[0.2] * 15 + [0.4] * 15)
    tuned = evaluation(tmp_path / "tuned", rouge=[0.3] * 30)
    found = compare(base, tuned, seed=1)["win_rate"]
    assert (found["won"], found["lost"], found["raw"]) == (15, 15, 0.5)
    assert found["controlled"] == pytest.approx(0.5)
    assert compare(*(evaluation(tmp_path / n, choice=[1.0, 0.0]) for n in ("a", "b")), seed=1)["win_rate"] is None


def with_meaning(folder: Path, figures: list[float], signature: str = "encoder:toy|layer:2") -> Path:
    """Answers of one wording, whose BERTScore is given."""
    evaluation(folder, rouge=[0.5] * len(figures))
    rows = [json.loads(line) for line in (folder / "rouge.jsonl").read_text().splitlines()]
    told = [{**row, "bertscore": {"f1": f1, "signature": signature}} for row, f1 in zip(rows, figures, strict=True)]
    (folder / "rouge.jsonl").write_text("\n".join(map(json.dumps, told)))
    return folder


def test_bertscore_is_compared_and_changes_no_verdict(tmp_path: Path):
    strong, weak = with_meaning(tmp_path / "a", [0.9] * 20), with_meaning(tmp_path / "b", [0.5, 0.7] * 10)
    found = compare(strong, weak, seed=1)
    meaning = found["bertscore"]
    assert (meaning["n"], meaning["base"], meaning["tuned"]) == (20, pytest.approx(0.9), pytest.approx(0.6))
    assert meaning["difference"] == pytest.approx(-0.3)
    assert meaning["ci"][0] < -0.3 < meaning["ci"][1] < 0
    assert [task["task"] for task in found["tasks"]] == ["rouge"]
    assert found["verdict"] != "worse"
    assert "BERTScore F1, which is never counted: base 0.900, tuned 0.600, difference -0.300 [" in in_words(found)


def test_bertscores_of_two_encoders_are_not_compared(tmp_path: Path):
    one, plain = with_meaning(tmp_path / "one", [0.9] * 4), evaluation(tmp_path / "plain", rouge=[0.5] * 4)
    other = with_meaning(tmp_path / "other", [0.9] * 4, "encoder:toy|layer:1")
    said = "encoder:toy|layer:2 here and {} there; evaluate both with the same encoder and layer"
    for second, there in ((other, "encoder:toy|layer:1"), (plain, "not computed")):
        found = compare(one, second, seed=1)
        assert (found["bertscore"], found["left_out"]) == (None, [f"bertscore: {said.format(there)}"])
    assert compare(plain, plain, seed=1)["left_out"] == []


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


def test_a_task_that_one_side_lacks_is_left_out_and_without_a_common_one_nothing_can_be_said(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0, 0.0], rouge=[0.1, 0.2])
    tuned = evaluation(tmp_path / "tuned", choice=[1.0, 0.0])
    found = compare(base, tuned, seed=1)
    assert ([task["task"] for task in found["tasks"]], found["left_out"]) == (
        ["choice"], ["rouge: scored on one side only"],
    )  # fmt: skip
    other = evaluation(tmp_path / "other", rouge=[0.1, 0.2])
    with pytest.raises(DataError, match="has no task in common with"):
        compare(tuned, other, seed=1)


def test_what_ignoring_the_question_gets_stands_beside(tmp_path: Path):
    base = evaluation(tmp_path / "base", choice=[1.0, 0.0])
    tuned = evaluation(tmp_path / "tuned", choice=[1.0, 0.0])
    for low, above in ((0.2, False), (0.3, True)):
        score = {"task": "choice", "baseline": 0.25, "ci": [low, 0.9]}
        (tuned / "scores.json").write_text(json.dumps({"model": "tuned", "tasks": [score]}))
        task = compare(base, tuned, seed=1)["tasks"][0]
        assert (task["baseline"], task["above_baseline"]) == (0.25, above)


def scored(folder: Path, **settings: object) -> None:
    (folder / "scores.json").write_text(json.dumps({"model": folder.name, "settings": settings, "tasks": []}))


def test_a_task_that_was_scored_otherwise_is_left_out_with_the_reason(tmp_path: Path):
    one = evaluation(tmp_path / "one", choice=[1.0, 0.0], rouge=[0.1, 0.2])
    other = evaluation(tmp_path / "other", choice=[1.0, 1.0], rouge=[0.3, 0.2])
    scored(one, choice_scoring="cloze", max_tokens=96, answer_tokens=32)
    scored(other, choice_scoring="cloze", max_tokens=256, answer_tokens=32)
    found = compare(one, other, seed=1)
    assert [task["task"] for task in found["tasks"]] == ["choice"]
    assert found["left_out"] == [
        "rouge: scored with max_tokens 96 here and 256 there; evaluate both the same way",
    ]
    scored(other, choice_scoring="letter", max_tokens=256, answer_tokens=32)
    with pytest.raises(
        DataError, match=r"cannot be compared with .*one: choice: scored with choice_scoring cloze here"
    ):
        compare(one, other, seed=1)


def test_likelihoods_of_other_tokens_are_left_out(tmp_path: Path):
    one = evaluation(tmp_path / "one", choice=[1.0, 0.0], likelihood=[-2.0, -3.0])
    other = evaluation(tmp_path / "other", choice=[1.0, 1.0], likelihood=[-1.0, -2.0])
    for folder, tokens in ((one, 7), (other, 9)):
        rows = [{"id": str(i), "score": -1.0, "tokens": tokens} for i in range(2)]
        (folder / "likelihood.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = compare(one, other, seed=1)
    assert [task["task"] for task in found["tasks"]] == ["choice"]
    assert found["left_out"][0].startswith("likelihood: item '0' has 7 tokens here and 9 there")
