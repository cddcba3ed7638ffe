import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.errors import DataError
from bedside.metrics import conformal


@pytest.mark.parametrize(("level", "rows"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.85, 6)])
def test_a_level_needs_a_number_of_calibration_rows(level: float, rows: int) -> None:
    assert conformal.rows_needed(level) == rows
    conformal.threshold([0.5] * rows, level)
    with pytest.raises(
        DataError, match=rf"need at least {rows} calibration rows, there are {rows - 1}: .* lower level"
    ):
        conformal.threshold([0.5] * (rows - 1), level)


@pytest.mark.parametrize(
    ("level", "n", "rank"), [(0.9, 9, 1), (0.9, 19, 2), (0.9, 20, 2), (0.95, 100, 5), (0.8, 99, 20)]
)
def test_the_threshold_is_the_finite_sample_quantile(level: float, n: int, rank: int) -> None:
    # Angelopoulos and Bates 2021: the ceil((n + 1)(1 - alpha))-th smallest score 1 - p is the rank-th smallest p
    assert n + 1 - int(np.ceil(round((n + 1) * level, 9))) == rank
    values = np.random.default_rng(1).permutation(np.arange(1, n + 1)) / 1000
    assert conformal.threshold(values.tolist(), level) == rank / 1000


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_between_nothing_and_certainty(level: float) -> None:
    with pytest.raises(DataError, match=f"level {level:g} of answer sets is not between 0 and 1"):
        conformal.rows_needed(level)


def test_a_set_holds_what_reaches_the_threshold_the_likeliest_first() -> None:
    assert conformal.answer_set([0.2, 0.5, 0.3], 0.3) == (1, 2)
    assert conformal.answer_set([0.2, 0.5, 0.3], 0.6) == ()
    assert conformal.answer_set([0.5, 0.5], 0.0) == (0, 1)


def test_what_became_of_the_promise_is_counted() -> None:
    calibration = [[p, 1 - p] for p in (0.1, 0.2, 0.6, 0.9)]
    found = conformal.answer_sets(calibration, [0] * 4, [[0.5, 0.5], [0.95, 0.05], [0.99, 0.01]], [1, 0, 1], level=0.8)
    assert found.threshold == 0.1  # floor(5 * 0.2) = 1st lowest
    assert found.sets == ((0, 1), (0,), (0,))
    assert (found.n, found.calibration, found.coverage) == (3, 4, 2 / 3)
    assert found.mean_size == pytest.approx(4 / 3)
    assert found.sizes == (0, 2, 1)
    assert found.coverage_ci == pytest.approx((0.2077, 0.9385), abs=5e-5)


def test_items_of_different_numbers_of_options_go_together() -> None:
    found = conformal.answer_sets([[0.5, 0.5]] * 4, [0] * 4, [[0.1] * 10, [0.6, 0.4]], [9, 0], level=0.8)
    assert found.sizes == (1, 1)  # an empty set is told, not filled


def test_sets_for_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no items besides"):
        conformal.answer_sets([[0.5, 0.5]] * 4, [0] * 4, [], [], level=0.8)


@given(n=st.integers(0, 60), seed=st.integers(0, 5))
def test_halves_share_no_row_and_leave_none_out(n: int, seed: int) -> None:
    one, other = conformal.halves(n, seed)
    assert sorted([*one, *other]) == list(range(n))
    assert len(other) - len(one) in (0, 1)
    assert [*conformal.halves(n, seed)[0]] == [*one]


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=19, max_size=60))
def test_a_higher_level_never_leaves_out_more(values: list[float]) -> None:
    assert conformal.threshold(values, 0.95) <= conformal.threshold(values, 0.9) <= conformal.threshold(values, 0.5)
    kept = np.mean(np.array(values) >= conformal.threshold(values, 0.9))
    assert kept >= 0.9  # of the calibration rows themselves
