"""A value that is written is a link to where it was read, and one without a place cannot be written."""

import pytest

from bedside.export.cited import Cited, at, bound, claims, hashes, idle, shown, uncited

FOUND = Cited.root("evidence/a b.json", {"loss": 1.25, "n": 1200, "tasks": [{"a/b~c": "x [y] | z"}], "none": None})


def test_a_value_is_written_with_its_place_below() -> None:
    text = bound(f"Loss {FOUND['loss']:.3f} over {FOUND['n']:,} rows, again {FOUND['loss']:.3f}.")
    assert text == (
        "Loss [1.250][1] over [1,200][2] rows, again [1.250][1].\n\n"
        '[1]: evidence/a%20b.json#/loss ".3f"\n[2]: evidence/a%20b.json#/n ","\n'
    )


def test_what_is_written_is_read_back_with_its_place() -> None:
    first, second = claims(bound(f"{FOUND['loss']:.3f}\n{FOUND['tasks'][0]['a/b~c']}"))
    assert (first.line, first.text, first.path, first.actual(FOUND.value)) == (1, "1.250", "evidence/a b.json", "1.250")
    assert second.actual(FOUND.value) == second.text == "x &#91;y&#93; &#124; z"
    assert first.actual({"loss": 1.3}) == "1.300"


def test_a_number_without_a_place_cannot_be_written() -> None:
    with pytest.raises(AssertionError, match="not cited"):
        bound("Loss 1.25")
    assert uncited("| a | 0.9 |\n\nsee SHA-256 and the 95 % interval") == [(1, "| a | 0.9 |")]


def test_metadata_carry_the_exact_value_and_its_place_in_a_comment() -> None:
    import yaml

    head = f"---\nname: {FOUND['tasks'][0]['a/b~c'].yaml()}\nresults:\n- value: {FOUND['loss'].yaml()}\n---\n"
    assert yaml.safe_load(head.split("---\n")[1]) == {"name": "x [y] | z", "results": [{"value": 1.25}]}
    assert [claim.actual(FOUND.value) for claim in claims(head)] == ['"x [y] | z"', "1.25"]
    assert uncited(head) == []
    assert uncited(head.replace("results:", "n: 5\nresults:")) == [(3, "n: 5")]


def test_a_place_that_is_cited_no_more_is_told() -> None:
    text = bound(f"{FOUND['loss']:.3f} {FOUND['n']:,}")
    assert idle(text) == []
    assert idle(text.replace("[1,200][2]", "many")) == ["evidence/a%20b.json#/n"]


def test_a_number_that_cites_nothing_has_no_place() -> None:
    [claim] = claims("[0.9][7]\n")
    assert claim.place == ""


def test_what_is_absent_null_or_empty_is_none() -> None:
    assert FOUND.get("none") is None
    assert FOUND.get("other") is None
    assert FOUND.get("n") is not None


@pytest.mark.parametrize("form", ["9>30", ".0f", "%", "x"])
def test_a_form_that_could_say_something_else_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="cannot be written as"):
        shown(0.5, form)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (True, "", "yes"), (["q_proj", "v_proj"], "", "q_proj, v_proj"), (0.00004, "p", "<0.001"), (0.938, ".1%", "93.8%"),
        ("<think>\na < b", "", "&#60;think> a < b"), (-0.05, "+.3f", "-0.050"), (0.0002, "g", "0.0002"),
    ],
)  # fmt: skip
def test_values_are_written_as_a_reader_expects(value: object, form: str, text: str) -> None:
    assert shown(value, form) == text


@pytest.mark.parametrize("pointer", ["/tasks/5", "/tasks/x", "/loss/0", "/no"])
def test_a_pointer_that_leads_nowhere_is_an_error(pointer: str) -> None:
    with pytest.raises(LookupError):
        at(FOUND.value, pointer)


def test_hash_rows_are_read_and_nothing_else_is() -> None:
    row = f"| [a.json](a.json) | `{'ab' * 32}` |"
    assert hashes(f"{row}\n| [b.json](b.json) | `ab` |") == {"a.json": "ab" * 32}
