import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.data import prepare
from bedside.data.clean import clean, fault
from bedside.data.split import SPLITS, Split
from bedside.errors import CheckFailed, DataError
from bedside.files import read_jsonl
from bedside.recipe import DataSection
from bedside.records import Example, Message

FACTS = ("heart", "lung", "liver", "brain", "spine", "ankle", "femur", "aorta", "pupil", "colon", "gland", "nerve")
VIGNETTE = (
    "A 54-year-old farmer with gout and asthma comes to the clinic with a painful red knee since Tuesday. His"
    " temperature is 38.4 degrees, the joint is warm and swollen, and aspiration yields cloudy fluid with many"
    " neutrophils but no crystals. Which organism is the most likely cause of his condition?"
)


def rows(n: int, start: int = 0) -> list[Example]:
    """Rows that have too little in common to be copies of each other."""
    return [
        Example(str(i), f"Which {FACTS[i % 12]} sign has number {i}?", f"Sign {i} it is.", where=f"row {i}")
        for i in range(start, start + n)
    ]


class Stage:
    """A prepared folder, read back."""

    def __init__(
        self, folder: Path, examples: Iterable[Example], seed: int, sets: Any, documents: Any, settings: dict[str, Any]
    ) -> None:
        section = DataSection.model_validate({"split": (1, 0, 0), "on_empty": "drop", **settings})
        self.folder = folder
        self.prepared = prepare.prepare(examples, section, seed, folder, sets, documents)
        self.stats = self.prepared.statistics.to_json(self.prepared.contamination)

    def split(self, name: Split) -> list[Example]:
        return prepare.load(self.folder, name)

    @property
    def kept(self) -> list[Example]:
        return [example for name in SPLITS for example in self.split(name)]

    @property
    def dropped(self) -> list[tuple[str, str]]:
        return [(row["id"], row["reason"]) for _, row in read_jsonl(self.folder / "dropped.jsonl")]


@pytest.fixture
def prepared(tmp_path: Path) -> Any:
    """`prepared(examples, seed=1, sets=None, documents=None, **settings of [data])`"""
    count = iter(range(1000))

    def make(
        examples: Iterable[Example], seed: int = 1, sets: Any = None, documents: Any = None, **settings: Any
    ) -> Stage:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return Stage(folder, examples, seed, sets, documents, settings)

    return make


EXAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["Why?", "why", "How?", "", " ", "β?", "A\u200bB", "<b>x</b>", VIGNETTE]) | st.text(max_size=6),
        st.sampled_from(["So it is.", "so  IT is.", "", "\n", "Yes", "caf\ufffd or not"]) | st.text(max_size=6),
        st.sampled_from(["", "Here."]),
    ),
    max_size=25,
).map(lambda found: [Example(str(i), q, a, context=c, where=f"row {i}") for i, (q, a, c) in enumerate(found)])


@settings(max_examples=60)
@given(examples=EXAMPLES, limit=st.none() | st.integers(1, 10), seed=st.integers(0, 5))
def test_every_row_that_was_read_is_kept_or_dropped_with_its_reason_and_place(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example], limit: int | None, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("stage")
    if not any(not fault(clean(example)[0], DataSection()) for example in examples):
        with pytest.raises(DataError, match="no usable row"):
            Stage(folder, examples, seed, None, None, {"limit": limit})
        assert list(folder.iterdir()) == []
        return
    stage = Stage(folder, examples, seed, None, None, {"limit": limit})
    assert sorted([e.id for e in stage.kept] + [name for name, _ in stage.dropped]) == sorted(e.id for e in examples)
    assert stage.stats["read"] == len(examples) == stage.stats["kept"] + sum(stage.stats["dropped"].values())
    assert all(reason for _, reason in stage.dropped)
    assert all(row["where"] for _, row in read_jsonl(folder / "dropped.jsonl"))
    assert all(e.question.strip() and e.answer.strip() for e in stage.kept)
    assert limit is None or len(stage.kept) <= limit


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("x", "", "An answer."), "empty question"),
        (Example("x", " \n", "An answer."), "empty question"),
        (Example("x", "Q?", " "), "empty answer"),
        (Example("x", "Q?", "Aspirin"), "one-word answer"),
        (Example("x", " which heart  SIGN has number 0? ", "SIGN 0 it is."), "duplicate"),
    ],
)
def test_a_row_that_cannot_be_used_is_dropped_with_its_reason(prepared: Any, example: Example, reason: str) -> None:
    assert prepared([*rows(3), example]).dropped == [("x", reason)]


@pytest.mark.parametrize("empty", ["", " \n", "&nbsp;", "\u200b\ufeff", "<p></p>"])
@pytest.mark.parametrize("field", ["question", "answer"])
def test_a_row_that_is_empty_once_it_is_mended_stops_the_stage_with_its_line(
    prepared: Any, tmp_path: Path, field: str, empty: str
) -> None:
    broken = replace(Example("x", "Why?", "An answer.", where="rows.csv line 7"), **{field: empty})
    with pytest.raises(DataError) as caught:
        prepared([*rows(3), broken], on_empty="fail")
    mend = "mend it, or leave such rows out with data.on_empty = 'drop'"
    assert str(caught.value) == f"rows.csv line 7: the {field} is empty; {mend}"
    assert list((tmp_path / "0").iterdir()) == []
    assert prepared([*rows(3), broken]).dropped == [("x", f"empty {field}")]


def test_rows_are_mended_and_it_is_counted(prepared: Any) -> None:
    stage = prepared([Example("1", "What  helps?", "Rest &amp; ice.")])
    assert [(e.question, e.answer) for e in stage.kept] == [("What helps?", "Rest & ice.")]
    assert stage.stats["changed"] == {"whitespace": 1, "html": 1}


@pytest.mark.parametrize(
    "change",
    [{"context": "Another trial."}, {"answer": "Another answer."}, {"history": (Message("user", "Before."),)}],
)
def test_the_same_question_is_no_duplicate_where_something_else_differs(prepared: Any, change: dict[str, Any]) -> None:
    first = rows(1)[0]
    assert prepared([first, replace(first, id="other", **change)]).dropped == []


def test_a_sign_is_enough_to_tell_two_rows_apart(prepared: Any) -> None:
    assert prepared([Example("p", "HLA-B27 +", "It is so."), Example("n", "HLA-B27 -", "It is so.")]).dropped == []


def test_a_reworded_copy_is_a_near_duplicate_unless_only_exact_ones_count(prepared: Any) -> None:
    first = Example("a", VIGNETTE, "Staphylococcus aureus is the commonest cause.")
    copy = replace(first, id="b", question=VIGNETTE.replace("Tuesday", "Friday").upper())
    assert prepared([*rows(3), first, copy]).dropped == [("b", "near duplicate")]
    assert prepared([*rows(3), first, copy], near_duplicates=1.0).dropped == []


def test_a_copy_with_another_label_is_told_apart_from_a_harmless_one(prepared: Any) -> None:
    first = Example("a", VIGNETTE, "Yes. " + VIGNETTE, label="yes", where="row a")
    said = [replace(first, id=name, label=name, where=f"row {name}") for name in ("no", "maybe")]
    near = replace(first, id="near", label="no", answer="No. " + VIGNETTE, where="row near")
    beside = replace(near, id="beside", question=VIGNETTE.replace("Tuesday", "Friday"))
    stage = prepared([*rows(3), first, *said, near, beside, replace(first, id="copy")])
    assert sorted(stage.dropped) == [
        ("beside", "near duplicate"), ("copy", "duplicate"),
        *((name, "copy with another label") for name in ("maybe", "near", "no")),
    ]  # fmt: skip
    told = [(one["row"], one["says"], one["kept"], one["kept_says"]) for one in stage.stats["contradictions"]]
    assert told == [(f"row {name}", says, "row a", "yes") for name, says in (("no", "no"), ("maybe", "maybe"), ("near", "no"))]  # fmt: skip
    assert {line["of"] for _, line in read_jsonl(stage.folder / "dropped.jsonl")} == {"row a"}


@pytest.mark.parametrize(
    "other",
    [
        {"question": "Is tyrosinemia inherited?"},
        {"answer": "No, it is acquired, and nobody in the family needs to be told or tested because of it."},
    ],
    ids=["another question", "another answer"],
)
def test_rows_that_share_one_half_alone_are_no_copies(prepared: Any, other: dict[str, Any]) -> None:
    boilerplate = (
        "This condition is inherited in an autosomal recessive pattern, so both copies of the gene are changed."
    )
    first = Example("1", "Is alpha-mannosidosis inherited?", boilerplate)
    assert prepared([first, replace(first, id="2", **other)]).dropped == []


def test_two_rows_with_one_id_are_refused_with_both_places(prepared: Any) -> None:
    first, second = rows(2)
    with pytest.raises(DataError, match=r"^row 1: id '0' is taken by row 0"):
        prepared([first, replace(second, id="0")])


@pytest.mark.parametrize(("limit", "kept"), [(10, 10), (50, 50), (1000, 50)])
def test_limit_draws_that_many_rows_by_seed(prepared: Any, limit: int, kept: int) -> None:
    stage = prepared(rows(50), limit=limit)
    assert len(stage.kept) == kept
    assert [reason for _, reason in stage.dropped] == ["over data.limit"] * (50 - kept)
    again = prepared(reversed(rows(50)), limit=limit)
    assert {e.id for e in again.kept} == {e.id for e in stage.kept}
    if kept < 50:
        assert {e.id for e in prepared(rows(50), seed=2, limit=limit).kept} != {e.id for e in stage.kept}


def test_a_split_that_is_asked_for_but_empty_is_an_error_that_leaves_nothing(prepared: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows leave split '\w+' empty at data.split = \[0.8, 0.1, 0.1\]; use more"):
        prepared(rows(2), split=(0.8, 0.1, 0.1), path="rows.csv")
    assert list((tmp_path / "0").iterdir()) == []


def test_no_rows_at_all_are_an_error(prepared: Any) -> None:
    with pytest.raises(DataError, match=r"rows.csv: no usable row"):
        prepared([], path="rows.csv")


def test_a_stage_that_was_killed_is_made_anew(prepared: Any, tmp_path: Path) -> None:
    (tmp_path / "0" / ".work").mkdir(parents=True)
    (tmp_path / "0" / ".work" / "rows").write_text("half a r")
    folder = tmp_path / "0"
    prepare.prepare(rows(3), DataSection(split=(1, 0, 0)), 1, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "dropped.jsonl",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]


def test_a_row_comes_back_as_it_was(prepared: Any) -> None:
    full = Example(
        "f",
        "Why so?",
        "It is.",
        "Since.",
        "C.",
        "yes",
        ("one", "two"),
        "renal",
        (Message("system", "Kind."),),
        "g",
        "row",
    )
    assert prepared([full]).kept == [full]


PLANTED = Example("p", f"Consider this case. {VIGNETTE.upper()}", "Staphylococcus aureus.", where="rows.jsonl line 9")


def evaluation() -> dict[str, Sequence[tuple[str, str]]]:
    return {"medqa": [("q1", VIGNETTE), ("q2", "Which nerve is at risk when the neck of the fibula breaks?")]}


def test_a_training_row_that_contains_an_evaluation_item_is_dropped_and_shown(prepared: Any) -> None:
    stage = prepared([*rows(5), PLANTED], sets=evaluation())
    assert stage.dropped == [("p", "contains an item of medqa")]
    [found, own] = stage.stats["contamination"]
    assert (found["set"], found["items"], found["rows"], found["hit_items"], found["action"]) == (
        "medqa",
        2,
        1,
        1,
        "drop",
    )
    assert (found["pairs"][0]["train_id"], found["pairs"][0]["item_id"]) == ("p", "q1")
    assert (own["set"], own["rows"]) == ("the test split", 0)


def test_contamination_may_be_reported_alone(prepared: Any) -> None:
    stage = prepared([*rows(5), PLANTED], sets=evaluation(), decontaminate="report")
    assert stage.dropped == []
    assert stage.stats["contamination"][0]["rows"] == 1


def test_what_stands_in_the_documents_is_told_and_kept(prepared: Any) -> None:
    stage = prepared([*rows(5), PLANTED], documents=evaluation())
    assert stage.dropped == []
    told = stage.stats["contamination"][-1]
    assert (told["set"], told["rows"], told["action"]) == ("medqa", 1, "report")


def test_contamination_may_be_a_failure_that_leaves_nothing(prepared: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"^rows.jsonl line 9: contains item 'q1' of medqa; take the row out"):
        prepared([*rows(5), PLANTED], sets=evaluation(), decontaminate="fail")
    assert list((tmp_path / "0").iterdir()) == []


def test_no_training_row_contains_a_test_row(prepared: Any) -> None:
    reworded = VIGNETTE.replace("comes to the clinic", "presents").replace("many neutrophils", "neutrophils")
    for seed in range(12):
        pair = [
            Example("a", VIGNETTE, "One cause."),
            Example("b", f"{reworded} Explain.", "Quite another answer here."),
        ]
        stage = prepared([*rows(30), *pair], seed=seed, split=(0.6, 0.0, 0.4))
        trained, tested = ({e.id for e in stage.split(name)} & {"a", "b"} for name in ("train", "test"))
        assert not (trained and tested)


def test_the_statistics_are_plain_json(prepared: Any) -> None:
    assert json.loads(json.dumps(prepared(rows(4)).stats))["splits"] == {"train": 4, "validation": 0, "test": 0}


def test_the_same_stem_with_other_options_is_another_question(prepared: Any) -> None:
    one = Example("1", "Which of the following is true?", "D. All of the above", options=("a b", "c d", "e f"))
    assert prepared([one, replace(one, id="2", options=("g h", "i j", "k l"))]).dropped == []


def test_an_official_test_row_is_neither_drawn_away_nor_thinned_out(prepared: Any, tmp_path: Path) -> None:
    first = Example("a", VIGNETTE, "Staphylococcus aureus is the commonest cause.")
    copy = replace(first, id="b", question=VIGNETTE.replace("Tuesday", "Friday"))
    (tmp_path / "ids.txt").write_text("b\n7\n")
    stage = prepared([*rows(30), first, copy], limit=9, test_ids=str(tmp_path / "ids.txt"), split=(1, 0, 0))
    assert {e.id for e in stage.split("test")} == {"b", "7"}


@pytest.mark.parametrize("official", ["test", "validation"])
@pytest.mark.parametrize("between", [3, prepare.CHUNK + 3])
def test_an_official_row_is_kept_wherever_its_copies_stand(
    prepared: Any, tmp_path: Path, official: str, between: int
) -> None:
    row = Example("o", "Which vein is the longest?", "The great saphenous vein.", where="row o")
    before, after = (replace(row, id=name, question=row.question.upper(), where=f"row {name}") for name in "be")
    (tmp_path / "ids.txt").write_text("o\n")
    stage = prepared([before, *rows(between), row, after], **{f"{official}_ids": str(tmp_path / "ids.txt")})
    assert [e.id for e in stage.split(official)] == ["o"]
    assert sorted(stage.dropped) == [("b", "duplicate"), ("e", "duplicate")]
    assert {line["of"] for _, line in read_jsonl(stage.folder / "dropped.jsonl")} == {"row o"}


def test_official_rows_that_say_the_same_all_stay_and_a_doubled_line_does_not(prepared: Any, tmp_path: Path) -> None:
    row = Example("o", "Which vein is the longest?", "The great saphenous vein.")
    (tmp_path / "test.txt").write_text("o\np\n")
    (tmp_path / "validation.txt").write_text("q\n")
    files = {name: str(tmp_path / f"{name.removesuffix('_ids')}.txt") for name in ("test_ids", "validation_ids")}
    stage = prepared([*rows(3), row, row, *(replace(row, id=name) for name in "pq")], **files)
    assert ([e.id for e in stage.split("test")], [e.id for e in stage.split("validation")]) == (["o", "p"], ["q"])
    assert stage.dropped == [("o", "duplicate")]


@pytest.mark.parametrize("official", ["test", "validation"])
def test_no_near_copy_of_an_official_row_is_trained_on(prepared: Any, tmp_path: Path, official: str) -> None:
    row = Example("o", VIGNETTE, "Staphylococcus aureus is the commonest cause.", where="row o")
    before, after = (replace(row, id=day, question=VIGNETTE.replace("Tuesday", day)) for day in ("Friday", "Monday"))
    other = replace(row, id="p", question=VIGNETTE.replace("Tuesday", "Sunday"))
    (tmp_path / "ids.txt").write_text("o\np\n")
    ids = {f"{official}_ids": str(tmp_path / "ids.txt")}
    stage = prepared([before, *rows(9), row, after, other], decontaminate="report", **ids)
    assert [e.id for e in stage.split(official)] == ["o", "p"]
    assert stage.dropped == [("Friday", "near duplicate"), ("Monday", "near duplicate")]


def test_what_shares_question_or_group_with_an_official_row_is_in_no_split(prepared: Any, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("o\n")
    official = Example("o", "Which vein is longest?", "The great saphenous vein.", group="g")
    asked = Example("a", "which VEIN is longest", "It runs from foot to groin.")
    grouped = Example("h", "Which artery is widest?", "The aorta it is.", group="g")
    stage = prepared([asked, *rows(20), official, grouped], test_ids=str(tmp_path / "ids.txt"), split=(0.8, 0.2, 0))
    assert [e.id for e in stage.split("test")] == ["o"]
    assert sorted(stage.dropped) == [
        ("a", "question or group of an official row"),
        ("h", "question or group of an official row"),
    ]


def test_ids_that_are_in_no_row_are_counted(prepared: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("0\n700\n701\n")
    prepared(rows(9), test_ids=str(path))
    assert f"data: {path}: 2 of its 3 ids are in no usable row" in capsys.readouterr().err.splitlines()
    path.write_text("0\n")
    prepared(rows(9), test_ids=str(path))
    assert str(path) not in capsys.readouterr().err


def test_a_row_that_is_left_out_for_another_names_it(prepared: Any) -> None:
    first = replace(PLANTED, id="a", question=VIGNETTE, where="row a")
    copies = [replace(first, id="b"), replace(first, id="c", question=VIGNETTE.replace("Tuesday", "Friday"))]
    stage = prepared([*rows(3), first, *copies])
    assert {line["id"]: line["of"] for _, line in read_jsonl(stage.folder / "dropped.jsonl")} == {
        "b": "row a",
        "c": "row a",
    }
    stage = prepared([*rows(3), first], sets=evaluation())
    assert [line["of"] for _, line in read_jsonl(stage.folder / "dropped.jsonl")] == ["q1"]
