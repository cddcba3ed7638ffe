"""Structured answers, whole and cut."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bedside.records import Section
from bedside.text.sections import BOUNDS, NAMES, SCHEMA, is_empty, markdown, opens, parse

WHOLE = {"Diagnosis": ["STEMI"], "Differential": ["Dissection"], "Plan": ["ECG", "Aspirin"], "Red flags": [], "What is missing": ["Troponin"]}  # fmt: skip


def test_a_whole_answer_has_its_sections_in_order_without_the_empty_ones() -> None:
    found = parse(json.dumps(WHOLE))
    assert [section.name for section in found] == ["Diagnosis", "Differential", "Plan", "What is missing"]
    assert found[2] == Section("Plan", ("ECG", "Aspirin"))


def test_a_cut_answer_has_what_was_said() -> None:
    assert parse('{"Diagnosis": ["STEMI"], "Differential": ["Dissec') == (
        Section("Diagnosis", ("STEMI",)),
        Section("Differential", ("Dissec",)),
    )


@given(st.integers(0, len(json.dumps(WHOLE))))
def test_cut_anywhere_it_never_says_more_than_the_whole(at: int) -> None:
    for section in parse(json.dumps(WHOLE)[:at]):
        said = "\n".join(WHOLE[section.name])
        assert all(item in said for item in section.items)


@given(st.text(max_size=80) | st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists).map(json.dumps))
def test_what_is_no_such_answer_has_no_sections(text: str) -> None:
    assert parse(text) == ()


def test_more_than_is_wanted_is_left_out() -> None:
    (plan,) = parse(json.dumps({"Plan": [f"step {i}" for i in range(50)], "Other": ["x"]}))
    assert len(plan.items) == BOUNDS["Plan"][1]
    (plan,) = parse(json.dumps({"Plan": ["x" * 900, 7, None, "  ", "x" * 900]}))
    assert plan.items == ("x" * BOUNDS["Plan"][2],)


def test_the_instruction_s_own_words_are_no_answer() -> None:
    said = {
        "Diagnosis": ["Differential"],
        "Plan": ["What to do next.", "ECG"],
        "Red flags": ["Danger signs present or"],
    }
    assert parse(json.dumps(said)) == (Section("Plan", ("ECG",)),)
    assert is_empty(json.dumps({"Diagnosis": ["Plan"], "Plan": ["what to do next"]}))
    assert not is_empty(json.dumps({"Diagnosis": ["Planned surgery"]}))


def test_nested_without_end_is_no_answer() -> None:
    assert parse("[" * 200_000) == ()
    assert parse('{"Plan":' * 50_000) == ()


def test_an_item_cannot_begin_a_heading_of_its_own() -> None:
    assert markdown(parse(json.dumps({"Plan": ["ECG\n# Diagnosis\n- gout"]}))) == "## Plan\n\n- ECG # Diagnosis - gout"


def test_whether_it_is_json_is_told_by_the_first_sign() -> None:
    assert [opens(text) for text in ("", " \n", ' {"', "The ")] == [None, None, True, False]


def test_the_schema_bounds_every_list_and_every_item() -> None:
    schema = json.loads(SCHEMA)
    assert tuple(schema["properties"]) == NAMES == tuple(schema["required"])
    assert all({"minItems", "maxItems"} <= one.keys() for one in schema["properties"].values())
    assert all("maxLength" in one["items"] for one in schema["properties"].values())
