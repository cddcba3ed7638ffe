"""The parity check in words: is what is served what was trained, and what did quantising cost?

A quantised file passes with equal prompt tokens alone, so its greedy answers may differ; then the check of the same
file before quantising tells whether the conversion or the quantisation made the difference.
"""

from bedside.report import numbers
from bedside.report.material import Json
from bedside.text.numbers import DASH

CHECKS = (
    ("Prompts become the same tokens", "tokens_equal"),
    ("Greedy answers are the same", "greedy_equal"),
    ("The likeliest next token is the same", "top1_agreement"),
    ("Mean Kullback-Leibler divergence, nats a token", "kl_mean"),
)


def sentence(served: Json | None, unquantised: Json | None) -> tuple[str, str]:
    """(the answer, what to know with it)."""
    if served is None:
        return "Not checked.", "The exported file was not compared with the trained model."
    if not served["ok"] or (unquantised and not unquantised["ok"]):
        return "No.", "The exported file failed the check and should not be used."
    if served["greedy_equal"] is True:
        return "Yes.", "On the questions compared, the exported file answers with the very tokens of the trained model."
    said = "Prompts become the same tokens, but the greedy answers of the served file differ from the trained model's."
    if unquantised and unquantised["greedy_equal"] is True:
        said += " Before quantising they are the same token for token: the difference is what quantising costs."
    return "Yes, up to quantisation." if unquantised else "The prompts are; the answers differ.", said


def lines(served: Json | None, unquantised: Json | None) -> list[tuple[str, list[str]]]:
    """(what was compared, what was found in the served file and before quantising), for the checks that were made."""
    made = [found for found in (served, unquantised) if found is not None]
    return [
        (words, [_said(found, key) for found in made])
        for words, key in CHECKS
        if any(found.get(key) is not None for found in made)
    ]


def _said(found: Json, key: str) -> str:
    value = found.get(key)
    if value is None:
        return DASH
    if key == "kl_mean":
        return numbers.small(value)
    if not isinstance(value, bool):
        return numbers.percent(value, 1)
    if key == "greedy_equal" and not value and found.get("total_tokens"):
        return f"no: {found['agreed_tokens']:,} of {found['total_tokens']:,} tokens before they part"
    return "yes" if value else "no"
