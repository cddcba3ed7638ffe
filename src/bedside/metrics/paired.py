"""Means, and differences between two models on the same items, with what can be said about them.

Items are the unit: the two scores of one item are never separated. Sources: percentile bootstrap (Efron and
Tibshirani 1993), paired permutation by sign flips (Pitman 1937), Holm 1979 for several tasks, Wilson 1927 for
proportions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bedside.errors import DataError

Verdict = Literal["better", "worse", "no difference shown", "underpowered"]
RESAMPLES = 10_000
ALPHA = 0.05
LEVEL = 1 - ALPHA
POWER = 0.8
PLANNED_DISCORDANCE = 0.15
"""Share of items that two models answer differently, as planned for where few items were seen."""
SMALLEST_N = 10
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of tuned minus base, its 95 % bootstrap interval, two-sided p, and what n items could have shown."""

    value: float
    ci: Interval
    p: float
    detectable: float


def mean_interval(values: Sequence[float], seed: int, proportion: bool = False) -> tuple[float, Interval]:
    """Mean and 95 % interval: Wilson for a proportion (zeros and ones), else percentile bootstrap.

    Raises DataError of nothing.
    """
    scores = _array(values)
    if proportion:
        low, high = stats.binomtest(int(scores.sum()), len(scores)).proportion_ci(LEVEL, method="wilson")
        return float(scores.mean()), (float(low), float(high))
    return float(scores.mean()), _bootstrap(scores, seed)


def compare(base: Sequence[float], tuned: Sequence[float], seed: int, tests: int = 1) -> Difference:
    """The paired difference, one of `tests` that are judged together.

    Raises DataError if there are fewer than two items or the lengths differ.
    """
    a, b = _array(base), _array(tuned)
    if len(a) != len(b):
        raise DataError(f"cannot pair {len(a)} base items with {len(b)} tuned items")
    if len(a) < 2:
        raise DataError("1 item cannot be compared: its spread is unknown; evaluate more items")
    differences = b - a
    detectable = _detectable(differences, bool(np.isin([a, b], (0.0, 1.0)).all()), ALPHA / tests)
    return Difference(float(differences.mean()), _bootstrap(differences, seed), _p_value(differences, seed), detectable)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for several tests; each in [0, 1] and in the order given."""
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted


def verdict(difference: Difference, p_adjusted: float, n: int, matters: float) -> Verdict:
    """The word for a task. `matters` is the difference worth having, in the metric's unit.

    Without significance it is "no difference shown" only if a difference of `matters` would probably have been seen;
    else the items were too few to tell: "underpowered".
    """
    if n >= SMALLEST_N and p_adjusted < ALPHA:
        return "better" if difference.value > 0 else "worse"
    if n < SMALLEST_N or difference.detectable > matters:
        return "underpowered"
    return "no difference shown"


def _p_value(differences: NDArray[np.float64], seed: int) -> float:
    """Exact McNemar (binomial over the items that differ) for -1, 0, 1; else a sign-flip permutation test."""
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    if (np.abs(moved) == 1).all():
        return float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue)
    generator = np.random.default_rng(seed)
    observed = abs(moved.sum()) * (1 - 1e-12)
    flipped = np.abs(_signs(generator, len(moved)) @ moved)
    return float((1 + (flipped >= observed).sum()) / (1 + RESAMPLES))


def _signs(generator: np.random.Generator, n: int) -> NDArray[np.float64]:
    return generator.integers(0, 2, (RESAMPLES, n)).astype(np.float64) * 2 - 1


def _detectable(differences: NDArray[np.float64], binary: bool, alpha: float) -> float:
    """Smallest mean difference that n items show with 80 % power at two-sided `alpha`, given the spread seen.

    Few zeros and ones may agree by chance and show no spread at all, so these are given at least the planned one.
    """
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER))
    spread = float(differences.std(ddof=1))
    if binary:
        spread = max(spread, PLANNED_DISCORDANCE**0.5)
    return z * spread / float(np.sqrt(len(differences)))


def _bootstrap(values: NDArray[np.float64], seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [values[generator.integers(0, len(values), (1000, len(values)))].mean(1) for _ in range(RESAMPLES // 1000)]
    )
    low, high = np.quantile(means, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    if not len(values):
        raise DataError("no items, so nothing to score")
    return np.asarray(values, dtype=np.float64)
