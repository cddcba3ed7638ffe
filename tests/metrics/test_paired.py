from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bedside.errors import DataError
from bedside.metrics import paired
from bedside.metrics.paired import Difference, WinsAndLosses
from bedside.metrics.power import detectable


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
        (1, 7, 0.0703),  # Fagerland 2013, BMC Medical Research Methodology 13:91, airway hyper-responsiveness
        (6, 16, 0.0525),  # the same, complications before and after: 2 * 110056 / 2**22
    ],
)
def test_zeros_and_ones_get_the_exact_mcnemar_test(lost: int, won: int, p: float) -> None:
    found = paired.compare(*outcomes(20, lost, won, 20), seed=1)
    assert found.p == pytest.approx(p, abs=5e-5)
    assert found.value == pytest.approx((won - lost) / (40 + lost + won))


@pytest.mark.parametrize(("lost", "won"), [(2, 10), (0, 6), (40, 61), (1, 0), (86, 150)])
def test_mcnemar_and_holm_agree_with_statsmodels(lost: int, won: int) -> None:
    reference = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar([[20, lost], [won, 20]], exact=True)
    assert paired.compare(*outcomes(20, lost, won, 20), seed=1).p == pytest.approx(reference.pvalue, rel=1e-9)
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = [reference.pvalue, 0.04, 0.001 * won, 0.5]
    assert paired.holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


def test_the_p_value_forgets_who_is_base() -> None:
    base, tuned = outcomes(5, 2, 9, 5)
    assert paired.compare(base, tuned, 1).p == paired.compare(tuned, base, 1).p
    assert paired.compare(base, tuned, 1).value == -paired.compare(tuned, base, 1).value


@pytest.mark.parametrize(("lost", "won", "n"), [(0, 0, 3), (5, 32, 150), (1, 1, 12), (0, 4, 9)])
def test_the_interval_is_turned_round_with_the_models(lost: int, won: int, n: int) -> None:
    base, tuned = outcomes(n - lost - won, lost, won, 0)
    for seed in (1, 2, 3, 42):
        low, high = paired.compare(base, tuned, seed).ci
        assert paired.compare(tuned, base, seed).ci == pytest.approx((-high, -low), abs=1e-12)


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


def test_models_that_agree_on_few_items_are_not_certain_to_be_equal() -> None:
    low, high = paired.compare([1.0] * 20, [1.0] * 20, seed=1).ci
    assert low < -0.05 < 0.05 < high
    many = paired.compare([1.0] * 2000, [1.0] * 2000, seed=1).ci
    assert -0.005 < many[0] < many[1] < 0.005


@pytest.mark.parametrize(("lost", "won", "n"), [(37, 38, 500), (20, 70, 500), (10, 25, 100)])
def test_drawing_counts_gives_the_interval_of_drawing_items(lost: int, won: int, n: int) -> None:
    base, tuned = outcomes(n // 2, lost, won, n - n // 2 - lost - won)
    differences = np.subtract(tuned, base)
    reference = stats.bootstrap((differences,), np.mean, n_resamples=5000, method="percentile", batch=500, rng=1)
    low, high = reference.confidence_interval
    assert paired.compare(base, tuned, seed=1).ci == pytest.approx((low, high), abs=1.5 / n)


def test_a_graded_interval_is_scipys_with_the_wider_tails_of_few_items() -> None:
    values = np.random.default_rng(3).gamma(2.0, 0.1, 12)
    tail = stats.norm.cdf(np.sqrt(12 / 11) * stats.t.ppf(0.025, 11))
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=1 - 2 * tail, method="percentile", rng=1
    )
    _, found = paired.mean_interval(values.tolist(), seed=1)
    assert found == pytest.approx(tuple(reference.confidence_interval), abs=0.004)


def test_what_is_drawn_does_not_depend_on_how_much_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = np.random.default_rng(1).random((2, 40)).tolist()
    whole = paired.compare(base, tuned, seed=1)
    monkeypatch.setattr(paired, "BLOCK", 400)
    assert paired.compare(base, tuned, seed=1) == whole


def test_wins_and_losses_are_listed_by_item_the_largest_first() -> None:
    found = paired.wins_and_losses(["a", "b", "c", "d", "e"], [0.5, 0.5, 0.5, 0.5, 0.5], [0.6, 0.1, 0.9, 0.5, 0.4])
    assert found == WinsAndLosses(won=("c", "a"), lost=("b", "e"))
    with pytest.raises(DataError, match="cannot pair"):
        paired.wins_and_losses(["a", "b"], [0.5, 0.5], [0.5])


def test_equal_wins_stay_in_the_order_given() -> None:
    found = paired.wins_and_losses(["z", "a", "m"], [0, 1, 0], [1, 0, 1])
    assert (found.won, found.lost) == (("z", "m"), ("a",))


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
    assert paired.compare(base, tuned, seed=1).detectable == pytest.approx(0.0499, abs=1e-4)


@pytest.mark.parametrize("n", [2, 10, 50])
def test_few_items_that_happen_to_agree_do_not_show_small_differences(n: int) -> None:
    found = paired.compare([1.0] * n, [1.0] * n, seed=1)
    assert found.detectable == detectable(n, discordance=0.15)


def test_a_spread_wider_than_planned_is_believed() -> None:
    base, tuned = outcomes(0, 20, 20, 0)
    assert paired.compare(base, tuned, seed=1).detectable == detectable(40, discordance=1.0)
    assert paired.compare(base, tuned, seed=1, tests=3).detectable == detectable(40, 1.0, tests=3)


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
