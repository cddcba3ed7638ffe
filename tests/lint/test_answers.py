"""What an answer states, and when that contradicts itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data import sources
from bedside.fused.packs import Row
from bedside.lint import answers
from bedside.lint.case import Case, Setting
from bedside.recipe import DataSection
from bedside.records import Example

SETTING = Setting(begin=1, end=2, end_text="</s>", pad=2, reasons=True, decides=True, controls=("<s>", "</s>"))
OPTIONS = ("Vein", "Artery", "HLA-B27 +", "HLA-B27 -")
QUESTION = "Which vessel?\nA. Vein\nB. Artery\nC) HLA-B27 +\n(D) HLA-B27 -"


def case(said: str = "", **fields: object) -> Case:
    example = Example(**{"id": "1", "question": "Which vessel?", "answer": "", **fields})  # type: ignore[arg-type]
    return Case(example, Row("1", (), 0), "", (), (), (), (), said)


@pytest.mark.parametrize(
    ("answer", "letter", "text"),
    [
        ("B. Vein", "B", "Vein"),
        ("B", "B", ""),
        ("(b) Vein", "B", "Vein"),
        ("**B.** Vein", "B", "Vein"),
        ("The answer is B. Vein", "B", "Vein"),
        ("The correct answer is (C).", "C", ""),
        ("Answer: D", "D", ""),
        ("**Answer:** D", "D", ""),
        ("answer is E: Vein\nbecause it is", "E", "Vein"),
        ("**B**", "B", ""),
        ("Blood returns.\n\n**B**", "B", ""),
        ("Blood returns. The final answer is **B**.", "B", ""),
        ("Blood returns, so $\\boxed{B}$", "B", ""),
        (r"\boxed{\text{B. Vein}}", "B", "Vein"),
        ("Hence B is the correct answer.", "B", ""),
        ("Blood returns: option B is the best choice", "B", ""),
        ("Ans. is B", "B", ""),
        ("Ans. B", "B", ""),
        ("(B) Vein", "B", "Vein"),
        ("Option B", "B", ""),
        ("The correct option is B", "B", ""),
        ("The correct option is B) Vein", "B", "Vein"),
        ("The answer is B (Vein)", "B", "Vein)"),
        ("The answer is B, since blood returns.", "B", "since blood returns."),
        ("The answer is B because blood returns.", "B", ""),
        ("It is not A. Therefore, the answer is B.", "B", ""),
        ("One may take A for the answer, but the answer is B.", "B", ""),
        ("The answer is A. Vein\n\nNo: the answer is B. Artery", "B", "Artery"),
        ("A vein returns blood.", "", ""),
        ("I think so.", "", ""),
        ("Because", "", ""),
        ("", "", ""),
        ("The answer depends on B.", "", ""),
        ("The answer is not B.", "", ""),
        ("B is not the correct answer.", "", ""),
        ("It is not true that the answer is B.", "", ""),
        ("Nobody could say the answer is B.", "", ""),
        ("The incorrect option is B.", "", ""),
        ("Is the answer B?", "", ""),
        ("The answer is B?", "", ""),
        ("Hepatitis B is the correct answer.", "", ""),
        ("The answer is hepatitis B.", "", ""),
        ("The answer is B cells.", "", ""),
        ("The answer is B-cell lymphoma.", "", ""),
        ("It grows E. coli. The answer is E. coli", "", ""),
        ("Option B is correct, and so is option C.", "", ""),
    ],
)
def test_a_letter_is_read_only_where_it_is_stated_as_the_answer(answer: str, letter: str, text: str) -> None:
    said = answers.stated(answer)
    assert (said[-1].letter, said[-1].text) == (letter, text) if letter else said == []


FORMS = ("The final answer is **{}**.", "Answer: {}", "Ans. is {}", r"\boxed{{{}}}", "Hence {} is the correct answer.")
FILLERS = st.sampled_from(
    ("Blood returns.", "A vein, not an artery, is meant.", "Vitamin B is low; hepatitis C is ruled out.")
)


@given(letter=st.sampled_from("ABCDEFGHIJ"), form=st.sampled_from(FORMS), before=FILLERS, after=FILLERS)
def test_a_stated_letter_is_read_amid_any_text(letter: str, form: str, before: str, after: str) -> None:
    (said,) = answers.stated(f"{before} {form.format(letter)}\n{after}")
    assert said.letter == letter


@given(letters=st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=4), data=st.data())
def test_the_last_of_several_statements_counts(letters: list[str], data: st.DataObject) -> None:
    said = [data.draw(st.sampled_from(FORMS)).format(letter) for letter in letters]
    assert answers.stated("\n".join(said))[-1].letter == letters[-1]


@given(letter=st.sampled_from("ABCDE"), negated=st.sampled_from(("The answer is not {}.", "{} is not the correct answer.", "We cannot say that the answer is {}.", "{} isn't the right option.")))  # fmt: skip
def test_a_negated_letter_is_no_statement(letter: str, negated: str) -> None:
    assert answers.stated(negated.format(letter)) == []


@pytest.mark.parametrize(
    "run",
    [
        "\n",
        " ",
        "*",
        "_",
        ".",
        "(",
        "answer is ",
        "B ",
        "not ",
        "The answer is B. ",
        "Not. Hence B is the best option ",
    ],
)
def test_a_long_run_of_one_sign_is_read_in_time_that_grows_with_its_length(run: str) -> None:
    """Quadratic time would be half an hour."""
    assert {one.letter for one in answers.stated(f"So {run * 100_000}so")} <= {"B"}


PARTS = (
    "A",
    "B",
    "C",
    "I",
    " ",
    "a",
    ". ",
    ": ",
    "(",
    ")",
    "**",
    "\\boxed{",
    "}",
    "\n",
    "the answer",
    " is ",
    "option ",
    "not ",
)


@given(text=st.lists(st.sampled_from(PARTS), max_size=20).map("".join))
def test_whatever_an_answer_says_only_letters_are_read_from_it(text: str) -> None:
    assert all(len(said.letter) == 1 and said.letter in "ABCDEFGHIJ" for said in answers.stated(text))


@pytest.mark.parametrize(
    ("question", "letters"),
    [
        (QUESTION, "ABCD"),
        ("Which?\nA. one\nC. three", ""),  # no list of options
        ("Vitamin B. Why?\nA. only", ""),
        ("Why?", ""),
    ],
)
def test_options_are_read_from_lettered_lines_of_the_question(question: str, letters: str) -> None:
    assert "".join(answers.options_of(Example("1", question, ""))) == letters


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"answer": "B. Vein"}, "the answer says B, but its text 'Vein' is option A"),
        ({"answer": "The answer is C. HLA-B27 -"}, "is option D"),
        ({"answer": "A. Vein", "label": "B"}, "the answer says A, but the key says B"),
        ({"answer": "A", "label": "b"}, "the key says B"),
        ({"answer": "A. Vein", "reasoning": "Not B. So the answer is B."}, "the reasoning ends at B"),
        ({"answer": "B. Vein\n\nThe answer is B."}, "the answer says B, but its text 'Vein' is option A"),
        ({"answer": "Blood returns. The final answer is **B**. It is so.", "label": "A"}, "the key says A"),
        ({"answer": "Hence B is the correct answer.", "label": "A"}, "the key says A"),
        ({"answer": "Not A. The answer is B.", "label": "B"}, ""),
        ({"answer": "A. Vein", "reasoning": r"It is \boxed{B}"}, "the reasoning ends at B"),
        ({"answer": "A. Vein", "reasoning": "B. Artery is tempting."}, ""),
        ({"answer": "A. vein."}, ""),
        ({"answer": "A. Vein", "label": "A", "reasoning": "The answer is B? No: the answer is A."}, ""),
        ({"answer": "A. Vein of some kind", "label": "B"}, ""),  # no option's text, so "A." may be a genus
        ({"answer": "E. coli", "label": "B"}, ""),
        ({"answer": "It carries blood.", "label": "B"}, ""),
        ({"answer": "A. Vein", "label": "yes"}, ""),
        ({"answer": "A. Vein", "reasoning": "The answer is a vein."}, ""),
    ],
)
@pytest.mark.parametrize("shape", ["options", "question"])
def test_letter_text_key_and_conclusion_must_name_one_option(fields: dict[str, str], told: str, shape: str) -> None:
    brought = {"options": OPTIONS} if shape == "options" else {"question": QUESTION}
    found = answers.letter_contradicts_answer(case(**brought, **fields), SETTING)
    assert told in found
    assert bool(told) == bool(found)


def test_equal_options_are_no_contradiction() -> None:
    row = case(options=("Vein", "Vein", "Artery"), answer="B. Vein", label="B")
    assert answers.letter_contradicts_answer(row, SETTING) == ""


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({"label": "unsure"}, False),
        ({"label": "yes"}, True),
        ({"label": ""}, True),
        ({"label": "B", "options": OPTIONS}, True),
        ({"label": "E", "options": OPTIONS}, False),
        ({"label": "yes", "options": OPTIONS}, False),
    ],
)
def test_a_label_is_a_decision_or_the_letter_of_an_option(fields: dict[str, object], known: bool) -> None:
    assert (answers.label_unknown(case(**fields), SETTING) == "") == known


def test_labels_of_another_kind_are_left_alone() -> None:
    assert answers.label_unknown(case(label="sarcoma"), replace(SETTING, decides=False)) == ""


@pytest.mark.parametrize(
    ("label", "answer", "right"),
    [
        ("yes", "Yes. It works.", True),
        ("yes", "No, it does not.", False),
        ("no", "maybe", False),
        ("maybe", "It works.", True),
        ("B", "Yes.", True),
        ("no", "Not at all", True),
    ],
)
def test_the_first_word_of_the_answer_may_not_be_another_decision(label: str, answer: str, right: bool) -> None:
    assert (answers.label_contradicts_answer(case(label=label, answer=answer), SETTING) == "") == right


@pytest.mark.parametrize(
    ("said", "empty"),
    [("It is.</s>", False), ("why\n</think>\n\n</s>", True), ("</s>", True), ("why\n</think>\n\nIt is.</s>", False)],
)
def test_an_answer_of_nothing_is_found_behind_its_reasoning(said: str, empty: bool) -> None:
    assert bool(answers.empty_completion(case(said), SETTING)) == empty


def test_every_swapped_letter_of_real_rows_is_found_and_no_right_one(shared_data: Path) -> None:
    path = str(shared_data / "medical_o1" / "medmcqa_short_cot.jsonl")
    rows = list(sources.read(DataSection(source="medical-o1", path=path)))
    asked = [{"question": row.question, "reasoning": row.reasoning} for row in rows]
    right = [
        answers.letter_contradicts_answer(case(**a, answer=r.answer), SETTING) for a, r in zip(asked, rows, strict=True)
    ]
    assert not any(right)
    swapped = [r.answer.replace("answer is A", "answer is D") for r in rows]
    changed = [(a, s) for a, s, r in zip(asked, swapped, rows, strict=True) if s != r.answer]
    found = [answers.letter_contradicts_answer(case(**a, answer=s), SETTING) for a, s in changed]
    assert len(found) > 300
    assert all(found)
