"""What `benchmarks/error_rates.py` prints, held to its bars: nominal 95 % means 93 to 97, and no false "better"."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bedside.metrics.power import power

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "error_rates.py"
SPEC = importlib.util.spec_from_file_location("error_rates", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
rates = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(rates)


@pytest.mark.parametrize("discordance", [0.15, 0.25])
def test_two_runs_of_one_model_differ_as_much_as_was_planned(discordance: float) -> None:
    base, tuned = rates.answers(np.random.default_rng(0), 100_000, discordance)
    assert np.mean(base != tuned) == pytest.approx(discordance, abs=0.005)
    assert np.mean(base) == pytest.approx(rates.ACCURACY, abs=0.005)


def test_the_planted_gain_is_what_it_says() -> None:
    base, tuned = rates.answers(np.random.default_rng(0), 100_000, 0.25, gain=0.1)
    assert np.mean(tuned) - np.mean(base) == pytest.approx(0.1, abs=0.005)
    assert (np.mean(tuned < base), np.mean(tuned > base)) == pytest.approx(rates.moved(0.25, 0.1), abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("discordance", "gain"), [(0.15, 0.0), (0.25, 0.1)])
def test_the_interval_of_a_difference_of_accuracies_covers_it(discordance: float, gain: float) -> None:
    assert 0.93 <= rates.covered(lambda draw: rates.answers(draw, 500, discordance, gain), gain) <= 0.97


@pytest.mark.slow
def test_counted_out_over_all_tables_it_covers_as_often() -> None:
    assert 0.94 <= rates.enumerated(100, 0.15, 0.05) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50])
def test_the_interval_of_a_graded_difference_covers_it(n: int) -> None:
    assert 0.93 <= rates.covered(lambda draw: rates.overlaps(draw, n), 0.0) <= 0.97


@pytest.mark.parametrize(
    ("calibration", "options", "sharpness"), [(500, 4, 1.0), (500, 4, 3.0), (100, 10, 0.3), (19, 4, 1.0)]
)
def test_answer_sets_keep_their_promise_whatever_the_model(calibration: int, options: int, sharpness: float) -> None:
    coverage, size, _ = rates.conformal_coverage(calibration, options, 0.95, sharpness)
    assert 0.93 <= coverage <= 0.97
    assert 1 < size < options


@pytest.mark.slow
@pytest.mark.parametrize(("n", "theta", "phi"), [(500, 0.0, 1.0), (100, 0.5, 1.0)])
def test_the_interval_of_the_length_controlled_win_rate_covers_it(n: int, theta: float, phi: float) -> None:
    assert 0.93 <= rates.win_rate_covered(n, theta, phi) <= 0.97


@pytest.mark.slow
def test_the_interval_of_macro_f1_covers_it() -> None:
    assert 0.93 <= rates.macro_f1_covered(500) <= 0.97


@pytest.mark.parametrize(
    ("n", "discordance", "tasks"), [(500, 0.15, 1), (100, 0.25, 1), pytest.param(500, 0.25, 3, marks=pytest.mark.slow)]
)
def test_a_model_is_not_better_than_itself(n: int, discordance: float, tasks: int) -> None:
    words = rates.verdicts(lambda draw: rates.answers(draw, n, discordance), tasks)
    assert words["better"] <= 0.05 * rates.COMPARISONS
    assert words["worse"] <= 0.05 * rates.COMPARISONS


@pytest.mark.slow
def test_a_model_is_not_better_than_itself_by_graded_scores() -> None:
    words = rates.verdicts(lambda draw: rates.overlaps(draw, 100))
    assert words["better"] <= 0.05 * rates.COMPARISONS


def test_ten_points_on_five_hundred_items_are_found() -> None:
    assert rates.verdicts(lambda draw: rates.answers(draw, 500, 0.25, 0.1))["better"] >= 0.8 * rates.COMPARISONS
    lost = rates.verdicts(lambda draw: rates.answers(draw, 500, 0.25, 0.1).turned())
    assert lost["worse"] >= 0.8 * rates.COMPARISONS
    assert power(500, 0.3, 0.1) > 0.95  # as was to be expected before


@pytest.mark.slow
def test_what_is_said_to_be_detectable_is_detected_in_four_of_five() -> None:
    smallest = rates.detectable_beside(500, 0.25)
    words = rates.verdicts(lambda draw: rates.answers(draw, 500, 0.25, smallest), comparisons=rates.SIMULATIONS)
    assert words["better"] / rates.SIMULATIONS == pytest.approx(0.8, abs=0.04)
