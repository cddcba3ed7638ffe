import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.data.shingles import shingles, words

WORDS = st.lists(st.sampled_from(["fever", "cough", "β", "2", "mg", "+", "热"]), max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A 45-year-old man, febrile.", ["a", "45", "year", "old", "man", "febrile"]),
        ("Crohn's  disease\n(ileal)", ["crohn", "s", "disease", "ileal"]),
        ("5.5 mg/dL", ["5", "5", "mg", "dl"]),
        ("**bold** and _plain_", ["bold", "and", "plain"]),
        ("STRASSE Straße ﬁbrosis ５mg", ["strasse", "strasse", "fibrosis", "5mg"]),
        ("高血圧のリスク", ["高", "血", "圧", "の", "リ", "ス", "ク"]),
        ("HbA1c 升高。", ["hba1c", "升", "高"]),
        ("고혈압 환자", ["고혈압", "환자"]),
        ("HLA-B27 +", ["hla", "b27", "+"]),
        ("HLA-B27 -", ["hla", "b27", "-"]),
        ("Rh- mother, Rh+ child", ["rh", "-", "mother", "rh", "+", "child"]),
        ("CD4+/CD8- and (−)", ["cd4", "+", "cd8", "-", "and", "-"]),
        ("Na⁺ ≥ 145, ↑TSH", ["na", "+", "≥", "145", "↑", "tsh"]),
        ("asthma - a disease - of - the airways", ["asthma", "a", "disease", "of", "the", "airways"]),
        ("fever -- cough — rash--pain ---", ["fever", "cough", "rash", "pain"]),
        ("RF: -\nANA: +\n", ["rf", "-", "ana", "+"]),
        ("- first\n- second", ["first", "second"]),
        ("BMI > 30", ["bmi", ">", "30"]),
        (" ... \n", []),
    ],
)
def test_words_are_folded_and_keep_the_signs_that_turn_a_finding_round(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(text=st.text())
def test_any_text_has_words_without_space_in_them(text: str) -> None:
    assert all(word and not any(sign.isspace() for sign in word) for word in words(text))


@given(told=WORDS, n=st.integers(1, 5))
def test_there_is_one_shingle_for_each_distinct_run_of_words(told: list[str], n: int) -> None:
    length = min(n, len(told))
    runs = {tuple(told[i : i + length]) for i in range(len(told) - length + 1)} if told else set()
    found = shingles(told, n)
    assert len(found) == len(runs)
    assert (np.diff(found.astype(object)) > 0).all()


@given(told=WORDS, before=WORDS, after=WORDS)
def test_a_text_of_three_words_keeps_its_shingles_inside_another(
    told: list[str], before: list[str], after: list[str]
) -> None:
    if len(told) >= 3:
        assert set(shingles(told)) <= set(shingles([*before, *told, *after]))


def test_the_order_of_words_counts() -> None:
    assert not set(shingles(["aspirin", "before", "surgery"])) & set(shingles(["surgery", "before", "aspirin"]))


def test_fewer_words_than_n_are_one_shingle_and_none_is_none() -> None:
    assert len(shingles(["fever", "cough"], 3)) == 1
    assert len(shingles([], 3)) == 0


def test_a_single_word_is_its_crc() -> None:
    assert shingles(["123456789"]).tolist() == [0xCBF43926]  # the check value in CRC-32's specification


def test_hashes_are_the_same_in_every_process() -> None:
    program = (
        "from bedside.data.shingles import shingles, words; print(shingles(words('Fever and β-blocker use')).tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(shingles(words("Fever and β-blocker use")).tolist())
