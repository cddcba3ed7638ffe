"""Which of two answers is nearer to the reference, once their difference in length is taken into account.

From the two similarities and the two lengths of each item to the share of items on which the tuned model is nearer, as
it is and as it would be for answers of the same length. Overlap with a reference rewards an answer for having the
reference's length, so a model may win by having learnt that alone. The control is that of length-controlled
AlpacaEval (Dubois 2024, arXiv:2404.04475) without its term for an item's difficulty, which needs many models:

    P(tuned is nearer) = sigmoid(theta + phi * tanh(d / sd(d)))      d = length of tuned - length of base

and sigmoid(theta) is what is reported. A regression was preferred to strata because it keeps a meaning that can be
checked (no difference in length), uses every item, and is symmetric in the two models. It assumes that length acts
through d alone, and alike on all items; where one model's answers are nearly always the longer it would speak of what
was never seen, and nothing is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import expit

from bedside.errors import DataError
from bedside.metrics.paired import SMALLEST_N, Interval
from bedside.metrics.power import ALPHA

RIDGE = 1 / 2.5**2
"""A normal prior of standard deviation 2.5 on theta and phi keeps the fit finite where one model wins everywhere."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """Share of n items on which the tuned model is nearer; a tie counts half.

    `controlled`, its 95 % interval and the two-sided p of one half are None where one of the models has an
    answer as long or longer on fewer than 10 items. The interval is by the fit's information, and too wide where ties
    are many.
    """

    n: int
    won: int
    lost: int
    raw: float
    controlled: float | None
    ci: Interval | None
    p: float | None


def win_rate(
    base_similarity: Sequence[float],
    tuned_similarity: Sequence[float],
    base_length: Sequence[int],
    tuned_length: Sequence[int],
) -> WinRate:
    """Any similarity to the reference and any unit of length will do; see the module for what is controlled.

    Raises DataError of nothing, or of unequal numbers.
    """
    if len({len(base_similarity), len(tuned_similarity), len(base_length), len(tuned_length)}) > 1:
        raise DataError("win rate: each item needs two similarities and two lengths")
    if not len(base_similarity):
        raise DataError("no items, so nothing to score")
    nearer = np.sign(np.subtract(tuned_similarity, base_similarity))
    longer = np.subtract(tuned_length, base_length).astype(np.float64)
    controlled, ci, p = _controlled(longer, (nearer + 1) / 2)
    won, lost = int((nearer > 0).sum()), int((nearer < 0).sum())
    return WinRate(len(nearer), won, lost, float((nearer.mean() + 1) / 2), controlled, ci, p)


def _controlled(
    longer: NDArray[np.float64], won: NDArray[np.float64]
) -> tuple[float, Interval, float] | tuple[None, None, None]:
    """The rate at no difference in length, its interval, and the p of one half."""
    if min((longer >= 0).sum(), (longer <= 0).sum()) < SMALLEST_N:
        return None, None, None
    theta, error = _fit(np.tanh(longer / (longer.std() or 1.0)), won)
    reach = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    ci = (float(expit(theta - reach)), float(expit(theta + reach)))
    return float(expit(theta)), ci, float(2 * stats.norm.sf(abs(theta) / error))


def _fit(length: NDArray[np.float64], won: NDArray[np.float64]) -> tuple[float, float]:
    """Theta at the penalised maximum, and its standard error."""
    design = np.column_stack([np.ones_like(length), length])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = design @ weights
        value = float((np.logaddexp(0, score) - won * score).sum() + RIDGE / 2 * weights @ weights)
        return value, design.T @ (expit(score) - won) + RIDGE * weights

    weights = optimize.minimize(loss, np.zeros(2), jac=True).x
    chance = expit(design @ weights)
    information = (design * (chance * (1 - chance))[:, None]).T @ design + RIDGE * np.eye(2)
    return float(weights[0]), float(np.sqrt(np.linalg.inv(information)[0, 0]))
