"""The verdict's sentences say what it rests on, what speaks otherwise, and what it leaves open."""

from dataclasses import replace
from typing import Any

import pytest

from bedside.report import tasks, verdict
from bedside.report.numbers import MINUS, SPACE

from .sample import comparison, material, with_counts


def found(task: str, word: str, **changes: Any) -> dict[str, Any]:
    sample = next(row for row in comparison()["tasks"] if row["task"] == task)
    return {**sample, "verdict": word, **changes}


def rows(*compared: dict[str, Any]) -> list[tasks.TaskRow]:
    return tasks.rows(material(comparison={"verdict": "", "tasks": with_counts(list(compared))}))


def said(sentences: str | list[str]) -> str:
    return " ".join([sentences] if isinstance(sentences, str) else sentences).replace(SPACE, " ").replace(MINUS, "-")


def test_worse_names_the_task_the_size_the_interval_and_the_p_value():
    assert said(verdict.grounds("worse", rows(found("choice", "worse")))) == (
        "The tuned model scores 13.9 points lower than its base on multiple choice"
        " (accuracy, n = 72, 95 % interval of the difference -22.2 to -5.6, adjusted p = 0.019)."
    )


def test_better_does_not_rest_on_a_task_that_is_not_counted():
    both = rows(found("likelihood", "better"), found("decision", "better"))
    assert "likelihood" not in said(verdict.grounds("better", both))
    assert "likelihood of the reference, which rises with style and wording alone" in said(
        verdict.reservations("better", both)
    )


@pytest.mark.parametrize("task", ["likelihood", "rouge"])
def test_where_nothing_tells_right_from_wrong_that_is_said(task: str):
    alone = rows(found(task, "better"))
    assert verdict.grounds("underpowered", alone) == verdict.NOTHING_IS_RIGHT
    assert "does not count" in said(verdict.reservations("underpowered", alone))


def test_a_task_that_says_otherwise_is_told():
    mixed = rows(found("choice", "worse"), found("rouge", "better"), found("decision", "no difference shown"))
    text = said(verdict.reservations("worse", mixed))
    assert "It is better on overlap with the reference, which rises with style" in text
    assert "No difference was shown on yes/no/maybe decision." in text


@pytest.mark.parametrize("detectable", [0.412, None])
def test_underpowered_tells_how_few_items_there_were(detectable: float | None):
    few = rows(found("decision", "underpowered", detectable=detectable))
    assert "too few to rule out one that matters" in verdict.grounds("underpowered", few)
    text = said(verdict.reservations("underpowered", few))
    assert "14 items" in text
    assert ("41.2 points or more" in text) == (detectable is not None)


def test_each_task_with_too_few_items_has_its_own_sentence_and_few_items_show_nothing():
    few = rows(found("decision", "underpowered", detectable=1.0, n=3), found("rouge", "underpowered"))
    sentences = [said(one) for one in verdict.reservations("underpowered", few) if one.startswith("Too few")]
    assert sentences[0] == "Too few items to tell on yes/no/maybe decision: 3 items can show nothing."
    assert sentences[1].endswith(": 12 items show only differences of 0.086 or more.")


def test_answers_that_neither_could_be_read_for_are_told_and_identical_outputs_too():
    row = {**rows(found("rouge", "no difference shown"))[0].base, "unparsed": 2}
    sample = material(comparison={"verdict": "", "tasks": with_counts([found("rouge", "no difference shown")])})
    changed = replace(sample, base_scores=[row], tuned_scores=[row])
    assert "neither model gave a readable answer to 2 of 12 items; these score 0" in said(
        verdict.reservations("no difference shown", tasks.rows(changed))
    )
    same = rows(found("rouge", "no difference shown", identical=True))
    assert "their outputs are identical" in said(verdict.reservations("no difference shown", same))


def test_no_difference_does_not_speak_for_a_task_that_is_not_counted():
    mixed = rows(found("likelihood", "better"), found("choice", "no difference shown"))
    assert verdict.grounds("no difference shown", mixed).startswith("No task that the verdict counts shows")


def test_counted_tasks_come_first():
    first, second = rows(found("likelihood", "better"), found("choice", "worse"))
    assert (first.task, first.word, first.counted) == ("choice", "worse", True)
    assert (second.task, second.word, second.counted) == ("likelihood", "better", False)


def test_a_task_of_unknown_name_is_shown_under_that_name():
    unknown = {**found("choice", "worse"), "task": "triage <b>", "metric": "kappa", "counted": True}
    (row,) = tasks.rows(material(comparison={"verdict": "worse", "tasks": [unknown]}))
    assert (row.label, row.about, row.matters) == ("triage <b>", "", None)
    assert row.slug == "triage-b-"
    assert row.base["value"] == row.compared["base"]


@pytest.mark.parametrize(
    ("n", "shows"), [(12, "which of them answers at all, beside"), (3, "only which of them answers at all")]
)
def test_a_difference_in_readable_answers_is_told_before_all_else(n: int, shows: str):
    text = said(verdict.reservations("better", rows(found("rouge", "better", n=n))))
    assert text.startswith(f"On overlap with the reference the base gave no readable answer to 3 of {n} items")
    assert shows in text
    assert "readable" not in said(verdict.reservations("worse", rows(found("choice", "worse"))))


def test_what_tuning_may_cost_is_told_not_to_count_unless_it_is_worse():
    right, kept = found("choice", "no difference shown"), {**found("choice", "better"), "task": "instructions"}
    text = said(verdict.reservations("no difference shown", rows(right, kept)))
    assert "It is better on following instructions, which tuning was not meant to change" in text
    worse = rows(right, {**kept, "verdict": "worse"})
    assert "on following instructions" in said(verdict.grounds("worse", worse))


def test_a_base_that_had_little_to_lose_is_told():
    low = {**found("choice", "underpowered"), "task": "safety", "metric": "share refused", "base": 0.0}
    assert "On refusal of harmful requests the base reaches only 0.0 %" in said(
        verdict.reservations("worse", rows(low))
    )
    assert "little to lose" not in said(verdict.reservations("worse", rows({**low, "base": 0.9})))


def test_a_base_that_guesses_had_little_general_knowledge_to_lose():
    guessed = {**found("choice", "no difference shown"), "task": "general", "base": 0.27}
    score = {"task": "general", "baseline": 0.25, "ci": [0.2, 0.34], "value": 0.27, "unparsed": 0}
    sample = material(comparison={"verdict": "", "tasks": with_counts([guessed, {**guessed, "base": 0.5}])})
    low, high = tasks.rows(replace(sample, base_scores=[score], tuned_scores=[score]))
    assert "little to lose" in said(verdict.reservations("worse", [low]))
    assert "little to lose" not in said(verdict.reservations("worse", [high]))


def test_where_the_base_is_taken_to_guess_the_finding_tells_that_difference():
    guessing = {"base": 0.31, "difference": 0.044, "ci": [-0.03, 0.12], "p": 0.31, "detectable": 0.09}
    taken = rows(found("rouge", "underpowered"), found("choice", "underpowered", guessing=guessing))
    assert said(verdict.grounds("underpowered", taken)).startswith(
        "Where the base is taken to guess when its answer cannot be read, no task that the verdict counts shows"
    )
    silent = {**taken[0].base, "unparsed": 40}
    text = said(verdict.reservations("underpowered", [replace(taken[0], base=silent)]))
    assert (
        "Taken to guess there, the base would reach 31.0 %: the finding rests on that difference, +4.4 points" in text
    )
    assert "72 items show only differences of 9.0 points or more" in text


def test_reasoning_that_did_not_come_or_did_not_end_is_told():
    reasoned = {
        **found("choice", "no difference shown"),
        "task": "choice-reason",
        "forced": [12, 3],
        "reasoned": [70, 0],
    }
    text = said(verdict.reservations("no difference shown", rows(reasoned)))
    assert "was closed, so that an answer came: the base's on 12 of 72 items, the tuned model's on 3." in text
    assert "the base reasoned before it answered on 70 of 72 items, the tuned model on 0." in text
    direct = rows({**reasoned, "task": "choice-direct", "forced": [0, 0]})
    assert "reason" not in said(verdict.reservations("no difference shown", direct))
