"""What a model committed to is read from any wording that states it, and from none that does not."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bedside.records import Finish
from bedside.text import extract
from bedside.text.chat import DECISIONS, LETTERS
from bedside.text.extract import Extracted

OPTIONS = ("Vein", "Bile duct", "HLA-B27 +", "HLA-B27 -")


def read(text: str, **given: object) -> str:
    """The letter, or why there is none."""
    found = extract.letter(text, "ABCD", **given)  # type: ignore[arg-type]
    return found.value or found.how


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "B.",
        "(B)",
        "(b) text",
        "B) Bile duct",
        "B. Bile duct",
        "B: Bile duct",
        "B - Bile duct",
        "B, because it drains bile.",
        "**B**",
        "`B`",
        "**B.** Bile duct",
        "# B",
        "- B",
        "> **B**",
        "Option B",
        "Choice (B)",
        "Answer: b",
        "**Answer:** B",
        "Answer - B",
        "Answer: B (Bile duct)",
        "Answer:\nB",
        "### Answer\n\n**B. Bile duct**",
        "## Final Answer\n\n$\\boxed{\\text{B}}$",
        "The answer is (B)",
        "the answer is b.",
        'The answer is "B".',
        "The correct option is B) Bile duct",
        "The best answer is option B",
        "The most likely answer is B: Bile duct",
        "The answer to this question is B",
        "Thus, the answer must be B",
        "The correct answer is B, not A.",
        "Ans. B",
        "The correct answer is B. A is incorrect because it carries blood.",
        "The answer is B, a common duct.",
        r"\boxed{B}",
        r"\boxed{\textbf{B. Bile duct}}",
        r"\[\boxed{\mathrm{(B)}}\]",
        r"The final answer is: $\boxed{B}$. I hope it is correct.",
        r"The answer is $\text{B}$.",
        '{"answer": "B"}',
        '{"answer_choice": "B. Bile duct"}',
        '{"FINAL_ANSWER": "b"}',
        '{"finalAnswer": "(B)"}',
        '{"answer": {"letter": "B"}}',
        '{"answer": ["B"]}',
        '{"answer": "The answer is B."}',
        "{'answer': 'B'}",
        '{"answer": B}',
        '{"answer": "B',
        '```json\n{"reasoning": "Not A. The answer is C?", "answer": "B"}\n```',
        '{"thinking": "It is A, so the answer is A", "answer_choice": "B"',
        '["{\\"thinking\\": \\"It is A.\\", \\"answer_choice\\": \\"B\\"}"]',
        "<answer>B</answer>",
        "B is the correct answer.",
        "Hence (B) is the best choice.",
        "Option B is correct.",
        "I would choose B.",
        "I'd go with option B because blood returns.",
    ],
)
def test_a_stated_letter_is_read_in_every_form(text: str) -> None:
    assert read(text) == "B"
    assert read(text, options=OPTIONS) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "A... no, B",
        "The answer is A, no, B.",
        "The answer is B. My response: I, for one, am sure.",
        "The answer is A... no, B.",
        "The answer is A. Wait, actually it's B.",
        "The answer is A.\n\nOn reflection the answer is B.",
        "\\boxed{A}\nWait, actually the answer is B.",
        "A — actually, B.",
        "It is not A. The answer is B.",
        "A is incorrect, C is incorrect, so the answer is B.",
        "Option A is incorrect.\nOption C is wrong.\nD is ruled out.\nTherefore, B.",
        "I cannot be certain, but B is the best answer.",
        "I think the answer is B.",
        "The answer is probably B.",
        "Answer: B\n\nExplanation: Option C would be right if she were pregnant.",
        "The answer is B. Why not C? C is an artery.",
        "A. Vein\nB. Bile duct\nC. Nerve\nD. Bone\n\nAnswer: B",
        "A. Vein\nB. Bile duct\nC. Nerve\nD. Bone\n\nB",
        "A. Vein\nB. Bile duct\n\nOption A is incorrect.\n\nB",
        "B. Bile duct\n\nExplanation:\n- A. Vein: no\n- C. Nerve: no\n- D. Bone: no",
    ],
)
def test_the_last_statement_counts_whatever_was_weighed_before_or_is_explained_after(text: str) -> None:
    assert read(text) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A vein carries blood.",
        "Vitamin B is low.",
        "hepatitis C",
        "Type A blood, group A streptococcus.",
        "It is A positive.",
        "The answer is vitamin B.",
        "The answer is a vein that returns.",
        "The answer is B cells.",
        "The answer is B-cell lymphoma.",
        "Hepatitis B is the correct answer.",
        "C. difficile is the cause.",
        "The answer is C. difficile.",
        "I think so.",
        "not A",
        "The answer is not A.",
        "The answer isn't B.",
        "B is not the correct answer.",
        "A is incorrect.",
        "A. Incorrect.",
        "A. Vein is incorrect.",
        "Option A: it carries blood. Option B: it drains bile.",
        "The answer is C-reactive protein.",
        "This rules out C.",
        "It cannot be A.",
        "Is the answer B?",
        "The answer is B? No.",
        "The answer might be B.",
        "If he were stable, the answer would be C.",
        "A. Vein\nB. Bile duct\nC. Nerve\nD. Bone",
        "A\nB\nC\nD",
        "(A) Vein (B) Bile duct (C) Nerve (D) Bone",
        "Choose the correct answer:\nA. Vein\nB. Bile duct",
        "The options are A, B, C and D.",
        "Option A is correct.\nOption B is correct.\nOption C is incorrect.",
        "None of the above.",
        '{"answer": "None of the above"}',
        '{"answer": null}',
        '{"answer": ""}',
        '{"options": {"A": "Vein", "B": "Duct"}}',
    ],
)
def test_a_letter_that_only_occurs_is_no_answer(text: str) -> None:
    assert extract.letter(text, "ABCD").how == "none"


@pytest.mark.parametrize(
    "text",
    [
        "A and C",
        "The answer is both A and C.",
        "Both A and C are the correct answers.",
        "A and C are correct.",
        "The answer is either A. Vein or C. Nerve.",
        "The answer is A, B, and D.",
        r"\boxed{A} and \boxed{C}",
        r"\boxed{A, C}",
        "\\boxed{B}\n\nThe final answer is C.",
        '{"answer": "A/C"}',
        '{"answer": ["A", "C"]}',
    ],
)
def test_letters_that_are_stated_together_or_against_each_other_are_several(text: str) -> None:
    assert read(text) == "several"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot answer this question.",
        "I'm sorry, but I can’t help with that.",
        "As an AI, I do not give medical advice.",
        "It cannot be determined from what is given.",
        '{"answer": "Unable to answer from the documents"}',
        '{"answer_choice": "Information not available in the documents"}',
    ],
)
def test_who_declines_has_refused(text: str) -> None:
    assert read(text) == "refused"


@pytest.mark.parametrize(
    ("text", "finish", "how"),
    [
        ("<think>So the answer is B", "stop", "truncated"),
        ("<think>a</think>The answer is B <think>", "stop", "truncated"),
        ("<think>The answer is A.</think>B", "stop", "B"),
        ("The answer is A.\n</think>\n\nB", "stop", "B"),  # the prompt opened the block
        ("<think>The answer is B.</think>", "stop", "none"),
        ('{"thinking": "We need to', "stop", "truncated"),
        ("The answer is", "stop", "truncated"),
        ("**Final answer:**", "stop", "truncated"),
        ("", "length", "truncated"),
        ("A vein is", "length", "truncated"),
        ("B", "length", "B"),  # one token was asked for
        ("B. Bile duct\n\nA and", "length", "B"),
        ("It returns blood.\nA", "length", "truncated"),  # "A vein …" may have been coming
        ("It returns blood.\nA", "stop", "A"),
    ],
)
def test_what_ends_before_an_answer_is_truncated(text: str, finish: Finish, how: str) -> None:
    assert read(text, finish=finish) == how


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("Bile duct", "B"),
        ("**bile duct.**", "B"),
        ("The answer is the bile duct.", "B"),
        ("The structure is the bile duct, because it drains.", "B"),
        ('{"answer": "Bile duct"}', "B"),
        ("HLA-B27 -", "D"),
        ("The answer is HLA-B27 +", "C"),
        ("The answer is HLA-B27", "none"),
        ("It is not the bile duct.", "none"),
        ("The bile duct drains, a vein returns.", "none"),
        ("It is the bile duct. It is a vein.", "several"),
        ("The answer is B. Vein", "several"),  # letter and text name different options
    ],
)
def test_the_text_of_an_option_stands_for_its_letter(text: str, how: str) -> None:
    assert read(text, options=OPTIONS) == how


def test_a_text_that_was_cut_may_have_gone_on_to_another_option() -> None:
    assert read("The structure is the vein", options=OPTIONS) == "A"
    assert read("The structure is the vein", options=OPTIONS, finish="length") == "truncated"


def test_equal_options_cannot_be_told_apart_by_their_text() -> None:
    assert extract.letter("Vein", "ABC", ("Vein", "Nerve", "Vein")).how == "several"
    assert extract.letter("C. Vein", "ABC", ("Vein", "Nerve", "Vein")).value == "C"


def test_an_option_that_says_none_of_the_above_is_an_answer() -> None:
    assert extract.letter("None of the above", "ABC", ("Vein", "Nerve", "None of the above")).value == "C"


def test_a_question_that_the_model_goes_on_to_ask_itself_is_not_part_of_its_answer() -> None:
    assert read("B\n\nQuestion: What next?\nA. Vein\nB. Nerve\nAnswer: C") == "B"
    assert read("Question: Which?\nAnswer: B") == "B"


def test_the_form_that_was_read_is_told() -> None:
    texts = {"field": '{"answer": "B"}', "boxed": r"\boxed{B}", "statement": "Answer: B", "line": "B"}
    assert {extract.letter(text, "ABCD").form for text in texts.values()} == set(texts)
    assert extract.letter("Bile duct", "ABCD", OPTIONS).form == "text"


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("**Maybe**", "maybe"),
        ("Yes, it does.", "yes"),
        ("Yes it does", "yes"),
        ("No, it does not.", "no"),
        ("B. no", "no"),
        ("The answer is A) yes", "yes"),
        ("The answer to the question is no, since it failed.", "no"),
        ("Final decision: maybe", "maybe"),
        ('{"answer": "No"}', "no"),
        (r"\boxed{\text{yes}}", "yes"),
        ("It works. Therefore, yes.", "yes"),
        ("It works. In conclusion, maybe.", "maybe"),
        ("yes\n\nThe trial shows no effect", "yes"),
        ("Yes and no.", "several"),
        ("yes/no/maybe", "several"),
        ("No significant difference was found.", "none"),
        ("There is no evidence.", "none"),
        ("The answer is not yes.", "none"),
        ("Is the answer yes?", "none"),
        ("It is unclear.", "none"),
        ("I cannot answer that.", "refused"),
        ("<think>yes", "truncated"),
    ],
)
def test_a_decision_is_read_as_letters_are(text: str, how: str) -> None:
    found = extract.decision(text)
    assert (found.value or found.how) == how


@pytest.mark.parametrize(
    ("text", "finish", "found"),
    [
        ("<think>Fever.</think>Rest.", "stop", Extracted("Rest.", "answered", "whole")),
        ("Rest, and **drink**.", "stop", Extracted("Rest, and **drink**.", "answered", "whole")),
        ("It is a cold.\n\n**Final answer:** Rest.", "stop", Extracted("Rest.", "answered", "whole")),
        ("**Final Answer**\n\n- Rest", "stop", Extracted("- Rest", "answered", "whole")),
        ("The final answer is rest.", "stop", Extracted("The final answer is rest.", "answered", "whole")),
        ("Rest. I cannot say more.", "stop", Extracted("Rest. I cannot say more.", "answered", "whole")),
        ("I'm sorry, but I can't help with that. Ask a doctor.", "stop", Extracted(None, "refused")),
        ("<think>Fever.", "stop", Extracted(None, "truncated")),
        ("Rest, and", "length", Extracted(None, "truncated")),
        ("<think>Fever.</think>\n", "stop", Extracted(None, "none")),
    ],
)
def test_an_open_answer_is_what_follows_the_reasoning(text: str, finish: Finish, found: Extracted) -> None:
    assert extract.final(text, finish) == found


FORMS = ("The answer is {}.", "Answer: {}", "the final answer is ({})", "Ans. {0}\nThe answer is {0}", "So the correct option is {}", "Hence {} is the correct answer.", "I would choose option {}.", "{}", "({})", "Option {}", "{}.")  # fmt: skip
WRAPS = ("{}", "**{}**", "`{}`", "### {}", "- {}", "> {}", "<answer>{}</answer>")
EXACT = (r"\boxed{{{}}}", r"$\boxed{{\text{{{}}}}}$", r"\[\boxed{{\mathrm{{{}}}}}\]", '{{"answer": "{}"}}', '```json\n{{"why": "It is so.", "Final_Answer": "({})"}}\n```', "{{'answer_choice': '{}. Text'")  # fmt: skip
DENIALS = ("Option {} is incorrect.", "It is not {}.", "The answer is not {}.", "This rules out {}.", "{} is not the correct answer.", "{} cannot be the answer.")  # fmt: skip
FILLERS = ("A vein returns blood.", "Vitamin B is low, and hepatitis C is ruled out.", "Type A is common. I think of E. coli.", "Is it so?", "No artery is meant; B-cells are.", "The dose is a.m. and p.m.")  # fmt: skip


@st.composite
def statements(draw: st.DrawFn, letters: str, letter: str) -> str:
    """A statement of the letter in some form, with markup around it and perhaps in lower case."""
    shown = draw(st.sampled_from((letter, letter.lower())))
    if draw(st.booleans()):
        return draw(st.sampled_from(EXACT)).format(shown)
    return draw(st.sampled_from(WRAPS)).format(draw(st.sampled_from(FORMS)).format(shown))


@given(data=st.data(), count=st.integers(2, 10))
def test_a_letter_in_any_form_is_read_after_the_others_were_restated_and_denied(
    data: st.DataObject, count: int
) -> None:
    letters = LETTERS[:count]
    letter = data.draw(st.sampled_from(letters))
    others = [other for other in letters if other != letter]
    options = "\n".join(f"{name}. Option text {number}" for number, name in enumerate(letters))
    denied = " ".join(data.draw(st.sampled_from(DENIALS)).format(other) for other in others)
    before = [*data.draw(st.permutations([options, denied, data.draw(st.sampled_from(FILLERS))])), ""]
    reasoning = data.draw(st.sampled_from(("", "<think>\nThe answer is A, or B.\n</think>\n\n")))
    text = reasoning + "\n\n".join(before) + data.draw(statements(letters, letter))
    assert extract.letter(text, letters).value == letter


@given(data=st.data(), texts=st.lists(st.sampled_from((*FILLERS, *DENIALS)), max_size=6))
def test_text_without_a_statement_gives_none(data: st.DataObject, texts: list[str]) -> None:
    text = data.draw(st.sampled_from((" ", "\n"))).join(texts).format(*["C"] * 9)
    assert extract.letter(text, "ABCDEFGHIJ").how == "none"


@given(data=st.data(), before=st.sampled_from(("", "B. Text\n", "The answer is B.\n")))
def test_unfinished_reasoning_is_truncated_whatever_it_states(data: st.DataObject, before: str) -> None:
    text = f"{before}<think>\n{data.draw(statements('ABCD', 'B'))}"
    assert extract.letter(text, "ABCD") == Extracted(None, "truncated")
    assert extract.decision(text) == extract.final(text) == Extracted(None, "truncated")


PARTS = (*"ABCJIab {}[]()\n.,:?!*#\"'\\/", "**", "\\boxed{", "\\text{", '"answer": ', '{"', "the answer", " is ", "option ", " not ", " and ", "both ", "no, ", "wait ", "<think>", "</think>", "yes", "no", "Vein", "ß", "İ", "\u2028")  # fmt: skip
ANYTHING = st.text() | st.lists(st.sampled_from(PARTS), max_size=24).map("".join)


@example(text="{'answer': 'İ'}", options=["İ", "ß"], finish="stop")
@given(text=ANYTHING, options=st.lists(ANYTHING, min_size=2, max_size=10), finish=st.sampled_from(("stop", "length")))
def test_any_text_gives_one_of_the_values_or_a_reason(text: str, options: list[str], finish: Finish) -> None:
    letters = LETTERS[: len(options)]
    chosen = extract.letter(text, letters, options, finish)
    decided = extract.decision(text, finish)
    for found, values in ((chosen, letters), (decided, DECISIONS)):
        assert found.value in values if found.how == "answered" else found.value is None
    opened = extract.final(text, finish)
    assert (opened.value is None) == (opened.how != "answered")


@given(
    text=st.lists(st.sampled_from(("A", "B", "{}", "no, ", "answer: ")), max_size=4).map(" ".join),
    letters=st.integers(2, 9),
)
def test_a_letter_beyond_the_options_is_never_given(text: str, letters: int) -> None:
    assert extract.letter(f"{text.format(*'JJJJ')}\nThe answer is J.", LETTERS[:letters]).value is None


@pytest.mark.parametrize(
    "run",
    ["\n", " ", "*", "_", ".", "(", "answer is ", "not ", "The answer is B. ", "A and ", "A. ", "\\boxed{B} ", "<think>", "</think>", '"answer": ', "no, ", "the ", "B"],
)  # fmt: skip
@pytest.mark.parametrize(
    "reader", [lambda text: extract.letter(text, "ABCD", OPTIONS), extract.decision, extract.final]
)
def test_a_long_run_of_one_sign_is_read_in_time_that_grows_with_its_length(
    run: str, reader: Callable[[str], Extracted]
) -> None:
    """Quadratic time would be many minutes."""
    assert reader(f"So {run * (50_000 // len(run))}so").how == reader(f"So {run * 40}so").how


LABELS = Path(__file__).with_name("raw_answers_labels.jsonl")
"""What each of 100 answers, drawn by seed, and of the 41 odd ones among the rest commits to; by hand, before the reader."""
FEWER = {"bioasq": "AB", "pubmedqa": "ABC"}


@pytest.mark.parametrize("drawn", ["seed", "odd"])
def test_answers_labelled_by_hand_are_read_as_they_were_labelled(shared_data: Path, drawn: str) -> None:
    with (shared_data / "model_outputs" / "raw_answers_600.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    labels = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    found: list[tuple[str, str | None, str]] = []
    for label in (label for label in labels if label["drawn"] == drawn):
        row = rows[label["row"] - 1]
        assert sha256(row["raw"].encode()).hexdigest() == label["sha256"], "the labels are of another file"
        one = extract.letter("".join(json.loads(row["raw"])), FEWER.get(row["task"], "ABCD"))
        found.append((label["label"], one.value, one.how))
    given = [value == label for label, value, _ in found if value]
    committed = [value == label for label, value, _ in found if label in LETTERS]
    reasons = [how == label for label, _, how in found if label not in LETTERS]
    assert all(len(part) > 3 for part in (given, committed, reasons))
    assert sum(given) >= 0.99 * len(given)
    assert sum(committed) >= 0.98 * len(committed)
    assert sum(reasons) >= 0.9 * len(reasons)


def test_no_letter_is_read_wrongly_where_a_key_ends_the_reasoning(shared_data: Path) -> None:
    with (shared_data / "medical_o1" / "medmcqa_short_cot.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::10]
    answers = [(extract.letter(row["Response"], "ABCD"), row["answer"]) for row in rows]
    assert all(found.value == key for found, key in answers)
    thoughts = [(extract.letter(row["Complex_CoT"], "ABCD"), row["answer"]) for row in rows]
    assert {found.value == key for found, key in thoughts if found.value} == {True}
