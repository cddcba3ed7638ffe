"""What one figure a task does not tell: which label is taken for which, whether a model knows when it errs, how long it
writes.

In: a task's items and rows. Out: `Labelled` or `Worded`, for the report and for `scores.json`. Confidence is read from
likelihoods of whole answers; likelihoods per character, by which the texts of options are ranked, are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bedside.data.read import Row
from bedside.errors import DataError
from bedside.evaluate.tasks import commonest, per_character
from bedside.metrics import calibration, conformal
from bedside.metrics.bertscore import BertScore, averaged
from bedside.metrics.calibration import Bin, RiskCoverage
from bedside.metrics.classification import Baseline, Classification, baselines, classify, shares
from bedside.metrics.conformal import AnswerSets
from bedside.metrics.overlap import Bleu, bleu, exact_match, names, rouge
from bedside.metrics.paired import Interval, mean_interval
from bedside.recipe import EvaluateSection, TaskName
from bedside.records import Example, Generated
from bedside.text.chat import DECISIONS, LETTERS


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
    sets_of: Mapping[str, tuple[str, ...]]
    """Of each item that did not calibrate the sets, by its id: the labels in its set, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Of a task whose answers are labels; `calibration` is None where no confidence can be read."""

    classification: Classification
    baselines: tuple[Baseline, Baseline]
    calibration: Calibration | None


@dataclass(frozen=True, slots=True)
class Worded:
    """Of answers in free words beside their references: means over all n items, in [0, 1] but for BLEU.

    `names_reference` is the share of answers with the reference word for word, as a vignette's should the diagnosis.
    `bertscore` is None where the recipe names no encoder. `words` are those of a reference and of an answer.
    """

    rouge_1: float
    rouge_2: float
    rouge_l: float
    bleu: Bleu
    bertscore: BertScore | None
    exact_match: float
    names_reference: float
    words: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Followed:
    """Of instructions: the share followed in IFEval's loose reading, which forgives emphasis and a sentence around."""

    loosely: float


@dataclass(frozen=True, slots=True)
class Named:
    """Of n diagnoses in free words: `strict` counts what could not be read as wrong, `accuracy` leaves it out.

    `bounds` are the share if none or all of it were right; `commonest` is the diagnosis of most cases, and their share.
    """

    n: int
    unparsed: int
    accuracy: float | None
    strict: float
    strict_ci: Interval
    bounds: Interval
    commonest: tuple[str, float]


def outcome(row: Row) -> str:
    """What became of an item for which something was written; see `Score.outcomes`."""
    return str(row.get("judged") or row.get("how") or ("answered" if row["answer"] else "none"))


def was_read(row: Row) -> bool:
    """Whether there was an answer to score: one label or diagnosis, or any words where words are scored."""
    if "answer" not in row:
        return True  # a likelihood
    return outcome(row) == "answered" if "gold" in row else outcome(row) not in ("none", "empty")


def generated(rows: Sequence[Row]) -> Generated | None:
    """How the answers came about; None of likelihoods."""
    if "finish" not in rows[0]:
        return None
    return Generated(
        reasoned=sum(bool(row["reasoning"]) for row in rows),
        forced=sum(row["forced"] for row in rows),
        cut=sum(row["finish"] == "length" for row in rows),
        tokens=sum(row["tokens"] for row in rows) / len(rows),
    )


def detail(
    task: TaskName, items: Sequence[Example], rows: Sequence[Row], seed: int, settings: EvaluateSection
) -> Labelled | Worded | Named | Followed | None:
    """None of a task of whose answers no more is known."""
    if task == "rouge":
        return worded(rows, seed)
    if task == "instructions":
        return Followed(sum(row["loose"] for row in rows) / len(rows))
    if items[0].accepted:
        return _named(rows) if "gold" in rows[0] else None
    if "gold" not in rows[0]:
        return None
    confident = "scores" in rows[0] and not per_character(task, settings)
    return _labelled(items, rows, seed, _calibration(rows, seed, settings.answer_sets) if confident else None)


def worded(rows: Sequence[Row], seed: int) -> Worded:
    """Rows of `written.score_rouge`."""
    references, answers = ([row[name] for row in rows] for name in ("reference", "answer"))
    overlaps = [rouge(*pair) for pair in zip(references, answers, strict=True)]
    n = len(rows)
    return Worded(
        rouge_1=sum(one.one for one in overlaps) / n,
        rouge_2=sum(one.two for one in overlaps) / n,
        rouge_l=sum(one.l for one in overlaps) / n,
        bleu=bleu(references, answers, seed),
        bertscore=averaged([row["bertscore"] for row in rows], seed) if "bertscore" in rows[0] else None,
        exact_match=sum(map(exact_match, references, answers)) / n,
        names_reference=sum(map(names, references, answers)) / n,
        words=(_mean_words(references), _mean_words(answers)),
    )


def _named(rows: Sequence[Row]) -> Named:
    unparsed = sum(row["chosen"] is None for row in rows)
    right = sum(row["chosen"] == row["gold"] for row in rows)
    return Named(
        **shares(len(rows), unparsed, right),
        commonest=commonest([row["gold"] for row in rows]),
    )


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / len(texts)


def _labelled(items: Sequence[Example], rows: Sequence[Row], seed: int, calibration: Calibration | None) -> Labelled:
    gold = [row["gold"] for row in rows]
    options = [len(item.options) or len(DECISIONS) for item in items]
    labels = LETTERS[: max(options)] if items[0].options else DECISIONS
    return Labelled(
        classification=classify(gold, [row["chosen"] for row in rows], labels, seed),
        baselines=baselines(gold, labels, options),
        calibration=calibration,
    )


def _calibration(rows: Sequence[Row], seed: int, level: float) -> Calibration:
    chances = calibration.probabilities([list(row["scores"].values()) for row in rows])
    gold = [list(row["scores"]).index(row["gold"]) for row in rows]
    sure, right = [float(item.max()) for item in chances], [bool(row["score"]) for row in rows]
    brier, brier_ci = mean_interval(calibration.brier_scores([item.tolist() for item in chances], gold), seed)
    sets, no_sets, sets_of = _answer_sets([item.tolist() for item in chances], gold, rows, seed, level)
    return Calibration(
        ece=calibration.ece(sure, right),
        ece_if_calibrated=calibration.ece_if_calibrated(sure, seed),
        brier=brier,
        brier_ci=brier_ci,
        bins=tuple(calibration.reliability(sure, right)),
        risk=calibration.risk_coverage(sure, right),
        sets=sets,
        no_sets=no_sets,
        sets_of=sets_of,
    )


def _answer_sets(
    chances: Sequence[Sequence[float]], gold: Sequence[int], rows: Sequence[Row], seed: int, level: float
) -> tuple[AnswerSets | None, str, dict[str, tuple[str, ...]]]:
    """Sets for one half of the items, from the other half, and their figures; or why there are none."""
    first, second = ([int(i) for i in half] for half in conformal.halves(len(gold), seed))
    halves = ([chances[i] for i in first], [gold[i] for i in first], [chances[i] for i in second])
    try:
        found = conformal.answer_sets(*halves, [gold[i] for i in second], level)
    except DataError as error:
        return None, str(error), {}
    labels = [list(row["scores"]) for row in rows]
    named = {rows[i]["id"]: tuple(labels[i][k] for k in held) for i, held in zip(second, found.sets, strict=True)}
    return replace(found, sets=()), "", named
