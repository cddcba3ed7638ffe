from itertools import product
from math import ceil, comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.metrics.paired import compare
from bedside.metrics.power import PLANNED_DISCORDANCE, POWER, detectable, detectable_mean, power


def test_power_is_the_share_of_all_outcomes_that_the_exact_test_rejects() -> None:
    n, lost, won = 9, 0.1, 0.5  # every table of nine items: lost, won and tied ones, by the multinomial law
    rejected = 0.0
    for i, j in product(range(n + 1), repeat=2):
        if i + j <= n and compare([1.0] * i + [0.0] * (n - i), [0.0] * i + [1.0] * j + [0.0] * (n - i - j), 1).p < 0.05:
            rejected += comb(n, i) * comb(n - i, j) * lost**i * won**j * (1 - lost - won) ** (n - i - j)
    assert power(n, 0.6, 0.4) == pytest.approx(rejected, rel=1e-9)


@pytest.mark.parametrize("n", [5, 20, 100, 500])
@pytest.mark.parametrize("discordance", [0.0, 0.05, 0.15, 0.6])
def test_a_model_that_is_the_same_is_told_apart_in_at_most_one_comparison_of_twenty(n: int, discordance: float) -> None:
    assert power(n, discordance, 0.0) <= 0.05


def test_power_agrees_with_the_normal_approximation_for_many_items() -> None:
    # Connor 1987, Biometrics 43:207: n = (1.96 sqrt(psi) + 0.8416 sqrt(psi - delta²))² / delta²
    psi, delta = 0.2, 0.05
    n = ceil((1.95996 * psi**0.5 + 0.84162 * (psi - delta**2) ** 0.5) ** 2 / delta**2)
    assert n == 626
    assert 0.77 < power(n, psi, delta) < 0.8  # the exact test, which rejects less often


def test_what_items_can_show_is_told_from_their_number_alone() -> None:
    assert detectable(500) == pytest.approx(0.0499, abs=5e-5)
    assert detectable(50) == pytest.approx(0.1535, abs=5e-5)
    assert detectable(500) == detectable(500, PLANNED_DISCORDANCE, 1)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(10, 200), discordance=st.floats(0.02, 0.6), tests=st.integers(1, 5))
def test_the_detectable_difference_is_the_smallest_with_enough_power(n: int, discordance: float, tests: int) -> None:
    found = detectable(n, discordance, tests)
    if found == 1.0:
        assert power(n, 1.0, 0.99, 0.05 / tests) < 1
        return
    assert power(n, max(discordance, found), found, 0.05 / tests) == pytest.approx(POWER, abs=1e-3)
    assert detectable(n, discordance, tests + 1) >= found - 1e-5  # the precision of the search
    assert detectable(2 * n, discordance, tests) < found


@pytest.mark.parametrize(("n", "tests"), [(1, 1), (5, 1), (7, 5)])
def test_items_too_few_for_any_difference_show_none_below_the_whole_scale(n: int, tests: int) -> None:
    assert 2 * 0.5**n > 0.05 / tests  # even if every item moved the one way
    assert detectable(n, tests=tests) == 1.0


def test_the_mean_of_graded_differences_is_seen_from_the_planned_spread() -> None:
    assert detectable_mean(100, 0.2) == pytest.approx((1.95996 + 0.84162) * 0.02, rel=1e-5)
    assert detectable_mean(100, 0.2, tests=5) == pytest.approx((2.57583 + 0.84162) * 0.02, rel=1e-5)
