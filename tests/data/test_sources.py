import json
from pathlib import Path
from typing import Any

import pytest

from bedside.data import sources
from bedside.data.contamination import Detector, trained
from bedside.errors import DataError
from bedside.recipe import DataSection
from bedside.records import Example, Message

O1 = {"Question": " Q? ", "Complex_CoT": "Because.", "Response": "A."}
PUBMEDQA = {
    "QUESTION": "Did it work?",
    "CONTEXTS": ["A trial.", "It worked."],
    "LABELS": ["METHODS", "RESULTS"],
    "LONG_ANSWER": "It did.",
    "final_decision": "Yes",
}
PUBMEDQA_HUB = {
    "pubid": 123,
    "question": "Did it work?",
    "context": {"contexts": ["A trial.", "It worked."], "labels": ["METHODS", "RESULTS"], "meshes": ["Humans"]},
    "long_answer": "It did.",
    "final_decision": "yes",
}
CARD = {"instruction": "Answer truthfully.", "input": "Q?", "output": "A."}
MCQ = {"question": "Which?", "options": {"A": "Artery", "B": "Vein"}, "answer": "B"}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "<think>Hm.</think>So."},
    ]
}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(folder: Path, source: str, *rows: dict[str, Any], **settings: Any) -> list[Example]:
    section = DataSection.model_validate({"source": source, "path": write(folder, *rows), **settings})
    return list(sources.read(section))


def refusal(folder: Path, source: str, *rows: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, source, *rows, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "row", "expected"),
    [
        ("medical-o1", O1, {"question": "Q?", "reasoning": "Because.", "answer": "A."}),
        (
            "pubmedqa",
            {"id": "77", **PUBMEDQA},
            {
                "id": "77",
                "question": "Did it work?",
                "context": "METHODS: A trial.\nRESULTS: It worked.",
                "label": "yes",
                "answer": "Yes. It did.",
            },
        ),
        (
            "pubmedqa",
            PUBMEDQA_HUB,
            {
                "id": "123",
                "question": "Did it work?",
                "context": "METHODS: A trial.\nRESULTS: It worked.",
                "label": "yes",
                "answer": "Yes. It did.",
            },
        ),
        ("flashcards", CARD, {"question": "Q?", "answer": "A.", "reasoning": ""}),
        ("flashcards", {**CARD, "input": "  "}, {"question": "Answer truthfully.", "answer": "A."}),
        ("mcq", MCQ, {"question": "Which?", "options": ("Artery", "Vein"), "label": "B", "answer": "B. Vein"}),
        (
            "vignette",
            {"case": "A girl limps. ", "diagnosis": "Gout ", "aliases": ["podagra", " "]},
            {"question": "A girl limps.", "answer": "Gout", "label": "Gout", "accepted": ("Gout", "podagra")},
        ),
        ("vignette", {"case": "She limps.", "diagnosis": "Gout", "aliases": None}, {"accepted": ("Gout",)}),
        (
            "chat",
            CHAT,
            {
                "question": "Why?",
                "reasoning": "Hm.",
                "answer": "So.",
                "history": (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello")),
            },
        ),
        (
            "starter",
            {"id": "1", "specialty": "renal", "question": "Q?", "answer": "It is.", "decision": "yes", "context": "C"},
            {"id": "1", "subject": "renal", "answer": "Yes. It is.", "label": "yes", "context": "C"},
        ),
    ],
)
def test_each_source_becomes_the_same_record(
    tmp_path: Path, source: str, row: dict[str, Any], expected: dict[str, Any]
) -> None:
    [example] = read(tmp_path, source, row)
    assert {name: getattr(example, name) for name in expected} == expected
    assert example.id


def test_the_place_of_a_row_is_kept(tmp_path: Path) -> None:
    assert [e.where for e in read(tmp_path, "medical-o1", O1, O1)] == [
        f"{tmp_path}/rows.jsonl line {n}" for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("source", "row", "column"),
    [
        ("medical-o1", O1, "Question"),
        ("medical-o1", O1, "Response"),
        ("pubmedqa", PUBMEDQA, "CONTEXTS"),
        ("pubmedqa", PUBMEDQA_HUB, "long_answer"),
        ("flashcards", CARD, "input"),
        ("mcq", MCQ, "options"),
        ("mcq", MCQ, "answer"),
        ("chat", CHAT, "messages"),
    ],
)
def test_a_lacking_column_is_named_with_those_that_were_found(
    tmp_path: Path, source: str, row: dict[str, Any], column: str
) -> None:
    rest = {name: value for name, value in row.items() if name != column} | {"colour": "red"}
    said = refusal(tmp_path, source, rest)
    assert said.startswith(f"{tmp_path}/rows.jsonl line 1: no column '{column}' for ")
    assert "colour" in said
    assert "data.columns" in said


def test_a_persons_own_columns_are_mapped(tmp_path: Path) -> None:
    columns = {"question": "prompt", "answer": "reply", "reasoning": "why", "label": "verdict", "id": "number"}
    row = {"prompt": "Q?", "reply": "A.", "why": "Hm.", "verdict": " YES ", "number": 5}
    [example] = read(tmp_path, "medical-o1", row, columns=columns)
    assert (example.id, example.question, example.answer, example.reasoning, example.label) == (
        "5",
        "Q?",
        "A.",
        "Hm.",
        "yes",
    )


def test_a_label_can_be_mapped_onto_flashcards(tmp_path: Path) -> None:
    [example] = read(tmp_path, "flashcards", {**CARD, "verdict": "no", "n": 3}, columns={"label": "verdict", "id": "n"})
    assert (example.label, example.id) == ("no", "3")


def test_an_unknown_field_in_the_mapping_is_named(tmp_path: Path) -> None:
    assert "data.columns: unknown field 'reply'; known: id, question" in refusal(
        tmp_path, "medical-o1", O1, columns={"reply": "x"}
    )


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_a_row_without_an_answer_is_for_the_cleaning_to_judge(tmp_path: Path, empty: str | None) -> None:
    assert [example.answer for example in read(tmp_path, "medical-o1", {**O1, "Response": empty}, O1)] == ["", "A."]


def test_reasoning_that_never_ends_leaves_no_answer(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "<think>Hm, so it is"}]}
    assert [example.answer for example in read(tmp_path, "chat", row)] == [""]


@pytest.mark.parametrize(
    ("options", "answer", "label"),
    [
        ({"A": "Artery", "B": "Vein"}, "B", "B"),
        ({"A": "Artery", "B": "Vein"}, " b ", "B"),
        ({"B": "Vein", "A": "Artery"}, "B", "B"),
        ({"A": "Artery", "B": "Vein", "C": None}, "B", "B"),
        (["Artery", "Vein"], 1, "B"),
        (["Artery", "Vein"], "Vein", "B"),
        ('["Artery", "Vein"]', "Vein", "B"),
        (["B", "A"], "B", "A"),  # a text that is an option wins over a letter
        ([12, 15], "15", "B"),
    ],
)
def test_the_right_option_is_found_by_letter_index_or_text(
    tmp_path: Path, options: Any, answer: Any, label: str
) -> None:
    [example] = read(tmp_path, "mcq", {"question": "Which?", "options": options, "answer": answer})
    assert example.label == label
    assert len(example.options) == 2
    assert example.answer == f"{label}. {example.options['AB'.index(label)]}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "C"}, "the answer is none of the options' letters, texts, or numbers from 0"),
        ({"answer": 2}, "the answer is none of"),
        ({"answer": -1}, "the answer is none of"),
        ({"answer": True}, "the answer is none of"),
        ({"answer": ""}, "the answer is none of"),
        ({"answer": None}, "the answer is none of"),
        ({"options": ["one"]}, "1 options; want 2 to 10"),
        ({"options": None}, "0 options; want 2 to 10"),
        ({"options": "A. one B. two"}, "the options are one text; want a list of 2 to 10"),
        ({"options": '["one"]'}, "1 options; want 2 to 10"),
        ({"options": list("abcdefghijk")}, "11 options; want 2 to 10"),
        ({"options": {"A": "Vein", "B": None, "C": "Nerve"}}, "option B is empty"),
        ({"options": ["Vein", " "]}, "option B is empty"),
    ],
)
def test_an_impossible_choice_is_refused_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert f"line 1: {message}" in refusal(tmp_path, "mcq", {**MCQ, **change})


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "human", "content": "Q?"}, {"role": "assistant", "content": "A."}], "unknown role 'human'"),
        ([{"role": "user", "content": "Q?"}], "the last two messages must be user, then assistant"),
        ([], "the last two messages must be user, then assistant"),
        ([{"role": "assistant", "content": "A."}, {"role": "user", "content": "Q?"}], "must be user, then assistant"),
        ([{"from": "human", "value": "Q?"}], "each message needs 'role' and 'content'"),
        ("text", "each message needs 'role' and 'content'"),
        (None, "each message needs 'role' and 'content'"),
        ([{"role": "user", "content": [{"type": "text", "text": "Q?"}]}], "each message needs 'role' and 'content'"),
    ],
)
def test_a_broken_conversation_is_refused_with_its_line(tmp_path: Path, messages: Any, message: str) -> None:
    said = refusal(tmp_path, "chat", {"messages": messages})
    assert said.startswith(f"{tmp_path}/rows.jsonl line 1: ")
    assert message in said


def test_a_decision_other_than_yes_no_maybe_is_refused(tmp_path: Path) -> None:
    assert "line 1: the label is no decision; want one of yes, no, maybe" in refusal(
        tmp_path, "pubmedqa", {**PUBMEDQA, "final_decision": "perhaps"}
    )


@pytest.mark.parametrize("contexts", [None, []])
def test_a_row_without_context_has_none(tmp_path: Path, contexts: Any) -> None:
    [example] = read(tmp_path, "pubmedqa", {**PUBMEDQA, "CONTEXTS": contexts, "LABELS": None})
    assert example.context == ""


def test_contexts_without_their_headings_stand_alone(tmp_path: Path) -> None:
    [example] = read(tmp_path, "pubmedqa", {**PUBMEDQA, "LABELS": ["METHODS"]})
    assert example.context == "A trial.\nIt worked."


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("chat", [CHAT, {"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"][1:]]}]),
        ("mcq", [MCQ, {**MCQ, "options": ["Nerve", "Vein"]}]),
        ("pubmedqa", [PUBMEDQA, {**PUBMEDQA, "CONTEXTS": ["Another trial.", "So."]}]),
        ("medical-o1", [{**O1, "context": "One."}, {**O1, "context": "Two."}]),
    ],
)
def test_rows_that_differ_anywhere_get_ids_that_differ(tmp_path: Path, source: str, rows: list[dict[str, Any]]) -> None:
    first, second = read(tmp_path, source, *rows)
    assert first.id != second.id
    assert [example.id for example in read(tmp_path, source, *rows)] == [first.id, second.id]


@pytest.mark.parametrize("source", ["mcq", "chat"])
def test_a_source_without_a_home_asks_for_a_path(source: str) -> None:
    message = f"data.source = '{source}' needs data.path"
    with pytest.raises(DataError, match=message):
        list(sources.read(DataSection.model_validate({"source": source})))
    with pytest.raises(DataError, match=message):
        sources.fingerprint(None, source)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, ("FreedomIntelligence/medical-o1-reasoning-SFT", "en")),
        ({"subset": "zh"}, ("FreedomIntelligence/medical-o1-reasoning-SFT", "zh")),
        ({"path": "me/mine"}, ("me/mine", None)),
        ({"path": "me/mine", "subset": "x"}, ("me/mine", "x")),
    ],
)
def test_the_sources_own_subset_is_asked_of_its_own_data_set_only(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], asked: tuple[str, str | None]
) -> None:
    seen: list[tuple[str, str | None]] = []
    monkeypatch.setattr(sources, "read_path", lambda path, subset: seen.append((path, subset)) or [])
    assert list(sources.read(DataSection.model_validate({"source": "medical-o1", **settings}))) == []
    assert seen == [asked]


def test_held_out_choices_are_read_by_name_or_from_a_file(tmp_path: Path) -> None:
    assert len(sources.read_choices("starter")) >= 60
    assert [item.label for item in sources.read_choices(write(tmp_path, MCQ))] == ["B"]


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"text": "A passage."}, ["A passage."]),
        (O1, ["Q?"]),
        (CARD, ["Q?"]),
        ({**CARD, "input": ""}, ["Answer truthfully."]),
        (MCQ, ["Which?\nArtery\nVein", "Which?"]),
        ({"question": "Which?", "choices": ["Artery", "Vein"], "answer": 1}, ["Which?\nArtery\nVein", "Which?"]),
        ({"question": "Which?", "options": '["Artery", "Vein"]'}, ["Which?\nArtery\nVein", "Which?"]),
        ({"question": "Which?", "opa": "1", "opb": "2", "opc": "3", "opd": "4"}, ["Which?\n1\n2\n3\n4", "Which?"]),
        (PUBMEDQA, ["Did it work?", "A trial.\nIt worked."]),
        (PUBMEDQA_HUB, ["Did it work?", "A trial.\nIt worked."]),
        ({"question": "Q?", "context": "A trial."}, ["Q?", "A trial."]),
        (CHAT, ["Why?", "Hi"]),
    ],
)
def test_a_row_of_any_shape_is_compared_as_a_test_row_would_be(
    tmp_path: Path, row: dict[str, Any], texts: list[str]
) -> None:
    path = write(tmp_path, {**row, "ID": "x"}, row)
    assert list(sources.read_texts(path)) == [(key, text) for key in ("x", f"{path} line 2") for text in texts]


def test_a_row_with_nothing_to_compare_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"rows.jsonl line 2: nothing to compare in question, input, .* found: title, text"
    ):
        list(sources.read_texts(write(tmp_path, {"text": "A."}, {"Title": "B", "text": " "})))


def test_a_planted_question_of_a_file_is_found_by_its_options(tmp_path: Path) -> None:
    options = ["Bartonella henselae", "Coxiella burnetii", "Francisella tularensis", "Yersinia pestis"]
    row = {"question": "Which of the following is right about it?", "options": options, "answer": "A"}
    stem, other = (Example(i, row["question"], "A", options=tuple(o)) for i, o in enumerate((options, "wxyz")))
    detector = Detector({"file": list(sources.read_texts(write(tmp_path, row)))})
    assert [bool(detector.check(*trained(example))) for example in (stem, other)] == [True, False]


def test_a_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    path = write(tmp_path, O1)
    before = sources.fingerprint(path, "medical-o1")
    assert list(before) == [path]
    assert sources.fingerprint(str(tmp_path), "medical-o1") == {f"{tmp_path}/rows.jsonl": before[path]}
    write(tmp_path, O1, O1)
    assert sources.fingerprint(path, "medical-o1") != before
    assert sources.fingerprint("org/name", "medical-o1") == {"org/name": "hub"}


@pytest.mark.parametrize(
    ("source", "path", "n"),
    [
        ("medical-o1", "medical_o1/medical_o1_long.jsonl", 198),
        ("medical-o1", "medical_o1/medmcqa_short_cot.jsonl", 2355),
        ("flashcards", "flashcards/wikidoc_patient.jsonl", 5841),
        ("flashcards", "flashcards/medquad_short.jsonl", 5417),
        ("pubmedqa", "pubmedqa/ori_pqal_train500.json", 500),
        ("mcq", "mcq/medqa_train_dev.jsonl", 1261),
    ],
)
def test_every_row_of_the_published_sets_is_read(shared_data: Path, source: str, path: str, n: int) -> None:
    section = DataSection.model_validate({"source": source, "path": str(shared_data / path), "on_empty": "drop"})
    assert sum(1 for _ in sources.read(section)) == n


@pytest.mark.parametrize(("value", "kind"), [(True, "true or false"), (["a"], "a list"), ({"a": 1}, "an object")])
def test_a_column_that_holds_no_text_is_refused(tmp_path: Path, value: Any, kind: str) -> None:
    assert f"line 1: column 'Response' holds {kind}, wanted text" in refusal(
        tmp_path, "medical-o1", {**O1, "Response": value}
    )


def test_a_number_is_text(tmp_path: Path) -> None:
    assert read(tmp_path, "medical-o1", {**O1, "Response": 5})[0].answer == "5"


def test_bytes_are_no_text(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{**O1, "Response": b"Rest."}]), path)
    with pytest.raises(DataError, match="column 'Response' holds bytes, wanted text"):
        list(sources.read(DataSection(source="medical-o1", path=str(path))))


def test_a_column_name_over_two_lines_is_told_in_one(tmp_path: Path) -> None:
    assert "found: Ques tion" in refusal(tmp_path, "medical-o1", {"Ques\ntion": "x"})


def test_a_mapped_column_that_the_file_has_not_is_named_with_the_nearest(tmp_path: Path) -> None:
    rows = [{**O1, "thoughts": "Hm."}] * 2
    said = refusal(tmp_path, "medical-o1", *rows, columns={"reasoning": "thoghts"})
    assert said == (
        f"{tmp_path}/rows.jsonl line 1: no column 'thoghts' for reasoning; did you mean 'thoughts'?"
        " found: Question, Complex_CoT, Response, thoughts (map yours in data.columns)"
    )


def test_a_needed_column_has_its_nearest_name_told(tmp_path: Path) -> None:
    row = {"Question": "Q?", "Responses": "A."}
    assert "no column 'Response' for answer; did you mean 'Responses'?" in refusal(tmp_path, "medical-o1", row)


def test_a_mapped_column_may_be_null_or_lacking_in_a_later_row(tmp_path: Path) -> None:
    rows = [{"Question": "Q?", "Response": "A.", "why": None}, {"Question": "R?", "Response": "B."}]
    found = read(tmp_path, "medical-o1", *rows, columns={"reasoning": "why"})
    assert [example.reasoning for example in found] == ["", ""]


def test_a_column_inside_pubmedqas_context_may_be_mapped(tmp_path: Path) -> None:
    [example] = read(
        tmp_path, "pubmedqa", PUBMEDQA_HUB, columns={"id": "pubid", "group": "long_answer", "label": "meshes"}
    )
    assert example.id == "123"


@pytest.mark.parametrize("name", ["Complex_Cot", "complex_cot", "COMPLEX_COT"])
def test_a_column_is_found_whatever_its_case(tmp_path: Path, name: str) -> None:
    [example] = read(tmp_path, "medical-o1", {"question": "Q?", name: "Because.", "RESPONSE": "A."})
    assert (example.question, example.reasoning, example.answer) == ("Q?", "Because.", "A.")


def test_of_columns_that_differ_in_case_the_exact_one_is_read_and_else_none(tmp_path: Path) -> None:
    [example] = read(tmp_path, "medical-o1", {**O1, "response": "B."})
    assert example.answer == "A."
    row = {"Question": "Q?", "response": "A.", "RESPONSE": "B."}
    assert "no column 'Response' for answer" in refusal(tmp_path, "medical-o1", row)


@pytest.mark.parametrize("missing", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_a_missing_value(tmp_path: Path, missing: float) -> None:
    for source, row, field in (
        ("medical-o1", {**O1, "Complex_CoT": missing}, "reasoning"),
        ("medical-o1", {**O1, "Response": missing}, "answer"),
        ("pubmedqa", {**PUBMEDQA, "final_decision": missing}, "label"),
        ("pubmedqa", {**PUBMEDQA, "CONTEXTS": missing, "LABELS": missing}, "context"),
    ):
        assert [getattr(example, field) for example in read(tmp_path, source, row)] == [""]
    assert "option C is empty" in refusal(tmp_path, "mcq", {**MCQ, "options": ["Artery", "Vein", missing]})
    mcq = {**MCQ, "answer_idx": missing, "choices": missing, "exp": missing, "reasoning": None}
    [example] = read(tmp_path, "mcq", mcq)
    assert (example.label, example.reasoning) == ("B", "")
    assert list(sources.read_texts(write(tmp_path, {"id": "x", "question": missing, "text": "A passage."}))) == [
        ("x", "A passage.")
    ]


def test_a_missing_value_of_a_table_is_no_text(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    rows = [{**O1, "Complex_CoT": value} for value in (float("nan"), None)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert [e.reasoning for e in sources.read(DataSection(source="medical-o1", path=str(path)))] == ["", ""]


def test_a_folder_in_the_layout_of_the_hub_is_told_to_be_one_pool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train.jsonl", "test-00000-of-00001.jsonl", "notes.jsonl"):
        (tmp_path / name).write_text(json.dumps({**O1, "id": name}))
    section = DataSection(source="medical-o1", path=str(tmp_path))
    assert len(list(sources.read(section))) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"data: {tmp_path}: notes.jsonl, test-00000-of-00001.jsonl, train.jsonl are read as one pool, which data.split"
        " divides; data.test_ids keeps an official test apart"
    )
    (tmp_path / "test-00000-of-00001.jsonl").unlink()
    assert len(list(sources.read(section))) == 2
    assert capsys.readouterr().err == ""
