"""How often a label is right, which label is taken for which, and what answering without the question gets.

From gold labels and predictions (None where no answer could be read) to counts and shares. An answer that could not be
read is told apart from a wrong one: `strict` takes all of them for wrong, `bounds` says what they could have been.
Sources: macro-F1 as the mean of the classes' F1 (Opitz and Burst 2019, arXiv:1911.03347); Wilson 1927 for intervals.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.errors import DataError
from bedside.metrics.paired import RESAMPLES, Interval, percentiles, wilson

UNPARSED = "unparsed"
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PerClass:
    """One label: how often it is gold and predicted; precision is None if never predicted, recall if never gold."""

    label: str
    gold: int
    predicted: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Classification:
    """`accuracy` is of the parsed answers alone (None if there is none); `strict` and `macro_f1` count all n items.

    `confusion` has a row for each gold label of `labels` and a column for each predicted one, the last for unparsed.
    Intervals are 95 %: Wilson's for `strict_ci`, percentile bootstrap for `macro_f1_ci`.
    """

    n: int
    unparsed: int
    accuracy: float | None
    strict: float
    strict_ci: Interval
    bounds: Interval
    macro_f1: float
    macro_f1_ci: Interval
    labels: tuple[str, ...]
    classes: tuple[PerClass, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A row to stand beside the model's: what needs no model to be reached."""

    name: str
    accuracy: float
    macro_f1: float


def classify(gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str], seed: int) -> Classification:
    """Everything about the answers to n items. Raises DataError of nothing, or for a label outside `labels`."""
    table = confusion(gold, predicted, labels)
    n, unparsed, right = int(table.sum()), int(table[:, -1].sum()), int(np.trace(table))
    return Classification(
        **shares(n, unparsed, right),
        macro_f1=macro_f1(table),
        macro_f1_ci=_macro_f1_interval(table, seed),
        labels=tuple(labels),
        classes=tuple(_per_class(label, i, table) for i, label in enumerate(labels)),
        confusion=tuple(tuple(row) for row in table.tolist()),
    )


def shares(n: int, unparsed: int, right: int) -> dict[str, Any]:
    """The fields that every record of right, wrong and unparsed answers has: `n` to `bounds` of `Classification`."""
    return {
        "n": n,
        "unparsed": unparsed,
        "accuracy": right / (n - unparsed) if unparsed < n else None,
        "strict": right / n,
        "strict_ci": wilson(right, n),
        "bounds": (right / n, (right + unparsed) / n),
    }


def confusion(gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> Counts:
    """Counts: a row for each gold label, a column for each predicted one and a last one for unparsed."""
    if not len(gold):
        raise DataError("no items, so nothing to score")
    if len(gold) != len(predicted):
        raise DataError(f"{len(gold)} gold labels, but {len(predicted)} predictions")
    index: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    columns = {**index, None: len(labels)}
    table = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for item, (right, said) in enumerate(zip(gold, predicted, strict=True), 1):
        if right not in index or said not in columns:
            odd = said if right in index else right
            raise DataError(f"item {item}: label '{odd}' is none of {', '.join(labels)}")
        table[index[right], columns[said]] += 1
    return table


def macro_f1(table: NDArray[np.int64] | NDArray[np.float64]) -> float:
    """Mean F1 over the labels that are gold at least once, from a table as `confusion` makes it.

    Labels that are never gold have no share of their own, so that two models are averaged over the same ones; to
    predict them costs recall. An unparsed answer costs recall, too.
    """
    return float(_macro_f1(np.asarray(table, dtype=np.float64)[None])[0])


def baselines(
    gold: Sequence[str], labels: Sequence[str], options: Sequence[int] | None = None
) -> tuple[Baseline, Baseline]:
    """Always the commonest gold label of these very items, and a uniform guess among the item's options.

    `options` says how many of `labels`, from the first, an item offers; None if always all. The macro-F1 of guessing is
    that of its expected table.
    """
    commonest = Counter(gold).most_common(1)[0][0] if gold else None
    always = confusion(gold, [commonest] * len(gold), labels)
    guessed = np.zeros(always.shape)
    for label, offered in zip(gold, options or [len(labels)] * len(gold), strict=True):
        guessed[labels.index(label), :offered] += 1 / offered
    share = [float(np.trace(table)) / len(gold) for table in (always, guessed)]
    return (
        Baseline(f"always {commonest}", share[0], macro_f1(always)),
        Baseline("chance", share[1], macro_f1(guessed)),
    )


def _per_class(label: str, i: int, table: Counts) -> PerClass:
    hits, gold, predicted = (int(count) for count in (table[i, i], table[i].sum(), table[:, i].sum()))
    return PerClass(label, gold, predicted, hits / predicted if predicted else None, hits / gold if gold else None)


def _macro_f1(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """One figure for each of several tables (axis 0); F1 is 2 hits / (gold + predicted)."""
    gold, predicted = tables.sum(2), tables[:, :, :-1].sum(1)
    hits = np.diagonal(tables, axis1=1, axis2=2)
    f1 = 2 * hits / np.maximum(gold + predicted, 1e-300)
    return np.asarray(np.where(gold > 0, f1, 0).sum(1) / (gold > 0).sum(1))


def _macro_f1_interval(table: Counts, seed: int) -> Interval:
    """Items drawn with replacement are counts drawn from the cells of the table.

    Two items are spread over the rows of labels that are gold, as `paired` does: without them the interval of 100
    items, 11 of them of the rarest label, covers 0.925 and not 0.95; with them 0.936 (`benchmarks/error_rates.py`).
    """
    n = int(table.sum())
    gold = np.broadcast_to(table.sum(1, keepdims=True) > 0, table.shape)
    cells = table + 2 * gold / gold.sum()
    drawn = np.random.default_rng(seed).multinomial(n, cells.ravel() / (n + 2), RESAMPLES)
    return percentiles(_macro_f1(drawn.reshape(-1, *table.shape).astype(np.float64)))
