import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import DataError
from bedside.metrics.overlap import bleu, exact_match, names, rouge, rouge_l

GUIDE = "It is a guide to action that ensures that the military will forever heed Party commands"
OBEYS = "It is a guide to action which ensures that the military always obeys the commands of the party"


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


def test_rouge_counts_words_pairs_and_the_subsequence() -> None:
    # words 4 of 4; the pair "the gunman" of 3; the subsequence "the gunman" of 4
    assert rouge("police killed the gunman", "the gunman kill police") == pytest.approx((1.0, 1 / 3, 0.5))
    # words 5 of 6 and 5 of 6; pairs 3 of 5 and 3 of 5; "the cat on the mat" 5 of 6
    assert rouge("the cat is on the mat", "the cat sat on the mat") == pytest.approx((5 / 6, 3 / 5, 5 / 6))


@settings(max_examples=40, deadline=None)
@given(reference=st.text(max_size=40), candidate=st.text(max_size=40))
def test_rouge_stays_in_its_bounds_and_is_symmetric(reference: str, candidate: str) -> None:
    found = rouge(reference, candidate)
    assert all(0 <= one <= 1 for one in found)
    assert found == pytest.approx(rouge(candidate, reference))
    assert found.l == rouge_l(reference, candidate)


@pytest.mark.parametrize(
    ("reference", "candidate", "same"),
    [
        ("The Lyme disease", "lyme  disease.", True),
        ("beta-blocker", "betablocker", True),  # punctuation is deleted, as in SQuAD's own script
        ("an ACE inhibitor", "ACE inhibitor", True),
        ("anaemia", "aemia", False),  # an article is a whole word
        ("metformin", "metformin 500 mg", False),
        ("a", "the", True),
    ],
)
def test_exact_match_is_blind_for_what_squad_is_blind_for(reference: str, candidate: str, same: bool) -> None:
    assert exact_match(reference, candidate) is same


@pytest.mark.parametrize(
    ("reference", "candidate", "product"),
    [
        # Papineni 2002, example 1, against its first reference; 18 words against 16, so no penalty
        (GUIDE, OBEYS, 11 / 18 * 8 / 17 * 6 / 16 * 4 / 15),
        # no run of four words is right: smoothed to 1 / (2 * 3), Chen and Cherry 2014, method 3
        ("the cat is on the mat", "the cat sat on the mat", 5 / 6 * 3 / 5 * 1 / 4 * 1 / 6),
        # all right but one word short: brevity penalty exp(1 - 6 / 5)
        ("the cat is on the mat", "the cat is on the", np.exp(1 - 6 / 5) ** 4),
    ],
)
def test_bleu_is_the_geometric_mean_of_four_precisions(reference: str, candidate: str, product: float) -> None:
    assert bleu([reference], [candidate], seed=1).score == pytest.approx(100 * product ** (1 / 4))


def test_bleu_sums_counts_over_the_items_and_shows_how_it_counted() -> None:
    found = bleu(["the cat is on the mat", GUIDE], ["the cat sat on the mat", OBEYS], seed=1)
    summed = (11 + 5) / (18 + 6) * (8 + 3) / (17 + 5) * (6 + 1) / (16 + 4) * (4 + 0) / (15 + 3)
    assert found.score == pytest.approx(100 * summed ** (1 / 4))
    assert found.n == 2
    assert found.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_the_interval_of_bleu_is_that_of_drawing_items() -> None:
    generator = np.random.default_rng(0)
    words = GUIDE.split()
    references = [GUIDE] * 30
    candidates = [" ".join(word for word in words if generator.random() < 0.85) for _ in references]
    drawn = []
    for _ in range(300):
        chosen = generator.integers(0, 30, 30)
        drawn.append(corpus(references, [candidates[i] for i in chosen]))
    found = bleu(references, candidates, seed=1)
    assert found.ci[0] < found.score < found.ci[1]
    assert found.ci == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=2.0)
    assert bleu(references, candidates, seed=1) == found
    alike = bleu(references[:1] * 5, candidates[:1] * 5, seed=1)
    assert alike.ci == pytest.approx((alike.score, alike.score))


def corpus(references: list[str], candidates: list[str]) -> float:
    from sacrebleu import corpus_bleu

    return float(corpus_bleu(candidates, [references]).score)


@pytest.mark.parametrize(("references", "candidates"), [([], []), (["a"], ["a", "b"])])
def test_bleu_of_nothing_or_of_odd_items_raises(references: list[str], candidates: list[str]) -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        bleu(references, candidates, seed=1)


@pytest.mark.parametrize(
    ("package", "call"), [("rouge_score", "rouge('a', 'a')"), ("sacrebleu", "bleu(['a'], ['a'], seed=1)")]
)
def test_without_the_package_the_line_that_installs_it_is_told(package: str, call: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules['{package}'] = None\n"
        "from bedside.errors import MissingExtra\n"
        "from bedside.metrics.overlap import bleu, rouge\n"
        f"try:\n    {call}\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("pip install 'bedside[eval]'")


@pytest.mark.parametrize(
    ("reference", "candidate", "found"),
    [
        ("Acute pericarditis", "This is most likely an acute pericarditis.", True),
        ("the gout", "Gout!", True),
        ("acute pericarditis", "acute viral pericarditis", False),
        ("gout", "goutweed", False),
        ("", "anything", False),
    ],
)
def test_a_diagnosis_is_named_where_its_words_stand_together(reference: str, candidate: str, found: bool) -> None:
    assert names(reference, candidate) == found
