"""How often the statistics are wrong, on comparisons whose truth is known because it was planted.

    python benchmarks/error_rates.py

Items have a chance of being answered right that differs from item to item; a model "run twice" draws each item's answer
twice. The spread of the chances is set by the share of items that two such runs answer differently. A gain is planted
by raising every item's chance, the more the lower it was.
"""

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, softmax

from bedside.metrics import conformal, paired
from bedside.metrics.classification import classify
from bedside.metrics.paired import Verdict
from bedside.metrics.power import detectable
from bedside.metrics.win_rate import win_rate

SIMULATIONS = 1_000
COMPARISONS = 200
ACCURACY = 0.55
GAIN = 0.1
MATTERS = 0.05
Draw = np.random.Generator
Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """Scores of base and tuned on the same items."""

    base: Floats
    tuned: Floats

    def turned(self) -> "Pair":
        return Pair(self.tuned, self.base)


def answers(draw: Draw, n: int, discordance: float, gain: float = 0.0) -> Pair:
    """Zeros and ones. For chances from Beta(c m, c (1 - m)) two runs differ on 2 m (1 - m) c / (c + 1) of the items."""
    share = discordance / (2 * ACCURACY * (1 - ACCURACY))
    c = share / (1 - share)
    chance = draw.beta(c * ACCURACY, c * (1 - ACCURACY), n)
    raised = chance + gain * (1 - chance) / (1 - ACCURACY)
    return Pair(*((draw.random(n) < each).astype(float) for each in (chance, raised)))


def moved(discordance: float, gain: float) -> tuple[float, float]:
    """Shares of items that are lost and won between `answers` of the base and of the tuned model."""
    lost = discordance / 2 * (1 - gain / (1 - ACCURACY))
    return lost, lost + gain


def overlaps(draw: Draw, n: int, gain: float = 0.0) -> Pair:
    """Graded scores as ROUGE-L has them: low, skewed, and less alike within an item than they look."""
    item = draw.beta(2, 6, n)
    return Pair(*(0.7 * item + 0.3 * draw.beta(1.2, 5, n) + shift for shift in (0.0, gain)))


def covered(pair: Callable[[Draw], Pair], truth: float, simulations: int = SIMULATIONS) -> float:
    """How often the interval of a difference holds the planted one."""
    hits = 0
    for seed in range(simulations):
        base, tuned = pair(np.random.default_rng((1, seed)))
        low, high = interval(base, tuned, seed)
        hits += low - 1e-12 <= truth <= high + 1e-12
    return hits / simulations


def enumerated(n: int, discordance: float, gain: float) -> float:
    """The same for zeros and ones, without chance: over all tables of n items, each with its probability."""
    shares = moved(discordance, gain)
    counts = [np.flatnonzero(stats.binom.pmf(np.arange(n + 1), n, share) > 1e-5) for share in shares]
    whole = hits = 0.0
    for lost, won in product(*counts):
        weight = stats.multinomial.pmf([lost, won, n - lost - won], n, [*shares, 1 - sum(shares)])
        if weight > 1e-5:
            base, tuned = np.repeat([1.0, 0.0], [lost, n - lost]), np.repeat([0.0, 1.0], [n - won, won])
            low, high = interval(base, tuned, seed=0)
            whole += weight
            hits += weight * (low - 1e-12 <= gain <= high + 1e-12)
    return hits / whole


def interval(base: Floats, tuned: Floats, seed: int) -> paired.Interval:
    """That of `compare`; of graded scores without the permutation test, which takes as long again."""
    if np.isin(base, (0.0, 1.0)).all():
        return paired.compare(base.tolist(), tuned.tolist(), seed).ci
    return paired.mean_interval((tuned - base).tolist(), seed)[1]


def verdicts(pair: Callable[[Draw], Pair], tasks: int = 1, comparisons: int = COMPARISONS) -> Counter[Verdict]:
    """The words of planted comparisons over several tasks with Holm: "better" (or "worse") if any task says so."""
    words: Counter[Verdict] = Counter()
    for seed in range(comparisons):
        draw = np.random.default_rng((2, seed))
        pairs = [pair(draw) for _ in range(tasks)]
        found = [paired.compare(base.tolist(), tuned.tolist(), seed, tasks) for base, tuned in pairs]
        adjusted = paired.holm([one.p for one in found])
        said = {
            paired.verdict(one, p, len(both.base), MATTERS) for one, p, both in zip(found, adjusted, pairs, strict=True)
        }
        words.update(said)
    return words


def conformal_coverage(
    calibration: int, options: int, level: float, sharpness: float = 1.0, simulations: int = SIMULATIONS
) -> tuple[float, float, float]:
    """Mean coverage and set size over calibrations, and the share of calibrations with 100 items covered below 0.9.

    Answers are drawn from the true probabilities; the model tells them with its logits times `sharpness`.
    """
    held, size, low = [], [], 0
    for seed in range(simulations):
        draw = np.random.default_rng((3, seed))
        logits = 2 * draw.normal(size=(calibration + 100, options))
        gold = (softmax(logits, 1).cumsum(1) < draw.random((len(logits), 1))).sum(1).clip(max=options - 1)
        told = softmax(sharpness * logits, 1)
        lowest = conformal.threshold(told[np.arange(calibration), gold[:calibration]].tolist(), level)
        further, right = told[calibration:], gold[calibration:]
        held.append(float((further[np.arange(100), right] >= lowest).mean()))
        size.append(float((further >= lowest).sum(1).mean()))
        low += held[-1] < 0.9
    return float(np.mean(held)), float(np.mean(size)), low / simulations


def win_rate_covered(n: int, theta: float, phi: float, simulations: int = SIMULATIONS) -> float:
    """How often the interval of the length-controlled win rate holds the planted one."""
    hits = 0
    for seed in range(simulations):
        draw = np.random.default_rng((4, seed))
        longer = np.round(draw.normal(20, 40, n))
        won = draw.random(n) < expit(theta + phi * np.tanh(longer / longer.std()))
        found = win_rate([0.5] * n, np.where(won, 0.6, 0.4).tolist(), [500] * n, (500 + longer).astype(int).tolist())
        hits += found.ci is not None and found.ci[0] <= expit(theta) <= found.ci[1]
    return hits / simulations


def macro_f1_covered(n: int, simulations: int = SIMULATIONS) -> float:
    """How often the interval of macro-F1 holds that of the cells the answers are drawn from."""
    cells = np.array([[0.42, 0.08, 0.03, 0.02], [0.07, 0.24, 0.02, 0.01], [0.04, 0.03, 0.03, 0.01]])
    labels, hits = ("yes", "no", "maybe"), 0
    f1 = 2 * np.diagonal(cells) / (cells.sum(1) + cells[:, :3].sum(0))
    for seed in range(simulations):
        gold, said = np.divmod(np.random.default_rng((5, seed)).choice(12, n, p=cells.ravel()), 4)
        found = classify([labels[i] for i in gold], [(*labels, None)[i] for i in said], labels, seed)
        hits += found.macro_f1_ci[0] <= f1.mean() <= found.macro_f1_ci[1]
    return hits / simulations


def main() -> None:
    print(f"coverage of nominal 95 % intervals, {SIMULATIONS:,} simulations each (bar: 0.93 to 0.97)")
    for n, discordance, gain in ((500, 0.15, 0), (500, 0.25, GAIN), (100, 0.15, 0), (100, 0.25, GAIN), (20, 0.25, 0)):
        rate = covered(lambda draw, n=n, d=discordance, g=gain: answers(draw, n, d, g), gain)
        what = f"difference of right and wrong, n {n}, {discordance:.0%} differ by chance, gain {gain:g}"
        counted = f"; over all tables {enumerated(n, discordance, gain):.3f}" if n <= 100 else ""
        print(f"  {rate:.3f}  {what}{counted}")
    for n, gain in ((200, 0.02), (50, 0), (20, 0)):
        rate = covered(lambda draw, n=n, g=gain: overlaps(draw, n, g), gain)
        print(f"  {rate:.3f}  difference of graded scores, n {n}, gain {gain:g}")
    for n in (500, 100):
        print(f"  {macro_f1_covered(n):.3f}  macro-F1 of three labels, n {n}")
    for n, theta, phi in ((500, 0.0, 1.0), (100, 0.5, 1.0), (50, 0.0, 2.0)):
        rate = win_rate_covered(n, theta, phi)
        print(f"  {rate:.3f}  length-controlled win rate, n {n}, truth {expit(theta):.2f}, pull of length {phi:g}")

    print("\nanswer sets: coverage, mean size, share of calibrations that cover less than 90 of 100 items")
    for calibration, options, level, sharpness in (
        (500, 4, 0.95, 1.0),
        (500, 4, 0.95, 3.0),
        (500, 10, 0.95, 0.3),
        (100, 4, 0.95, 1.0),
        (19, 4, 0.95, 1.0),
        (30, 4, 0.95, 1.0),
        (500, 4, 0.9, 1.0),
    ):
        coverage, size, low = conformal_coverage(calibration, options, level, sharpness)
        what = f"level {level}, {calibration} calibration rows, {options} options, logits times {sharpness:g}"
        print(f"  {coverage:.3f} {size:5.2f} {low:.3f}  {what}")

    print(f"\nverdicts of {COMPARISONS} comparisons of a model with itself (bar: better in at most 5 %)")
    for n, discordance, tasks in ((500, 0.15, 1), (500, 0.25, 1), (100, 0.25, 1), (500, 0.25, 4)):
        words = verdicts(lambda draw, n=n, d=discordance: answers(draw, n, d), tasks)
        tell(words, f"{tasks} x {n} items, {discordance:.0%} differ by chance")
    tell(verdicts(lambda draw: overlaps(draw, 100)), "1 x 100 items, graded")

    print(f"\nverdicts of {COMPARISONS} comparisons with a planted difference (bar: found in at least 80 %)")
    for discordance in (0.15, 0.25):
        words = verdicts(lambda draw, d=discordance: answers(draw, 500, d, GAIN))
        tell(words, f"500 items, {discordance:.0%} differ by chance, gain {GAIN:g}")
    words = verdicts(lambda draw: answers(draw, 500, 0.25, GAIN).turned())
    tell(words, f"500 items, 25% differ by chance, loss {GAIN:g}")
    smallest = detectable_beside(500, 0.25)
    words = verdicts(lambda draw: answers(draw, 500, 0.25, smallest), comparisons=SIMULATIONS)
    tell(words, f"500 items, gain {smallest:.4f}, said beforehand to be found in 80 %", SIMULATIONS)


def detectable_beside(n: int, discordance: float) -> float:
    """The smallest detectable gain where two runs of one model differ by chance, and the gain adds to that."""
    smallest = 0.0
    for _ in range(5):
        smallest = detectable(n, sum(moved(discordance, smallest)))
    return smallest


def tell(words: Counter[Verdict], what: str, of: int = COMPARISONS) -> None:
    print(f"  better {words['better'] / of:.3f}, worse {words['worse'] / of:.3f}  {what}")


if __name__ == "__main__":
    main()
