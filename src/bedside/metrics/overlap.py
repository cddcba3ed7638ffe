"""Overlap of a generated answer with its reference."""

from functools import cache
from typing import Any

from bedside.errors import MissingExtra


def rouge_l(reference: str, candidate: str) -> float:
    """ROUGE-L F1 in [0, 1], stemmed (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries")."""
    return float(_scorer().score(reference, candidate)["rougeL"].fmeasure)


def require_rouge() -> None:
    """Raises MissingExtra if the library is not there."""
    _scorer()


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtra.named("ROUGE", "eval") from error
    return RougeScorer(["rougeL"], use_stemmer=True)
