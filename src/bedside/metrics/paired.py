"""Means, and differences between two models on the same items, with what can be said about them.

Items are the unit: the two scores of one item are never separated, and items are taken to be independent. Sources:
percentile bootstrap (Efron and Tibshirani 1993) with Hesterberg's 2015 correction for few items, McNemar 1947, paired
permutation by sign flips (Pitman 1937), Holm 1979 for several tasks, Wilson 1927 for proportions. What n items can show
before they are scored: `bedside.metrics.power`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bedside.errors import DataError
from bedside.metrics.power import ALPHA, PLANNED_DISCORDANCE, detectable, detectable_mean
from bedside.metrics.power import POWER as POWER

Verdict = Literal["better", "worse", "no difference shown", "underpowered"]
RESAMPLES = 10_000
LEVEL = 1 - ALPHA
SMALLEST_N = 10
BLOCK = 2_000_000
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of tuned minus base, its 95 % bootstrap interval, two-sided p, and what n items could have shown."""

    value: float
    ci: Interval
    p: float
    detectable: float


@dataclass(frozen=True, slots=True)
class WinsAndLosses:
    """Ids of the items on which the tuned model scores higher and lower than the base."""

    won: tuple[str, ...]
    lost: tuple[str, ...]


def mean_interval(values: Sequence[float], seed: int, proportion: bool = False) -> tuple[float, Interval]:
    """Mean and 95 % interval: Wilson for a proportion (zeros and ones), else percentile bootstrap.

    Raises DataError of nothing.
    """
    scores = _array(values)
    if proportion:
        return float(scores.mean()), wilson(int(scores.sum()), len(scores))
    return float(scores.mean()), _bootstrap(scores, seed)


def wilson(hits: int, n: int) -> Interval:
    """Wilson's 95 % interval of the share hits / n."""
    low, high = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return float(low), float(high)


def compare(base: Sequence[float], tuned: Sequence[float], seed: int, tests: int = 1) -> Difference:
    """The paired difference, one of `tests` that are judged together.

    `detectable` rests on the spread that was seen, never on the difference; for zeros and ones on no less discordance
    than is planned, since few of them may agree by chance. Raises DataError if there are fewer than two items or the
    lengths differ.
    """
    a, b = _pair(base, tuned)
    if len(a) < 2:
        raise DataError("1 item cannot be compared: its spread is unknown; evaluate more items")
    differences = b - a
    value, p = float(differences.mean()), _p_value(differences, seed)
    if np.isin([a, b], (0.0, 1.0)).all():
        discordance = max(PLANNED_DISCORDANCE, float(np.abs(differences).mean()))
        return Difference(value, _bootstrap_binary(differences, seed), p, detectable(len(a), discordance, tests))
    spread = float(differences.std(ddof=1))
    return Difference(value, _bootstrap(differences, seed), p, detectable_mean(len(a), spread, tests))


def wins_and_losses(ids: Sequence[str], base: Sequence[float], tuned: Sequence[float]) -> WinsAndLosses:
    """Which items moved, the largest difference first and otherwise in the order given."""
    a, b = _pair(base, tuned)
    moved = sorted(zip((b - a).tolist(), ids, strict=True), key=lambda item: -abs(item[0]))
    return WinsAndLosses(
        won=tuple(name for difference, name in moved if difference > 0),
        lost=tuple(name for difference, name in moved if difference < 0),
    )


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
    else the items were too few to tell: "underpowered". Of two models that are the same, at most one comparison in
    forty says "better" and as many "worse".
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
    signs = (generator.integers(0, 2, (rows, len(moved))) * 2 - 1 for rows in blocks(len(moved)))
    as_far = sum(int((np.abs(block @ moved) >= observed).sum()) for block in signs)
    return (1 + as_far) / (1 + RESAMPLES)


def _bootstrap(values: NDArray[np.float64], seed: int) -> Interval:
    """Percentile interval with wider tails for few items, as Student's t has them (Hesterberg 2015, section 5.3)."""
    n = len(values)
    generator = np.random.default_rng(seed)
    means = np.concatenate([values[generator.integers(0, n, (rows, n))].mean(1) for rows in blocks(n)])
    tail = ALPHA / 2 if n < 2 else float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(ALPHA / 2, n - 1)))
    return percentiles(means, tail)


def _bootstrap_binary(differences: NDArray[np.float64], seed: int) -> Interval:
    """The same for -1, 0 and 1, of which only the counts matter, so that these are drawn.

    Half an item is added to each cell of the two-by-two table (Agresti and Min 2005, Statistics in Medicine 24:729):
    models that agree on each of a few items would else have an interval without width. One half is drawn with the two
    models exchanged and turned round, so that the interval is the same, turned round, whichever of them is the base.
    """
    n = len(differences)
    lost, tied, won = (int((differences == value).sum()) for value in (-1, 0, 1))
    shares = np.array([lost + 0.5, tied + 1, won + 0.5]) / (n + 2)
    ways = (shares, shares[::-1])
    one, other = (np.random.default_rng(seed).multinomial(n, way, RESAMPLES // 2) for way in ways)
    return percentiles(np.concatenate([one[:, 2] - one[:, 0], other[:, 0] - other[:, 2]]) / n)


def percentiles(resampled: NDArray[np.float64], tail: float = ALPHA / 2) -> Interval:
    """What lies between the two tails of a resampled figure."""
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return float(low), float(high)


def blocks(n: int) -> Iterator[int]:
    """Numbers of rows of n that make RESAMPLES together, each block small; the numbers drawn do not depend on it."""
    rows = max(1, BLOCK // n)
    for start in range(0, RESAMPLES, rows):
        yield min(rows, RESAMPLES - start)


def _pair(base: Sequence[float], tuned: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = _array(base), _array(tuned)
    if len(a) != len(b):
        raise DataError(f"cannot pair {len(a)} base items with {len(b)} tuned items")
    return a, b


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    if not len(values):
        raise DataError("no items, so nothing to score")
    return np.asarray(values, dtype=np.float64)
