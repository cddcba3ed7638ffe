import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.records import Answer, Example, Message, pairs

EXAMPLES = st.builds(
    Example,
    *[st.text(max_size=8)] * 6,
    options=st.lists(st.text(max_size=5), max_size=4).map(tuple),
    subject=st.text(max_size=5),
    history=st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=5)), max_size=3
    ).map(tuple),
    where=st.text(max_size=5),
)


@settings(max_examples=60)
@given(example=EXAMPLES)
def test_an_example_survives_json(example: Example) -> None:
    assert Example.from_json(json.loads(json.dumps(example.to_json()))) == example


def test_the_names_of_a_diagnosis_survive_json_as_they_are() -> None:
    example = Example("1", "Q?", "Gout", accepted=("Gout", "podagra"))
    assert Example.from_json(json.loads(json.dumps(example.to_json()))) == example


def test_json_of_an_example_leaves_empty_fields_out() -> None:
    assert Example("1", "Q?", "A.").to_json() == {"id": "1", "question": "Q?", "answer": "A."}


def test_an_unknown_key_is_an_error_of_ours() -> None:
    with pytest.raises(TypeError, match="colour"):
        Example.from_json({"id": "1", "question": "Q?", "answer": "A.", "colour": "red"})


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Message("user", "hi").content = "bye"  # type: ignore[misc]


def test_null_in_an_answer_means_that_nobody_looked() -> None:
    said = Answer("Rest.", "Because.", "m", {"total_tokens": 3}, "stop").to_json()
    assert said["emergency"] is None
    assert said["abstained"] is None
    assert json.loads(json.dumps(said))["usage"] == {"total_tokens": 3}


def test_pairs_gives_every_field_in_order_without_copying() -> None:
    usage = {"total_tokens": 3}
    found = dict(pairs(Answer("Rest.", "", "m", usage, "stop")))
    assert list(found)[:3] == ["answer", "reasoning", "model"]
    assert found["usage"] is usage
