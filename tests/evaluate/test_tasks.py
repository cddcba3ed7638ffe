"""Which items are measured."""

import json
import re
from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.evaluate import tasks
from bedside.recipe import EvaluateSection
from bedside.recipe_file import parse
from bedside.records import Example

ITEMS = [Example(str(i), f"Question {i}?", "Yes. So it is.", label=["yes", "no", "maybe"][i % 3]) for i in range(30)]


def recipe(**evaluate: object):
    return parse({"name": "r", "evaluate": {"tasks": ["likelihood"], **evaluate}}, "test")


def test_items_are_drawn_by_seed_and_a_smaller_limit_draws_the_first_of_them():
    few, many = tasks.draw(ITEMS, 5, seed=1), tasks.draw(ITEMS, 9, seed=1)
    assert few == many[:5]
    assert few != tasks.draw(ITEMS, 5, seed=2)
    assert tasks.draw(ITEMS[::-1], 5, seed=1) == few


def test_a_choice_item_whose_question_was_trained_is_left_out():
    held_out = tasks.select(recipe(tasks=["choice"]), [], ITEMS)["choice"]
    shouted = Example("x", held_out[0].question.upper() + " !", "A")
    left = tasks.select(recipe(tasks=["choice"]), [shouted], ITEMS)["choice"]
    assert {item.id for item in held_out} - {item.id for item in left} == {held_out[0].id}


def test_a_task_without_items_is_named():
    with pytest.raises(DataError, match="no held-out item for 'decision'"):
        tasks.select(parse({"name": "r", "evaluate": {"tasks": ["decision"]}}, "test"), [], [Example("a", "Q?", "A.")])


def test_a_choice_file_with_columns_of_its_own_is_read_by_a_mapping(tmp_path: Path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"stem": "Which drug?", "answers": ["oil", "aspirin"], "key": "B"}\n')
    columns = {"question": "stem", "options": "answers", "answer": "key"}
    (item,) = tasks.select(recipe(tasks=["choice"], choice_from=str(path), choice_columns=columns), [], ITEMS)["choice"]
    assert (item.question, item.options, item.label) == ("Which drug?", ("oil", "aspirin"), "B")


def choices(folder: Path, *changes: dict[str, object]) -> str:
    """A file with a row for each change of a good one."""
    path = folder / "own.jsonl"
    good = {"question": "Which drug?", "options": ["oil", "aspirin"], "answer": "B"}
    path.write_text("".join(json.dumps(good | {"id": f"q{i}"} | change) + "\n" for i, change in enumerate(changes)))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            [{"id": 1}, {}, {"id": 1, "question": "Why?"}],
            r"own.jsonl line 3: the id '1' is that of .*own.jsonl line 1;",
        ),
        ([{}, {"question": " "}, {"question": ""}], r"own.jsonl line 2: the question is empty \(also 3\);"),
        ([{}, {"options": ["oil", "oil", "gel"]}], r"own.jsonl line 2: two options have the same text;"),
        ([{"answer": 2}], r"line 1: .* numbers from 0 \(evaluate.choice_first_option = 1 if they begin at 1\)"),
    ],
)
def test_a_choice_file_that_cannot_be_judged_by_is_refused_with_the_lines(tmp_path: Path, changes, told: str):
    given = recipe(tasks=["choice"], choice_from=choices(tmp_path, *changes), limit=1)
    with pytest.raises(DataError, match=told):
        tasks.select(given, [], ITEMS)


def test_copies_of_a_question_are_one_item_and_counted(tmp_path: Path):
    rows = [{}, {"question": "WHICH  drug"}, {"options": ["aspirin", "oil"], "answer": "A"}, {"options": ["a", "b"]}]
    given = recipe(tasks=["choice"], choice_from=choices(tmp_path, *rows))
    assert sorted(item.id for item in tasks.select(given, [], ITEMS)["choice"]) == ["q0", "q3"]
    assert [(copy.id, first.id) for copy, first in tasks.copies(given.evaluate)["choice"]] == [
        ("q1", "q0"),
        ("q2", "q0"),
    ]
    assert tasks.copies(recipe().evaluate) == {}


def test_answers_of_a_choice_file_may_be_counted_from_one(tmp_path: Path):
    given = recipe(tasks=["choice"], choice_from=choices(tmp_path, {"answer": 2}), choice_first_option=1)
    assert tasks.select(given, [], ITEMS)["choice"][0].label == "B"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"question": "stem"}, r"no column 'stem' for question; .* \(map yours in evaluate.choice_columns\)"),
        ({"qestion": "question"}, "evaluate.choice_columns: unknown field 'qestion'; known: id, question, .*options"),
    ],
)
def test_columns_of_a_choice_file_are_told_with_their_setting(tmp_path: Path, columns: dict[str, str], told: str):
    given = recipe(tasks=["choice"], choice_from=choices(tmp_path, {}), choice_columns=columns)
    with pytest.raises(DataError, match=told):
        tasks.select(given, [], ITEMS)


def test_a_file_of_requests_without_their_column_is_told_what_it_needs(tmp_path: Path):
    (tmp_path / "harm.jsonl").write_text('{"request": "How do I lie?"}\n')
    with pytest.raises(DataError, match=r"no column 'prompt' for question; found: request .rename yours"):
        tasks.select(recipe(tasks=["safety"], safety_from=str(tmp_path / "harm.jsonl")), [], ITEMS)


CASE = {
    "id": "v1",
    "case": "A girl limps after a cold.",
    "diagnosis": "Transient synovitis",
    "aliases": ["irritable hip"],
}


def cases(folder: Path, *changes: dict[str, object]) -> str:
    path = folder / "cases.jsonl"
    path.write_text("".join(json.dumps(CASE | {"id": f"v{i}"} | change) + "\n" for i, change in enumerate(changes)))
    return str(path)


def test_cases_are_read_with_their_diagnosis_and_its_aliases(tmp_path: Path):
    given = recipe(tasks=["vignette-direct"], vignette_from=cases(tmp_path, {}))
    (item,) = tasks.select(given, [], ITEMS)["vignette-direct"]
    assert (item.question, item.answer, item.label) == (CASE["case"], "Transient synovitis", "Transient synovitis")
    assert item.accepted == ("Transient synovitis", "irritable hip")
    assert list(tasks.outside(given.evaluate)) == [given.evaluate.vignette_from]
    trained = [Example("t", CASE["case"].upper(), "Synovitis.")]
    with pytest.raises(DataError, match=r"every question of evaluate\.vignette_from was trained on"):
        tasks.select(given, trained, ITEMS)


def test_a_file_of_cases_with_columns_of_its_own_is_read_by_a_mapping(tmp_path: Path):
    path = tmp_path / "own.csv"
    path.write_text(
        'story,icd_name,also\n"A girl limps.",Transient synovitis,"[""irritable hip"", ""coxitis fugax""]"\n'
    )
    columns = {"question": "story", "answer": "icd_name", "aliases": "also"}
    given = recipe(tasks=["vignette-reason"], vignette_from=str(path), vignette_columns=columns)
    (item,) = tasks.select(given, [], ITEMS)["vignette-reason"]
    assert item.accepted == ("Transient synovitis", "irritable hip", "coxitis fugax")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([{}, {"case": " "}], "cases.jsonl line 2: the case is empty;"),
        ([{"diagnosis": "(?)"}], "cases.jsonl line 1: the diagnosis has no word;"),
        ([{"id": 1}, {"id": 1, "case": "A boy limps."}], "line 2: the id '1' is that of"),
    ],
)
def test_a_file_of_cases_that_cannot_be_judged_by_is_refused_with_the_lines(tmp_path: Path, changes, told: str):
    with pytest.raises(DataError, match=re.escape(told)):
        tasks.select(recipe(tasks=["vignette-direct"], vignette_from=cases(tmp_path, *changes)), [], ITEMS)


def test_a_column_of_cases_that_is_not_there_is_told_with_its_setting(tmp_path: Path):
    given = recipe(tasks=["vignette"], vignette_from=cases(tmp_path, {}), vignette_columns={"answer": "dx"})
    with pytest.raises(DataError, match=r"no column 'dx' for answer; .* \(map yours in evaluate.vignette_columns\)"):
        tasks.select(given, [], ITEMS)


def test_always_naming_the_commonest_diagnosis_is_the_baseline_of_cases(tmp_path: Path):
    changes = [
        {"case": f"Case {i}", "diagnosis": name} for i, name in enumerate(["Gout", "gout", "Anaemia", "Anemia", "GOUT"])
    ]
    given = recipe(tasks=["vignette-direct"], vignette_from=cases(tmp_path, *changes))
    items = tasks.select(given, [], ITEMS)["vignette-direct"]
    assert {tasks.baseline(task, items, given.evaluate) for task in ("vignette-direct", "vignette-reason")} == {0.6}
    assert tasks.baseline("vignette", items, given.evaluate) is None
    assert tasks.commonest(["Anemia", "Gout", "anaemia"]) == ("Anemia", pytest.approx(2 / 3))


def test_a_choice_file_without_rows_or_with_none_that_is_new_is_told_so(tmp_path: Path):
    path = tmp_path / "blank.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DataError, match=r"blank\.jsonl: holds no row"):
        tasks.select(recipe(tasks=["choice"], choice_from=str(path)), [], ITEMS)
    trained = [Example("t", "Which drug?", "B")]
    with pytest.raises(DataError, match=r"every question of evaluate\.choice_from was trained on"):
        tasks.select(recipe(tasks=["choice"], choice_from=choices(tmp_path, {})), trained, ITEMS)


def test_the_embedded_sets_are_asked_whole_and_what_is_written_is_limited_by_itself():
    asked = ["general", "instructions", "choice", "choice-direct", "decision-reason"]
    found = tasks.select(recipe(tasks=asked, limit=9, generate_limit=4), [], ITEMS)
    assert [len(found[name]) for name in asked] == [150, 65, 9, 4, 4]
    assert found["choice-direct"] == found["choice"][:4]


def test_harmful_requests_come_from_a_file_and_are_limited(tmp_path: Path):
    path = tmp_path / "harm.jsonl"
    path.write_text("".join(f'{{"id": {i}, "prompt": "How do I hurt patient {i}?"}}\n' for i in range(5)))
    given = recipe(tasks=["safety"], safety_from=str(path), limit=3)
    assert len(tasks.select(given, [], ITEMS)["safety"]) == 3
    assert list(tasks.outside(given.evaluate)) == [str(path)]


def test_baselines_are_chance_and_the_commonest_decision():
    cloze, letter = EvaluateSection(choice_scoring="cloze"), EvaluateSection(choice_scoring="letter")
    choices = [
        Example("a", "Q?", "x", options=("x", "y"), label="A"),
        Example("b", "Q?", "y", options=("w", "x", "y", "z"), label="C"),
    ]
    chance = pytest.approx((1 / 2 + 1 / 4) / 2)
    assert tasks.baseline("choice", choices, cloze) == tasks.baseline("general", choices, cloze) == chance
    assert tasks.baseline("choice", choices, letter) == tasks.baseline("choice-reason", choices, cloze) == 0.5
    assert tasks.baseline("decision-direct", [*ITEMS[:3], ITEMS[0]], cloze) == 0.5
    assert tasks.baseline("instructions", ITEMS, cloze) is None
    assert tasks.baseline("rouge", ITEMS, cloze) is None


def decisions(folder: Path) -> str:
    path = folder / "pqal.jsonl"
    row = {"CONTEXTS": ["It was tried."], "LABELS": ["METHODS"], "LONG_ANSWER": "So it is."}
    labels = ["yes", "no", "maybe", None]
    path.write_text(
        "".join(json.dumps({**row, "id": i, "QUESTION": f"Does {i} work?", "final_decision": label}) + "\n"
        for i, label in enumerate(labels))
    )  # fmt: skip
    return str(path)


def test_decisions_of_a_file_are_asked_where_one_is_named_and_none_that_was_trained_on(tmp_path: Path):
    given = recipe(tasks=["decision"], decision_from=decisions(tmp_path))
    found = tasks.select(given, [Example("t", "Does 1 work?", "No.")], ITEMS)["decision"]
    assert {item.question: item.label for item in found} == {"Does 0 work?": "yes", "Does 2 work?": "maybe"}
    assert {item.context for item in found} == {"METHODS: It was tried."}
    assert list(tasks.outside(given.evaluate)) == [given.evaluate.decision_from]


def test_decisions_are_asked_without_their_context_where_that_is_wanted(tmp_path: Path):
    given = recipe(tasks=["decision"], decision_from=decisions(tmp_path), decision_context=False)
    assert {item.context for item in tasks.select(given, [], [])["decision"]} == {""}


def test_only_the_subjects_that_are_named_are_asked(tmp_path: Path):
    path = choices(tmp_path, {"category": "Law"}, {"question": "Which law?", "category": "health"})
    (item,) = tasks.select(recipe(tasks=["choice"], choice_from=path, choice_subjects=["Health"]), [], ITEMS)["choice"]
    assert item.subject == "health"
    with pytest.raises(DataError, match=r"choice_subjects: 'physics' is no subject of .*own\.jsonl: Law, health$"):
        tasks.select(recipe(tasks=["choice"], choice_from=path, choice_subjects=["physics"]), [], ITEMS)


def test_the_demonstration_is_a_test_row_with_reasoning_where_there_is_one():
    reasoned = Example("r", "Why?", "Because.", reasoning="First.")
    assert tasks.demonstration([*ITEMS, reasoned], seed=1) == reasoned
    assert tasks.demonstration(ITEMS, seed=1) in ITEMS
