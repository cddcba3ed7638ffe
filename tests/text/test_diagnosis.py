"""Which diagnosis an answer names: phrasings, what is not named, and names that are or are not the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.text.diagnosis import diagnosis, is_named

NAMES = ("Pulmonary embolism", "PE", "Pulmonary thromboembolism")
RIGHT = NAMES[0]


@pytest.mark.parametrize(
    "text",
    [
        "Pulmonary embolism",
        "pulmonary embolism.",
        "**Pulmonary embolism**",
        "Acute pulmonary embolism. The long flight and the swollen calf point to it.",
        "Pulmonary embolism (PE)",
        "PE",
        "A massive pulmonary embolism, because the right ventricle is dilated.",
        "Pulmonary embolism - sudden dyspnoea after a flight.",
        "Diagnosis: Pulmonary embolism",
        "Diagnosis: **Acute PE**\n\nExplanation: pneumonia is less likely.",
        "The most likely diagnosis is pulmonary embolism.",
        "The most likely diagnosis in this patient is acute pulmonary embolism due to deep vein thrombosis.",
        "The diagnosis is most likely a pulmonary embolism, which needs heparin.",
        "The diagnosis is pulmonary embolism with infarction and effusion.",
        "The diagnosis is pulmonary embolism and the patient needs heparin.",
        "Pulmonary embolism is the most likely diagnosis. Pneumonia would bring fever.",
        "The differential diagnosis is wide: pneumonia, pericarditis. The diagnosis is pulmonary embolism.",
        "The diagnosis is pneumonia. No: the final diagnosis is pulmonary embolism.",
        "The diagnosis is pulmonary embolism. The diagnosis is confirmed by CT angiography.",
        "<think>It may be pneumonia.</think>Pulmonary embolism.",
        "The final answer is pulmonary embolism.",
        "This patient most likely has a pulmonary embolism.",
        "The picture is most consistent with acute pulmonary embolism.",
        "Her dyspnoea after the flight suggests pulmonary embolism.",
        "Diagnosis: PE (pulmonary embolism)",
        "### Diagnosis\nPulmonary embolism\n\n### Explanation\nA clot.",
        "The most likely diagnosis for this patient is: **Acute PE**.",
        "Likely diagnosis - Pulmonary embolism",
        '{"diagnosis": "Pulmonary embolism"}',
        "Pulmonary embolism is most likely.",
        "This is a pulmonary embolism. It is caused by a clot from the calf.",
        "I think this is pulmonary embolism.",
        "The patient has an acute pulmonary embolism.",
        "The diagnosis is thromboembolism of the lung (pulmonary embolism).",
    ],
)
def test_the_reference_is_named(text: str) -> None:
    found = diagnosis(text, NAMES)
    assert (found.value, found.how) == (RIGHT, "answered")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Pneumonia.", "Pneumonia"),
        ("The most likely diagnosis is community-acquired pneumonia.", "community-acquired pneumonia"),
        ("Diagnosis: pneumonia. Differential diagnosis: pulmonary embolism.", "pneumonia"),
        ("The diagnosis is pneumonia rather than pulmonary embolism.", "pneumonia"),
        ("The diagnosis is right heart failure due to pulmonary embolism.", "right heart failure due to pulmonary embolism"),
        ("The diagnosis is a pulmonary embolism mimic.", "a pulmonary embolism mimic"),
        ("Pneumonia is the most likely diagnosis; pulmonary embolism is unlikely.", "Pneumonia"),
        ("The diagnosis is embolism.", "embolism"),
    ],
)  # fmt: skip
def test_another_diagnosis_is_an_answer_and_not_the_reference(text: str, value: str) -> None:
    found = diagnosis(text, NAMES)
    assert (found.value, found.how) == (value, "answered")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", "none"),
        ("Give oxygen and call for help.\nThe patient should be admitted.", "none"),
        ("The diagnosis is not pulmonary embolism.", "none"),
        ("The diagnosis could be pulmonary embolism.", "none"),
        ("The differential diagnosis is pulmonary embolism.", "none"),
        ("Another possible diagnosis is pulmonary embolism.", "none"),
        ("The diagnosis is unclear.", "none"),
        ("This is not pulmonary embolism.", "none"),
        ("It could be pulmonary embolism.", "none"),
        ("The diagnosis is pulmonary embolism or pneumonia.", "several"),
        ("Pulmonary embolism/pneumonia", "several"),
        ("Pneumonia versus pulmonary embolism", "several"),
        ("Diagnosis: pulmonary embolism and pneumonia", "several"),
        ("1. Pulmonary embolism\n2. Pneumonia\n3. Pericarditis", "several"),
        ("The pain suggests pericarditis. The dyspnoea suggests pulmonary embolism.", "several"),
        ("I cannot determine a diagnosis from this.", "refused"),
        ("<think>Pulmonary embolism", "truncated"),
    ],
)
def test_what_names_no_single_diagnosis_is_told_as_such(text: str, how: str) -> None:
    found = diagnosis(text, NAMES)
    assert (found.value, found.how) == (None, how)


@pytest.mark.parametrize(
    ("text", "value"),
    [("The diagnosis is pulmonary emb", None), ("Pulmonary embolism. The calf is swollen and the", RIGHT)],
)
def test_an_answer_that_was_cut_counts_as_far_as_it_is_whole(text: str, value: str | None) -> None:
    found = diagnosis(text, NAMES, "length")
    assert (found.value, found.how) == (value, "answered" if value else "truncated")


@pytest.mark.parametrize(
    ("name", "phrase", "expected"),
    [
        ("Appendicitis", "acute appendicitis", True),
        ("Iron-deficiency anemia", "iron deficiency anaemia", True),
        ("Crohn's disease", "Crohn disease", True),
        ("Guillain-Barré syndrome", "Guillain Barre syndrome", True),
        ("Oesophageal carcinoma", "esophageal carcinoma", True),
        ("Phyllodes tumor", "phyllodes tumour of the breast", True),
        ("Carcinoma of lung", "carcinoma of the lung with metastases", True),
        ("Pre-eclampsia", "preeclampsia", True),
        ("Myocardial infarction (heart attack)", "an inferior myocardial infarction", True),
        ("Diarrhoea", "diarrhea", True),
        ("Hand, foot and mouth disease", "hand, foot, and mouth disease", True),
        ("Hepatitis A", "hepatitis", False),
        ("Hepatitis A", "hepatitis B", False),
        ("Diabetes", "diabetes insipidus", False),
        ("Hodgkin lymphoma", "non-Hodgkin lymphoma", False),
        ("Small cell lung cancer", "non-small cell lung cancer", False),
        ("Eclampsia", "pre-eclampsia", False),
        ("Gout", "pseudogout", False),
        ("Abdominal aortic aneurysm", "rupture of an abdominal aortic aneurysm", False),
        ("Myocardial infarction", "pericarditis after myocardial infarction", False),
        ("Acute appendicitis", "appendicitis", False),
        ("...", "appendicitis", False),
    ],
)
def test_names_are_levelled_and_never_guessed(name: str, phrase: str, expected: bool) -> None:
    assert is_named(name, phrase) == expected


@pytest.mark.parametrize("name", ["Hand, foot and mouth disease", "Systemic inflammation and shock syndrome"])
def test_a_name_that_joins_words_itself_is_one_diagnosis(name: str) -> None:
    assert diagnosis(f"The diagnosis is {name.lower()}.", (name,)).value == name


def test_what_repeats_itself_without_end_is_read_in_linear_steps() -> None:
    assert diagnosis("the diagnosis is " * 20_000, NAMES).how != "refused"


@given(st.text(max_size=200))
def test_any_text_is_read_and_a_value_is_there_if_and_only_if_it_was_answered(text: str) -> None:
    found = diagnosis(text, NAMES)
    assert (found.value is not None) == (found.how == "answered")
    assert is_named(text, "") is False
