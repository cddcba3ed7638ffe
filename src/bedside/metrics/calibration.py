"""Whether a model is right as often as it is sure.

From log-likelihoods of an item's options to probabilities (softmax), and from confidence and correctness to expected
calibration error, reliability bins, and risk against coverage. Sources: Guo 2017 (arXiv:1706.04599) for ECE, Brier
1950, Geifman and El-Yaniv 2017 (arXiv:1705.08500) for risk and coverage, Bröcker and Smith 2007 for the band of ECE.
Murphy's decomposition of the Brier score is left out: it holds exactly only where forecasts take few distinct values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from bedside.errors import DataError
from bedside.metrics.paired import Interval, percentiles, wilson

BINS = 15
"""Equal-width bins of [0, 1], as many as Guo 2017 uses."""
SIMULATIONS = 1_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """The n items with confidence in (low, high]: their mean confidence, and their accuracy with Wilson's interval."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    ci: Interval


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The share of wrong answers among those that are given, if only the surest are.

    A point for each distinct confidence, from the surest on. `area` is the mean risk over all coverages; `best` is what
    a ranking of all right answers before all wrong ones would have, `random` what confidence that tells nothing has.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    best: float
    random: float


def probabilities(logprobs: Sequence[Sequence[float]]) -> list[Floats]:
    """Softmax of each item's options; items may have different numbers of them.

    Raises DataError naming the item without options, or with one that is no number, or where all are impossible.
    """
    return [softmax(_checked(item, options)) for item, options in enumerate(logprobs, 1)]


def reliability(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """The bins that hold an item, in order; 0 belongs to the first. Raises DataError of nothing."""
    sure, hit = _pair(confidence, right)
    places = _places(sure, bins)
    return [_bin(int(place), bins, sure[places == place], hit[places == place]) for place in np.unique(places)]


def ece(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """Expected calibration error in [0, 1] over equal-width bins (Guo 2017). Raises DataError if empty."""
    sure, hit = _pair(confidence, right)
    return float(_ece(sure, hit[None], bins)[0])


def ece_if_calibrated(confidence: Sequence[float], seed: int, bins: int = BINS) -> Interval:
    """95 % band of the ECE that these confidences have if they are perfectly calibrated.

    ECE cannot be negative, so that few items have some by chance alone: only one above the band tells something.
    """
    sure, _ = _pair(confidence, confidence)
    hits = (np.random.default_rng(seed).random((SIMULATIONS, len(sure))) < sure).astype(np.float64)
    return percentiles(_ece(sure, hits, bins))


def brier_scores(items: Sequence[Sequence[float]], gold: Sequence[int]) -> list[float]:
    """Each item's sum of (probability - truth)² over its options, in [0, 2] (Brier 1950); k equal ones have 1 - 1/k.

    Per item, so that `paired` gives the mean its interval and compares two models. Raises DataError for a gold option
    that an item does not have.
    """
    return [_brier(np.asarray(item, dtype=np.float64), answer) for item, answer in zip(items, gold, strict=True)]


def risk_coverage(confidence: Sequence[float], right: Sequence[bool]) -> RiskCoverage:
    """See `RiskCoverage`. Items with one confidence count as in random order, so that none of them is preferred."""
    sure, hit = _pair(confidence, right)
    _, group, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = 1 - hit
    share = np.bincount(group, weights=wrong) / sizes  # errors of a tie, spread evenly over it
    given = np.arange(1, len(sure) + 1)
    risk = np.cumsum(np.repeat(share, sizes)) / given
    ends = np.cumsum(sizes) - 1
    return RiskCoverage(
        coverage=tuple((given[ends] / len(sure)).tolist()),
        risk=tuple(risk[ends].tolist()),
        area=float(risk.mean()),
        best=float((np.cumsum(np.sort(wrong)) / given).mean()),
        random=float(wrong.mean()),
    )


def _bin(place: int, bins: int, sure: Floats, hit: Floats) -> Bin:
    n = len(sure)
    edges = place / bins, (place + 1) / bins
    return Bin(*edges, n, float(sure.mean()), float(hit.mean()), wilson(int(hit.sum()), n))


def _ece(sure: Floats, hits: Floats, bins: int) -> Floats:
    """One figure for each row of `hits`: the sum over bins of |confidence - correctness| summed inside, over n."""
    member = np.eye(bins)[_places(sure, bins)]
    return np.asarray(np.abs((hits - sure) @ member).sum(1) / len(sure))


def _places(sure: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of each confidence, closed above; the edges are those that a reader computes, i / bins."""
    return np.maximum(np.searchsorted(np.arange(bins + 1) / bins, sure, side="left") - 1, 0)


def _brier(item: Floats, answer: int) -> float:
    if not 0 <= answer < len(item):
        raise DataError(f"gold option {answer} is none of the item's {len(item)}")
    return float(((item - (np.arange(len(item)) == answer)) ** 2).sum())


def _checked(item: int, options: Sequence[float]) -> Floats:
    values = np.asarray(options, dtype=np.float64)
    if not len(values) or np.isnan(values).any() or not np.isfinite(values.max()):
        raise DataError(f"item {item}: log-likelihoods {values.tolist()} give no probabilities")
    return values


def _pair(confidence: Sequence[float], right: Sequence[float]) -> tuple[Floats, Floats]:
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure) or len(sure) != len(hit):
        raise DataError(f"{len(sure)} confidences and {len(hit)} outcomes: nothing can be said about calibration")
    if not ((sure >= 0) & (sure <= 1 + 1e-9)).all():
        raise DataError("a confidence is outside [0, 1]")
    return sure, hit
