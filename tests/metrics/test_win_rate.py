import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

from bedside.errors import DataError
from bedside.metrics.win_rate import RIDGE, WinRate, win_rate

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def drawn(theta: float, phi: float, n: int, longer: float = 0.0, seed: int = 0) -> Drawn:
    """Similarities and lengths of n items whose winner is drawn from the model itself."""
    generator = np.random.default_rng(seed)
    length = np.round(generator.normal(longer, 40, n))
    won = generator.random(n) < expit(theta + phi * np.tanh(length / length.std()))
    return np.full(n, 0.5), np.where(won, 0.6, 0.4), np.full(n, 500), 500 + length


def test_a_model_that_wins_by_length_alone_wins_no_longer() -> None:
    found = win_rate(*drawn(theta=0.0, phi=2.5, n=2000, longer=30))
    assert found.raw > 0.65
    assert found.controlled == pytest.approx(0.5, abs=0.05)
    assert found.ci is not None
    assert found.ci[0] < 0.5 < found.ci[1]
    assert found.p is not None
    assert found.p > 0.05


def test_a_model_that_is_nearer_at_any_length_stays_so() -> None:
    found = win_rate(*drawn(theta=0.8, phi=0.0, n=1000))
    assert found.controlled == pytest.approx(expit(0.8), abs=0.04)
    assert found.p is not None
    assert found.p < 1e-6


def test_the_fit_is_that_of_statsmodels() -> None:
    sm = pytest.importorskip("statsmodels.api")
    base, tuned, before, after = drawn(theta=0.4, phi=1.0, n=300, longer=10)
    longer = after - before
    design = sm.add_constant(np.tanh(longer / longer.std()))
    model = sm.GLM((tuned > base).astype(float), design, family=sm.families.Binomial())
    penalised = model.fit_regularized(alpha=RIDGE / 300, L1_wt=0)
    found = win_rate(base, tuned, before, after)
    assert found.controlled == pytest.approx(expit(penalised.params[0]), abs=1e-4)
    low, high = model.fit().conf_int()[0]
    assert found.ci == pytest.approx((expit(low), expit(high)), abs=0.005)  # without the prior, which is weak


def test_ties_count_half() -> None:
    found = win_rate([0.5] * 4, [0.6, 0.5, 0.5, 0.4], [10] * 4, [10] * 4)
    assert (found.n, found.won, found.lost, found.raw) == (4, 1, 1, 0.5)
    tied = win_rate([0.5] * 20, [0.5] * 20, [10] * 20, list(range(20)))
    assert tied.controlled == pytest.approx(0.5)
    assert tied.p == pytest.approx(1.0)


def test_where_one_answer_is_always_the_longer_nothing_is_controlled() -> None:
    found = win_rate([0.5] * 30, [0.6] * 30, [100] * 30, [200 + i for i in range(30)])
    assert found == WinRate(n=30, won=30, lost=0, raw=1.0, controlled=None, ci=None, p=None)


def test_a_model_that_wins_everywhere_still_has_an_interval() -> None:
    found = win_rate([0.5] * 20, [0.6] * 20, [100] * 20, [90 + i for i in range(20)])
    assert found.controlled is not None
    assert found.ci is not None
    assert 0.5 < found.ci[0] < 0.9 < found.controlled < found.ci[1] < 1


def test_winning_everywhere_is_held_back_by_the_prior_alone() -> None:
    theta = brentq(lambda x: 20 * (1 - expit(x)) - x / 2.5**2, 0, 10)  # where the score of the penalised fit is zero
    found = win_rate([0.5] * 20, [0.6] * 20, [100] * 20, [100] * 20)
    assert found.controlled == pytest.approx(expit(theta), abs=1e-5)


@pytest.mark.parametrize(
    ("columns", "message"), [(([], [], [], []), "no items"), (([0.1], [0.2], [3], [4, 5]), "two similarities")]
)
def test_a_win_rate_of_nothing_raises(columns, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        win_rate(*columns)


@settings(max_examples=25, deadline=None)
@given(theta=st.floats(-2, 2), phi=st.floats(-2, 2), seed=st.integers(0, 100))
def test_the_two_models_share_one_win_rate(theta: float, phi: float, seed: int) -> None:
    base, tuned, before, after = drawn(theta, phi, 60, seed=seed)
    one, other = win_rate(base, tuned, before, after), win_rate(tuned, base, after, before)
    assert one.raw + other.raw == pytest.approx(1)
    assert one.controlled is not None
    assert other.controlled is not None
    assert one.controlled + other.controlled == pytest.approx(1, abs=1e-3)
    assert one.p == pytest.approx(other.p, rel=0.01, abs=1e-6)
