from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import DataError
from bedside.metrics import paired
from bedside.metrics.paired import Difference


def outcomes(both: int, lost: int, won: int, neither: int) -> tuple[list[float], list[float]]:
    """Scores of base and tuned for a two-by-two table of items."""
    base = [1.0] * both + [1.0] * lost + [0.0] * won + [0.0] * neither
    tuned = [1.0] * both + [0.0] * lost + [1.0] * won + [0.0] * neither
    return base, tuned


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (Wilson without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_proportion_gets_wilsons_interval(right: int, n: int, low: float, high: float) -> None:
    mean, interval = paired.mean_interval([1] * right + [0] * (n - right), seed=1, proportion=True)
    assert mean == pytest.approx(right / n)
    assert interval == pytest.approx((low, high), abs=6e-5)


def test_the_bootstrap_interval_is_near_the_normal_one_and_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400).tolist()
    mean, (low, high) = paired.mean_interval(values, seed=1)
    half = 1.96 * float(np.std(values, ddof=1)) / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.001)
    assert paired.mean_interval(values, seed=1) == (mean, (low, high))
    assert paired.mean_interval(values, seed=2) != (mean, (low, high))


def test_a_metric_of_nothing_raises() -> None:
    with pytest.raises(DataError, match="no items"):
        paired.mean_interval([], seed=1)


def test_scores_that_happen_to_be_zero_are_no_proportion() -> None:
    assert paired.mean_interval([0.0] * 12, seed=1) == (0.0, (0.0, 0.0))
    with pytest.raises(DataError, match="no items"):
        paired.compare([], [], seed=1)


def test_models_are_compared_on_the_same_items_only() -> None:
    with pytest.raises(DataError, match="cannot pair 2 base items with 3 tuned items"):
        paired.compare([0, 1], [0, 1, 1], seed=1)


def test_one_item_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="1 item cannot be compared"):
        paired.compare([0], [1], seed=1)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [  # two-sided exact binomial: twice the tail of Binomial(lost + won, 1/2), by hand
        (2, 10, 158 / 4096),
        (0, 6, 2 / 64),
        (3, 3, 1.0),
        (0, 1, 1.0),
        (0, 0, 1.0),
    ],
)
def test_zeros_and_ones_get_the_exact_mcnemar_test(lost: int, won: int, p: float) -> None:
    found = paired.compare(*outcomes(20, lost, won, 20), seed=1)
    assert found.p == pytest.approx(p, rel=1e-9)
    assert found.value == pytest.approx((won - lost) / (40 + lost + won))


def test_the_p_value_forgets_who_is_base() -> None:
    base, tuned = outcomes(5, 2, 9, 5)
    assert paired.compare(base, tuned, 1).p == paired.compare(tuned, base, 1).p
    assert paired.compare(base, tuned, 1).value == -paired.compare(tuned, base, 1).value


@pytest.mark.parametrize("differences", [[0.2, 0.3, 0.4], [0.5, -0.1, 0.3, 0.25], [0.1, -0.2, 0.3, -0.4, 0.0]])
def test_other_scores_get_the_permutation_test(differences: list[float]) -> None:
    totals = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    exact = np.mean([abs(total) >= abs(sum(differences)) - 1e-9 for total in totals])
    found = paired.compare([0.5] * len(differences), [0.5 + d for d in differences], seed=1)
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.p > 0


def test_the_interval_of_a_difference_never_separates_the_scores_of_an_item() -> None:
    hard = np.linspace(0, 1, 50)  # items differ much, the models by 0.1 on each
    found = paired.compare(hard.tolist(), (hard + 0.1).tolist(), seed=1)
    assert found.ci == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # R: p.adjust(c(.01, .04, .03, .005), "holm")
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_adjusts_for_several_tasks(p_values: list[float], adjusted: list[float]) -> None:
    assert paired.holm(p_values) == pytest.approx(adjusted)


@given(p_values=st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    adjusted = paired.holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    ranked = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert ranked == sorted(ranked)


def test_five_hundred_decisions_show_a_difference_of_five_points() -> None:
    base, tuned = outcomes(300, 37, 38, 125)  # 15 % of the items discordant
    assert paired.compare(base, tuned, seed=1).detectable == pytest.approx(0.0485, abs=2e-4)


@pytest.mark.parametrize("n", [2, 10, 50])
def test_few_items_that_happen_to_agree_do_not_show_small_differences(n: int) -> None:
    found = paired.compare([1.0] * n, [1.0] * n, seed=1)
    assert found.detectable == pytest.approx(2.8016 * np.sqrt(0.15 / n), rel=1e-4)


def test_a_spread_wider_than_planned_is_believed() -> None:
    base, tuned = outcomes(0, 20, 20, 0)
    sd = np.std(np.subtract(tuned, base), ddof=1)
    assert paired.compare(base, tuned, seed=1).detectable == pytest.approx(2.8016 * sd / np.sqrt(40), rel=1e-4)


def test_scores_other_than_zero_and_one_keep_the_spread_that_was_seen() -> None:
    differences = [0.01, -0.01] * 50
    found = paired.compare([0.5] * 100, [0.5 + d for d in differences], seed=1)
    assert found.detectable == pytest.approx(2.8016 * np.std(differences, ddof=1) / 10, rel=1e-4)


@pytest.mark.parametrize(
    ("value", "p", "n", "detectable", "word"),
    [
        (0.1, 0.01, 100, 0.05, "better"),
        (-0.1, 0.01, 100, 0.05, "worse"),
        (0.1, 0.05, 100, 0.05, "no difference shown"),
        (0.1, 0.2, 100, 0.15, "underpowered"),
        (0.0, 1.0, 100, 0.10, "no difference shown"),
        (0.1, 0.01, 100, 0.15, "better"),
        (0.9, 0.001, 9, 0.05, "underpowered"),
        (0.9, 0.001, 10, 0.05, "better"),
    ],
)
def test_the_verdict_says_no_more_than_the_items_can(
    value: float, p: float, n: int, detectable: float, word: str
) -> None:
    assert paired.verdict(Difference(value, (0, 0), p, detectable), p, n, matters=0.1) == word


@settings(max_examples=25, deadline=None)
@given(scores=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_every_comparison_is_within_its_bounds(scores: list[tuple[float, float]]) -> None:
    base, tuned = [a for a, _ in scores], [b for _, b in scores]
    found = paired.compare(base, tuned, seed=1)
    assert 0 < found.p <= 1
    assert -1 <= found.ci[0] <= found.ci[1] <= 1
    assert 0 <= found.detectable < float("inf")
