"""Overlap of a generated answer with its reference: ROUGE and exact match for an item, BLEU for all of them.

From texts to figures in [0, 1], but for BLEU, which keeps sacrebleu's scale beside sacrebleu's signature. Sources: Lin
2004 ("ROUGE: A Package for Automatic Evaluation of Summaries"), Papineni 2002, Post 2018 (arXiv:1804.08771) for the
signature, Koehn 2004 for the interval, Rajpurkar 2016 (arXiv:1606.05250) for how exact match normalises.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from bedside.errors import DataError, MissingExtra
from bedside.metrics.paired import Interval, blocks, percentiles

ARTICLE = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


class Rouge(NamedTuple):
    """F1 in [0, 1] of words, of pairs of words, and of the longest common subsequence."""

    one: float
    two: float
    l: float  # noqa: E741 - the field's name for it


@dataclass(frozen=True, slots=True)
class Bleu:
    """Corpus BLEU of n items in [0, 100], its 95 % bootstrap interval over items, and how sacrebleu counted."""

    score: float
    ci: Interval
    n: int
    signature: str


def rouge(reference: str, candidate: str) -> Rouge:
    """ROUGE-1, -2 and -L of one pair, stemmed."""
    found = _scorer("rouge1", "rouge2", "rougeL").score(reference, candidate)
    return Rouge(*(float(found[kind].fmeasure) for kind in ("rouge1", "rouge2", "rougeL")))


def rouge_l(reference: str, candidate: str) -> float:
    """ROUGE-L F1 in [0, 1], stemmed: a third of what `rouge` computes."""
    return float(_scorer("rougeL").score(reference, candidate)["rougeL"].fmeasure)


def require_rouge() -> None:
    """Raises MissingExtra if the library is not there."""
    _scorer("rougeL")


def exact_match(reference: str, candidate: str) -> bool:
    """Whether the texts are equal as SQuAD compares them: without case, ASCII punctuation, articles and extra space."""
    return _normalised(reference) == _normalised(candidate)


def names(reference: str, candidate: str) -> bool:
    """Whether the candidate has the reference's words somewhere, in their order and without others between them.

    Normalised as in `exact_match`. Means something for short references only, such as a diagnosis.
    """
    sought, said = _normalised(reference), _normalised(candidate)
    return bool(sought) and any(said[i : i + len(sought)] == sought for i in range(len(said) - len(sought) + 1))


def bleu(references: Sequence[str], candidates: Sequence[str], seed: int) -> Bleu:
    """Corpus BLEU with sacrebleu's defaults, one reference an item: counts are summed before they are divided.

    Raises MissingExtra without sacrebleu, DataError of nothing or where an item has no partner.
    """
    if not references or len(references) != len(candidates):
        raise DataError(f"BLEU: {len(references)} references and {len(candidates)} candidates cannot be compared")
    metric = _bleu(effective_order=False)
    whole = metric.corpus_score(list(candidates), [list(references)])
    return Bleu(
        score=float(whole.score),
        ci=_bleu_interval(references, candidates, seed),
        n=len(references),
        signature=str(metric.get_signature()),
    )


def _bleu_interval(references: Sequence[str], candidates: Sequence[str], seed: int) -> Interval:
    """Items drawn with replacement, their n-gram counts summed, and BLEU computed of the sums."""
    per_item = _bleu(effective_order=True)  # asked for its counts alone, which are the same; without it it warns
    pairs = zip(candidates, references, strict=True)
    counts = np.array([_counts(per_item.sentence_score(said, [reference])) for said, reference in pairs])
    n, generator = len(counts), np.random.default_rng(seed)
    sums = [generator.multinomial(n, np.full(n, 1 / n), rows) @ counts for rows in blocks(n)]
    return percentiles(np.array([_score(row) for row in np.concatenate(sums).tolist()]))


def _counts(score: Any) -> list[int]:
    """Matches and n-grams of each order, and the lengths of candidate and reference."""
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


def _score(counts: list[int]) -> float:
    metric = _bleu(effective_order=False)
    correct, total, lengths = counts[:4], counts[4:8], counts[8:]
    return float(metric.compute_bleu(correct, total, *lengths, smooth_method=metric.smooth_method).score)


def _normalised(text: str) -> list[str]:
    return ARTICLE.sub(" ", text.lower().translate(PUNCTUATION)).split()


@cache
def _scorer(*kinds: str) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtra.named("ROUGE", "eval") from error
    return RougeScorer(list(kinds), use_stemmer=True)


@cache
def _bleu(effective_order: bool) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise MissingExtra.named("BLEU", "eval") from error
    return BLEU(effective_order=effective_order)
