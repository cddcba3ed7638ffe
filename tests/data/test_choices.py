"""Multiple choice as the known benchmarks write it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bedside.data import sources
from bedside.errors import DataError
from bedside.recipe import DataSection
from bedside.records import Example

STEM = "A man has crushing chest pain. What is first?"
MEDQA = {
    "question": STEM,
    "options": {"A": "Aspirin", "B": "Insulin"},
    "answer": "Aspirin",
    "answer_idx": "A",
    "meta_info": "step1",
}
MEDMCQA = {"question": STEM, "opa": "Insulin", "opb": "Aspirin", "opc": "None", "opd": "All", "cop": 1, "exp": "It helps.", "subject_name": "Medicine"}  # fmt: skip
MMLU = {"question": STEM, "subject": "anatomy", "choices": ["Insulin", "Heparin", "Aspirin"], "answer": 2}
MMLU_PRO = {"question": STEM, "options": list("abcdefghij"), "answer": "J", "answer_index": 9, "category": "health"}


def read(folder: Path, row: dict[str, Any], **settings: Any) -> Example:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row))
    section = DataSection.model_validate({"source": "mcq", "path": str(path), **settings})
    return next(sources.read(section))


@pytest.mark.parametrize(
    ("row", "label", "answer", "subject", "reasoning"),
    [
        (MEDQA, "A", "A. Aspirin", "", ""),
        (MEDMCQA, "B", "B. Aspirin", "Medicine", "It helps."),
        (MMLU, "C", "C. Aspirin", "anatomy", ""),
        (MMLU_PRO, "J", "J. j", "health", ""),
    ],
    ids=["MedQA", "MedMCQA", "MMLU", "MMLU-Pro"],
)
def test_each_benchmark_is_read_as_it_is_published(
    tmp_path: Path, row: dict[str, Any], label: str, answer: str, subject: str, reasoning: str
) -> None:
    found = read(tmp_path, row)
    assert (found.label, found.answer, found.subject, found.reasoning) == (label, answer, subject, reasoning)


def test_options_may_be_counted_from_one(tmp_path: Path) -> None:
    assert read(tmp_path, {**MEDMCQA, "cop": 2}, first_option=1).answer == "B. Aspirin"
    assert read(tmp_path, {**MEDMCQA, "cop": 4}, first_option=1).label == "D"


@pytest.mark.parametrize("cop", [4, -1])
def test_a_number_beyond_the_options_tells_how_to_count_from_one(tmp_path: Path, cop: int) -> None:
    with pytest.raises(DataError, match=r"line 1: the answer is none of .* numbers from 0 \(data.first_option = 1 if"):
        read(tmp_path, {**MEDMCQA, "cop": cop})


def test_a_key_that_contradicts_the_text_is_kept_for_lint_to_tell(tmp_path: Path) -> None:
    found = read(tmp_path, {**MEDQA, "answer_idx": "B"})
    assert (found.label, found.answer) == ("B", "A. Aspirin")


def test_the_other_sets_of_medical_meadow_keep_their_instruction(tmp_path: Path) -> None:
    row = {"instruction": "Summarise the abstract.", "input": "We found much.", "output": "Much was found."}
    found = read(tmp_path, row, source="meadow")
    assert found.question == "Summarise the abstract.\n\nWe found much."


@pytest.mark.parametrize("subset", ["unlabelled", "artificial"])
def test_pubmedqa_reads_its_unlabelled_and_its_artificial_set(tmp_path: Path, subset: str) -> None:
    row = {"QUESTION": "Did it work?", "CONTEXTS": ["A trial."], "LABELS": ["METHODS"], "LONG_ANSWER": "It did."}
    if subset == "artificial":
        row["final_decision"] = "yes"
    path = tmp_path / "ori.json"
    path.write_text(json.dumps({"123": row}))
    found = next(sources.read(DataSection(source="pubmedqa", path=str(path))))
    assert (found.id, found.group) == ("123", "123")
    assert found.answer == ("Yes. It did." if subset == "artificial" else "It did.")
    assert found.label == ("yes" if subset == "artificial" else "")


@pytest.mark.parametrize(
    ("row", "label", "answer"),
    [
        ({"question": STEM, "choices": ["2", "4", "6", "0"], "answer": 2}, "C", "C. 6"),
        ({**MEDMCQA, "opa": 10, "opb": 12, "opc": 2, "opd": 1, "cop": 1}, "B", "B. 12"),
        ({"question": STEM, "options": ["B", "A", "C", "D"], "answer_idx": "A", "answer": "B"}, "A", "A. B"),
        ({"question": STEM, "options": ["2", "4", "6", "0"], "answer": "4"}, "B", "B. 4"),
        ({"question": STEM, "options": {"A": "2", "B": "1"}, "answer": "A"}, "A", "A. 2"),
    ],
)
def test_options_that_are_numbers_or_letters_themselves_are_told_from_keys(
    tmp_path: Path, row: dict[str, Any], label: str, answer: str
) -> None:
    found = read(tmp_path, row)
    assert (found.label, found.answer) == (label, answer)


@pytest.mark.parametrize("answer", [["A"], {"a": 1}, 1.5])
def test_an_answer_that_is_no_text_or_number_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(DataError, match="the answer is none of"):
        read(tmp_path, {**MEDQA, "answer": answer})


@pytest.mark.parametrize("source", ["chat", "pubmedqa", "meadow", "mcq", "medical-o1"])
def test_every_source_takes_a_mapped_group(tmp_path: Path, source: str) -> None:
    rows = {
        "chat": {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        "pubmedqa": {"QUESTION": "Did it?", "CONTEXTS": ["A."], "LABELS": ["M"], "LONG_ANSWER": "It did.", "id": "1"},
        "meadow": {"instruction": "Say.", "input": "What?", "output": "That."},
        "mcq": MEDQA,
        "medical-o1": {"Question": "Why?", "Complex_CoT": "Hm.", "Response": "So."},
    }
    found = read(tmp_path, {**rows[source], "patient": "p7"}, source=source, columns={"group": "patient"})
    assert found.group == "p7"


def test_a_chat_in_r1s_own_form_keeps_its_reasoning(tmp_path: Path) -> None:
    said = "Fever, so sepsis.\n</think>\n\nGive antibiotics."
    row = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": said}]}
    found = read(tmp_path, row, source="chat")
    assert (found.reasoning, found.answer) == ("Fever, so sepsis.", "Give antibiotics.")


@pytest.mark.parametrize("options", [[4, 3, 2, 1], ["4", "3", "2", "1"], {"A": 4, "B": 3, "C": 2, "D": 1}])
def test_a_bare_number_that_is_one_options_text_and_another_ones_place_is_refused(tmp_path: Path, options: Any) -> None:
    row = {"question": STEM, "options": options, "answer": 1}
    with pytest.raises(DataError) as caught:
        read(tmp_path, row)
    assert str(caught.value) == (
        f"{tmp_path}/rows.jsonl line 1: the answer 1 is the text of option D and the number of option B;"
        " give the letter, or name the column answer_idx if it holds numbers"
    )
    assert read(tmp_path, {**row, "answer": "D"}).answer == "D. 1"
    assert read(tmp_path, {"question": STEM, "options": options, "answer_idx": 1}).answer == "B. 3"
    assert read(tmp_path, {**row, "answer": "1"}).answer == "D. 1", "MedQA's answers are texts"
    assert read(tmp_path, {**row, "answer_idx": "D"}).answer == "D. 1"


def test_a_number_that_says_the_same_either_way_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, {"question": STEM, "options": [0, 1, 2], "answer": 1}).answer == "B. 1"
    row = {"question": STEM, "options": [1, 2, 3], "answer": 2}
    assert read(tmp_path, row, first_option=1).answer == "B. 2"
    with pytest.raises(DataError, match="the text of option B and the number of option C"):
        read(tmp_path, row)
