"""What n items can show, told before any of them is scored.

From the number of items and what is planned (the share of items that two models answer differently, or the spread of a
graded difference) to the smallest difference that is found with 80 % probability. Nothing here sees a result.
Source: the unconditional power of McNemar's test (Duffy 1984, Biometrics 40:1005), of its exact form.
"""

from functools import cache

import numpy as np
from scipy import optimize, stats

ALPHA = 0.05
POWER = 0.8
PLANNED_DISCORDANCE = 0.15
"""Share of items that two models answer differently, as planned for where few items were seen."""


@cache
def detectable(n: int, discordance: float = PLANNED_DISCORDANCE, tests: int = 1) -> float:
    """Smallest difference of two accuracies in [0, 1] that n items show, as one of `tests` that are judged together.

    1.0, the whole scale, where nothing smaller can be shown. A difference larger than `discordance` brings as much
    discordance as it needs.
    """
    if power(n, 1.0, 1.0, ALPHA / tests) < POWER:
        return 1.0
    return float(
        optimize.brentq(lambda x: power(n, max(discordance, x), x, ALPHA / tests) - POWER, 0.0, 1.0, xtol=1e-6)
    )


def power(n: int, discordance: float, difference: float, alpha: float = ALPHA) -> float:
    """Probability that the exact two-sided McNemar test rejects; `difference` is at most `discordance`.

    Summed over how many of the n items may differ, binomially with `discordance`; of these the tuned model wins each
    with probability (1 + difference / discordance) / 2.
    """
    if not discordance:
        return 0.0
    differ = np.arange(n + 1)
    worst = stats.binom.ppf(alpha / 2, differ, 0.5)  # where the tail reaches alpha / 2; mostly it passes it
    worst -= 2 * stats.binom.cdf(worst, differ, 0.5) > alpha
    win = (1 + difference / discordance) / 2
    rejected = stats.binom.cdf(worst, differ, win) + stats.binom.sf(differ - worst - 1, differ, win)
    return float(stats.binom.pmf(differ, n, discordance) @ rejected)


def detectable_mean(n: int, spread: float, tests: int = 1) -> float:
    """The same for the mean of n graded differences with standard deviation `spread`, by the normal approximation."""
    z = stats.norm.ppf(1 - ALPHA / tests / 2) + stats.norm.ppf(POWER)
    return float(z * spread / np.sqrt(n))
