"""Sets of answers that hold the right one as often as was promised, instead of one answer that may not.

From the options' probabilities of calibration items and of further ones, at a chosen level, to a set of options for
each of the latter. Split conformal prediction with the threshold score (LAC: Sadinle, Lei and Wasserman 2019,
arXiv:1609.00451) and the finite-sample quantile (Angelopoulos and Bates 2021, arXiv:2107.07511). The promise is an
average over items like the calibration items; it holds neither for each kind of question nor for another source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from bedside.errors import DataError
from bedside.metrics.paired import Interval, wilson


@dataclass(frozen=True, slots=True)
class AnswerSets:
    """Answer sets of n items, and how often they hold the right option.

    An option is in the set if its probability reaches `threshold`. `sizes[k]` counts the sets of k options; an empty
    one says that every option is less likely than a right one mostly is.
    """

    level: float
    calibration: int
    threshold: float
    sets: tuple[tuple[int, ...], ...]
    n: int
    coverage: float
    coverage_ci: Interval
    mean_size: float
    sizes: tuple[int, ...]


def rows_needed(level: float) -> int:
    """The fewest calibration rows with which sets of `level` hold less than everything: ceil(1 / (1 - level)) - 1."""
    return ceil(1 / _alpha(level)) - 1


def threshold(gold_probabilities: Sequence[float], level: float) -> float:
    """The lowest probability that an option of an answer set may have, from those of the right options of n rows.

    It is the floor((n + 1)(1 - level))-th lowest. Raises DataError if there are too few rows for the level.
    """
    n, needed = len(gold_probabilities), rows_needed(level)
    if n < needed:
        raise DataError(
            f"answer sets at level {level:g} need at least {needed} calibration rows, there are {n}:"
            " give more rows or choose a lower level"
        )
    rank = floor((n + 1) * _alpha(level))
    return float(np.sort(np.asarray(gold_probabilities, dtype=np.float64))[rank - 1])


def answer_set(probabilities: Sequence[float], lowest: float) -> tuple[int, ...]:
    """Which options reach the threshold, the likeliest first."""
    values = np.asarray(probabilities, dtype=np.float64)
    return tuple(int(i) for i in np.argsort(-values, kind="stable") if values[i] >= lowest)


def halves(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the calibration rows and of the further ones, drawn by seed; of an odd n the further ones have more."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def answer_sets(
    calibration: Sequence[Sequence[float]],
    calibration_gold: Sequence[int],
    further: Sequence[Sequence[float]],
    further_gold: Sequence[int],
    level: float,
) -> AnswerSets:
    """Sets for the further items, which must not be among the calibration rows, and what became of the promise.

    Raises DataError if the calibration rows are too few, or there are no further ones.
    """
    lowest = threshold([item[gold] for item, gold in zip(calibration, calibration_gold, strict=True)], level)
    sets = [answer_set(item, lowest) for item in further]
    if not sets:
        raise DataError("answer sets: no items besides the calibration rows")
    held = sum(gold in chosen for chosen, gold in zip(sets, further_gold, strict=True))
    sizes = [len(chosen) for chosen in sets]
    return AnswerSets(
        level=level,
        calibration=len(calibration),
        threshold=lowest,
        sets=tuple(sets),
        n=len(sets),
        coverage=held / len(sets),
        coverage_ci=wilson(held, len(sets)),
        mean_size=sum(sizes) / len(sets),
        sizes=tuple(np.bincount(sizes).tolist()),
    )


def _alpha(level: float) -> Fraction:
    """1 - level without binary rounding, which would ask for a tenth row at level 0.9."""
    if not 0 < level < 1:
        raise DataError(f"level {level:g} of answer sets is not between 0 and 1")
    return 1 - Fraction(str(float(level)))
