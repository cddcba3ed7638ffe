"""Each constraint holds of what its prompt asks for, and of nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.evaluate.constraints import CHECKS, Check, readings

ANY = [
    Check("lower_case", {}),
    Check("words", {"at_least": 2, "at_most": 6}),
    Check("items", {"mark": "-", "exactly": 2}),
    Check("json_object", {"keys": ["a"]}),
    Check("ends", {"wanted": "."}),
]


@pytest.mark.parametrize(
    ("name", "arguments", "met", "missed"),
    [
        ("words", {"at_least": 2, "at_most": 3}, ["don't go", "a well-made one"], ["go", "a b c d"]),
        ("words", {"at_least": 2}, ["one two three"], ["one"]),
        ("sentences", {"at_least": 2, "at_most": 2}, ["It is. Is it?", 'He said "no." Then he left'], ["It is.", "A. B. C."]),
        ("sentences", {"at_least": 1, "at_most": 1}, ["no stop", "It costs 3.50 now!", "Wait..."], ["One. Two."]),
        ("lines", {"exactly": 2}, ["a\nb", "a\n\n b\n"], ["a", "a\nb\nc"]),
        ("items", {"mark": "-", "exactly": 2}, ["- a\n- b", "-a\n\n-b"], ["- a", "a\n- b", "- a\n-", "- a\n- b\nBye"]),
        ("items", {"mark": "* ", "exactly": 1}, ["* a"], ["*a", "**a**", "- a"]),
        ("items", {"mark": "1.", "exactly": 2}, ["1. a\n2. b"], ["1. a\n1. b", "2. a\n3. b", "- a\n- b"]),
        ("parts", {"separator": ";", "exactly": 2}, ["a; b"], ["a", "a;", "a; b; c"]),
        ("lower_case", {}, ["a 5 é."], ["A", "aB", "5"]),
        ("upper_case", {}, ["A 5 É!"], ["a", "aB", "5"]),
        ("json_object", {"keys": ["a", "b"]}, ['{"b": 1, "a": []}'], ['{"a": 1}', '{"a": 1, "b": 2, "c": 3}', "[]", "{", '{"a": 1, "b": 2} ok', '"a"']),
        ("begins", {"wanted": "Because"}, ["because it is", "Because, well"], ["Becauses", "Not because", "It"]),
        ("begins", {"wanted": "Dear you,"}, ["dear you, hello"], ["Dear you hello"]),
        ("ends", {"wanted": "The end."}, ["So. the end."], ["The end", "Lathe end.", "The end. Bye."]),
        ("contains", {"terms": ["sea", "sky"]}, ["Sky and sea"], ["sea", "seas sky"]),
        ("lacks", {"terms": ["ice"]}, ["a nice day"], ["Ice!", "no ice"]),
        ("lacks_characters", {"characters": "e"}, ["A dog."], ["EGG", "the"]),
        ("mentions", {"word": "moon", "at_least": 2, "at_most": 2}, ["Moon, moons"], ["moon", "moon moon moon", "moonlight"]),
        ("number", {}, ["7", "2024"], ["7.", "seven", "7 days", "-1", "٧"]),
        ("number", {"digits": 4}, ["1969"], ["69", "19690"]),
        ("one_of", {"options": ["yes", "no"]}, ["Yes.", "no"], ["Yes!", "yes no", "maybe"]),
        ("equals", {"wanted": "a-b"}, ["a-b", " a-b\n"], ["A-b", "a-b."]),
        ("quoted", {}, ['"Hi."', "“Hi.”"], ['"Hi', "'Hi.'", '""']),
        ("titled", {}, ["<<Wind>>\nIt blows"], ["Wind", "<Wind>", "It\n<<Wind>>", "<<>>"]),
        ("words_begin", {"letter": "s"}, ["Seven swans"], ["seven big swans", "!"]),
    ],
)  # fmt: skip
def test_a_constraint_is_met_by_these_and_missed_by_those(
    name: str, arguments: dict, met: list[str], missed: list[str]
):
    check = Check(name, arguments)
    assert [text for text in met if not check.met(text)] == []
    assert [text for text in missed if check.met(text)] == []


@pytest.mark.parametrize("name", sorted(CHECKS))
@pytest.mark.parametrize("blank", ["", " \n\t"])
def test_a_blank_answer_meets_no_constraint(name: str, blank: str):
    assert not Check(name, {}).met(blank)


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('Sure:\n```json\n{"a": 1}\n```', "json_object", {"keys": ["a"]}),
        ("**White**", "one_of", {"options": ["white"]}),
        ("Here are two:\n- a\n- b", "items", {"mark": "-", "exactly": 2}),
        ("- a\n- b\nAnything else?", "items", {"mark": "-", "exactly": 2}),
        ("Sure!\n- a\n- b\nAnything else?", "items", {"mark": "-", "exactly": 2}),
        ("## Because it rains", "begins", {"wanted": "Because"}),
    ],
)
def test_the_loose_reading_forgives_markdown_an_opening_and_a_closing_line(text: str, name: str, arguments: dict):
    check = Check(name, arguments)
    assert not check.met(text)
    assert check.met_loosely(text)


def test_the_loose_reading_forgives_nothing_in_the_middle():
    assert not Check("items", {"mark": "-", "exactly": 2}).met_loosely("- a\nand\n- b")


@given(st.text(alphabet=st.sampled_from('aB- .*`\n"{}:1#é'), max_size=60) | st.text(max_size=40))
def test_what_is_met_strictly_is_met_loosely_too(text: str):
    assert len(list(readings(text))) == 8
    for check in ANY:
        assert check.met_loosely(text) >= check.met(text)
