"""What a share of right answers does not tell: which label is taken for which, and whether a model knows when it errs.

In: a task's items and rows. Out: `Detail`, for the report and for `scores.json`. Confidence is read from likelihoods of
whole answers; likelihoods per character, by which the texts of options are ranked, are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bedside.data.read import Row
from bedside.errors import DataError
from bedside.metrics import calibration, conformal
from bedside.metrics.calibration import Bin, RiskCoverage
from bedside.metrics.classification import Baseline, Classification, baselines, classify
from bedside.metrics.conformal import AnswerSets
from bedside.metrics.paired import Interval, mean_interval
from bedside.records import Example
from bedside.text.chat import DECISIONS, LETTERS

LEVEL = 0.9
"""How often the answer sets are to hold the right option."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure the model is of its choices, beside how often it is right.

    `ece_if_calibrated` is the band of ECE that chance alone gives. `sets` are None where there are too few items, and
    `no_sets` says so.
    """

    ece: float
    ece_if_calibrated: Interval
    brier: float
    brier_ci: Interval
    bins: tuple[Bin, ...]
    risk: RiskCoverage
    sets: AnswerSets | None
    no_sets: str


@dataclass(frozen=True, slots=True)
class Detail:
    """Of a task whose answers are labels; `calibration` is None where no confidence can be read."""

    classification: Classification
    baselines: tuple[Baseline, Baseline]
    calibration: Calibration | None


def detail(items: Sequence[Example], rows: Sequence[Row], seed: int, per_character: bool) -> Detail | None:
    """None of a task whose answers are no labels."""
    if "gold" not in rows[0]:
        return None
    gold = [row["gold"] for row in rows]
    options = [len(item.options) or len(DECISIONS) for item in items]
    labels = LETTERS[: max(options)] if items[0].options else DECISIONS
    return Detail(
        classification=classify(gold, [row["chosen"] for row in rows], labels, seed),
        baselines=baselines(gold, labels, options),
        calibration=None if per_character or "scores" not in rows[0] else _calibration(rows, seed),
    )


def _calibration(rows: Sequence[Row], seed: int) -> Calibration:
    chances = calibration.probabilities([list(row["scores"].values()) for row in rows])
    gold = [list(row["scores"]).index(row["gold"]) for row in rows]
    sure, right = [float(item.max()) for item in chances], [bool(row["score"]) for row in rows]
    brier, brier_ci = mean_interval(calibration.brier_scores([item.tolist() for item in chances], gold), seed)
    sets, no_sets = _answer_sets([item.tolist() for item in chances], gold, seed)
    return Calibration(
        ece=calibration.ece(sure, right),
        ece_if_calibrated=calibration.ece_if_calibrated(sure, seed),
        brier=brier,
        brier_ci=brier_ci,
        bins=tuple(calibration.reliability(sure, right)),
        risk=calibration.risk_coverage(sure, right),
        sets=sets,
        no_sets=no_sets,
    )


def _answer_sets(chances: Sequence[Sequence[float]], gold: Sequence[int], seed: int) -> tuple[AnswerSets | None, str]:
    """Sets for one half of the items, from the other half; or why there are none."""
    first, second = ([int(i) for i in half] for half in conformal.halves(len(gold), seed))
    halves = ([chances[i] for i in first], [gold[i] for i in first], [chances[i] for i in second])
    try:
        return conformal.answer_sets(*halves, [gold[i] for i in second], LEVEL), ""
    except DataError as error:
        return None, str(error)
