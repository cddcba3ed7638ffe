"""The parity check is told as it is: what failed is named, and what quantising cost stands in figures."""

from typing import Any, get_args

import pytest

from bedside.export.readings import Fault
from bedside.report.parity import FAULTS, lines, sentence

from .sample import parity

FAILED = parity(ok=False, findings=[{"fault": "system-dropped", "where": "m.gguf", "detail": ""}] * 2)


@pytest.mark.parametrize(
    ("found", "answer", "said"),
    [
        (None, "Not checked.", "was not compared"),
        (parity(), "Yes.", "64 conversations become the same token ids"),
        (parity(), "Yes.", "16-bit file continue them with the same words"),
        (FAILED, "No.", "should not be used: the system message is dropped."),
    ],
)
def test_the_answer_is_in_words(found: Any, answer: str, said: str) -> None:
    assert sentence(found)[0] == answer
    assert said in sentence(found)[1]


def test_every_model_and_file_has_its_figures() -> None:
    found = dict(lines(parity()))
    assert found["q8_0"] == ["0.0040", "95.6\N{NO-BREAK SPACE}%", "1.004", "1 of 24", "3,412"]
    assert found["Base with the adapter"][3] == "–"
    assert lines(None) == []


def test_every_fault_has_words() -> None:
    assert FAULTS.keys() == set(get_args(Fault))
