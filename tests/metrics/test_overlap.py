import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.metrics.overlap import rouge_l


@pytest.mark.parametrize(
    ("reference", "candidate", "f1"),
    [
        ("police killed the gunman", "police kill the gunman", 1.0),  # stemmed; else Lin 2004's 3/4
        ("police killed the gunman", "the gunman kill police", 0.5),  # Lin 2004, section 3: subsequence "the gunman"
        ("give aspirin", "give aspirin at once", 2 * 1.0 * 0.5 / 1.5),
        ("give aspirin", "rest", 0.0),
        ("give aspirin", "", 0.0),
        ("Give aspirin!", "give ASPIRIN", 1.0),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(reference: str, candidate: str, f1: float) -> None:
    assert rouge_l(reference, candidate) == pytest.approx(f1)


@settings(max_examples=40, deadline=None)
@given(reference=st.text(max_size=40), candidate=st.text(max_size=40))
def test_rouge_l_stays_in_its_bounds_and_is_symmetric(reference: str, candidate: str) -> None:
    assert 0 <= rouge_l(reference, candidate) <= 1
    assert rouge_l(reference, candidate) == pytest.approx(rouge_l(candidate, reference))


def test_without_the_package_the_line_that_installs_it_is_told() -> None:
    code = (
        "import sys\n"
        "sys.modules['rouge_score'] = None\n"
        "from bedside.errors import MissingExtra\n"
        "from bedside.metrics.overlap import rouge_l\n"
        "try:\n    rouge_l('a', 'a')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("pip install 'bedside[eval]'")
