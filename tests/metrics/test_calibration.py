from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import DataError
from bedside.metrics import calibration
from bedside.metrics.calibration import Bin

SURE = st.floats(0, 1)
OUTCOMES = st.lists(st.tuples(SURE, st.booleans()), min_size=1, max_size=40)
# Pavlovic 2023, "Expected Calibration Error (ECE): a step-by-step visual explanation": nine items, three bins
CONFIDENCE = [0.22, 0.64, 0.92, 0.42, 0.51, 0.15, 0.70, 0.37, 0.83]
RIGHT = [True, True, False, True, False, False, True, True, True]


def test_ece_is_that_of_a_published_example() -> None:
    # by hand: 2/9 |0.5 - 0.185| + 4/9 |0.75 - 0.485| + 3/9 |0.66667 - 0.81667|
    assert calibration.ece(CONFIDENCE, RIGHT, bins=3) == pytest.approx(0.23778, abs=5e-6)


def test_the_bins_are_those_of_the_example() -> None:
    first, second, third = calibration.reliability(CONFIDENCE, RIGHT, bins=3)
    assert (first.n, first.confidence, first.accuracy) == (2, pytest.approx(0.185), 0.5)
    assert (second.n, second.confidence, second.accuracy) == (4, pytest.approx(0.485), 0.75)
    assert (third.low, third.high, third.n) == (2 / 3, 1.0, 3)
    assert third.ci == pytest.approx((0.2077, 0.9385), abs=5e-5)  # Wilson of 2 in 3


def test_a_bin_is_closed_above_and_nothing_falls_between_two() -> None:
    edges = [i / 15 for i in range(16)]
    found = calibration.reliability(edges, [True] * 16)
    assert [one.n for one in found] == [2] + [1] * 14  # 0 and 1/15 share the first
    assert all(one.low < one.high for one in found)


def test_empty_bins_are_left_out() -> None:
    only = calibration.reliability([0.95, 0.99], [True, False], bins=10)
    assert only == [Bin(0.9, 1.0, 2, pytest.approx(0.97), 0.5, pytest.approx((0.0945, 0.9055), abs=5e-5))]


@settings(max_examples=50, deadline=None)
@given(outcomes=OUTCOMES, bins=st.integers(1, 20))
def test_ece_is_the_weighted_gap_of_the_bins(outcomes: list[tuple[float, bool]], bins: int) -> None:
    sure, right = [a for a, _ in outcomes], [b for _, b in outcomes]
    found = calibration.reliability(sure, right, bins)
    assert sum(one.n for one in found) == len(sure)
    gap = sum(one.n * abs(one.accuracy - one.confidence) for one in found) / len(sure)
    assert calibration.ece(sure, right, bins) == pytest.approx(gap)
    assert 0 <= gap <= 1


def test_a_calibrated_model_has_some_ece_by_chance_and_stays_in_the_band() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        sure = generator.uniform(0.3, 1.0, 200)
        low, high = calibration.ece_if_calibrated(sure.tolist(), seed)
        inside += low <= calibration.ece(sure.tolist(), (generator.random(200) < sure).tolist()) <= high
    assert low > 0.02
    assert 180 <= inside <= 198  # 190 expected, with a standard deviation of 3


def test_a_model_that_is_too_sure_leaves_the_band() -> None:
    sure = [0.95] * 200
    assert calibration.ece(sure, [True] * 100 + [False] * 100) > calibration.ece_if_calibrated(sure, seed=1)[1]


@pytest.mark.parametrize(
    ("item", "gold", "score"),
    [
        ([0.7, 0.2, 0.1], 0, 0.09 + 0.04 + 0.01),
        ([0.0, 1.0], 0, 2.0),
        ([0.0, 1.0], 1, 0.0),
        ([0.25] * 4, 2, 3 / 4),
        ([0.1] * 10, 9, 9 / 10),
    ],
)
def test_brier_is_the_squared_distance_from_the_truth(item: list[float], gold: int, score: float) -> None:
    assert calibration.brier_scores([item], [gold]) == [pytest.approx(score)]


def test_brier_of_a_gold_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="gold option 2 is none of the item's 2"):
        calibration.brier_scores([[0.5, 0.5]], [2])


def test_log_likelihoods_become_probabilities_of_as_many_options() -> None:
    two, three = calibration.probabilities([[-1000.0, -1000.0], [np.log(0.5), np.log(0.25), -np.inf]])
    assert two.tolist() == [0.5, 0.5]
    assert three.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])


@pytest.mark.parametrize("odd", [[], [float("nan"), -1.0], [-np.inf, -np.inf], [np.inf, 0.0]])
def test_log_likelihoods_that_give_no_probabilities_are_named(odd: list[float]) -> None:
    with pytest.raises(DataError, match="item 2: log-likelihoods"):
        calibration.probabilities([[-1.0, -2.0], odd])


def test_risk_falls_as_only_the_surest_are_answered() -> None:
    found = calibration.risk_coverage([0.9, 0.6, 0.8, 0.7], [True, False, True, False])
    assert found.coverage == (0.25, 0.5, 0.75, 1.0)
    assert found.risk == pytest.approx((0.0, 0.0, 1 / 3, 1 / 2))
    assert found.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found.best == found.area
    assert found.random == 0.5


def test_items_with_one_confidence_count_as_in_random_order() -> None:
    sure, right = [0.9, 0.5, 0.5, 0.5, 0.1], [True, False, True, True, False]
    orders = [[0, *order, 4] for order in permutations((1, 2, 3))]
    areas = [np.mean([np.mean([not right[i] for i in order[:k]]) for k in range(1, 6)]) for order in orders]
    found = calibration.risk_coverage(sure, right)
    assert found.area == pytest.approx(np.mean(areas))
    assert found.coverage == (0.2, 0.8, 1.0)  # no point inside the tie
    assert found.risk == pytest.approx((0.0, 1 / 4, 2 / 5))


@settings(max_examples=50, deadline=None)
@given(outcomes=OUTCOMES)
def test_the_area_lies_between_the_best_ranking_and_the_worst(outcomes: list[tuple[float, bool]]) -> None:
    sure, right = [a for a, _ in outcomes], [b for _, b in outcomes]
    found = calibration.risk_coverage(sure, right)
    worst = calibration.risk_coverage([1 - r for r in right], right)
    assert found.best - 1e-9 <= found.area <= worst.area + 1e-9
    assert found.risk[-1] == pytest.approx(found.random)
    assert calibration.risk_coverage([0.5] * len(right), right).area == pytest.approx(found.random)


@pytest.mark.parametrize("measure", [calibration.ece, calibration.reliability, calibration.risk_coverage])
@pytest.mark.parametrize(("sure", "right"), [([], []), ([0.5], []), ([1.2], [True]), ([float("nan")], [True])])
def test_calibration_of_nothing_or_of_no_probability_raises(measure, sure, right) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="confidence"):
        measure(sure, right)
