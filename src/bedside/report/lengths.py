"""Lengths of `stats.json` → histograms, for both pages."""

from collections.abc import Mapping

from markupsafe import Markup

from bedside import plots
from bedside.report.material import Json

WORDS = {"question": "Question", "context": "Context", "reasoning": "Reasoning", "answer": "Answer"}
TOKENS = {"whole": "Whole row", "prompt": "Prompt", "reasoning": "Reasoning", "answer": "Answer"}
"""Fields of the statistics → their titles."""

Drawn = tuple[str, Json, Markup]
"""(title, lengths, plot)"""


def histograms(found: Mapping[str, Json | None], titles: Mapping[str, str], unit: str) -> list[Drawn]:
    """One for each field of `titles` that any row has."""
    return [
        (title, one, _drawn(field, title, one, unit)) for field, title in titles.items() if (one := found.get(field))
    ]


def _drawn(field: str, title: str, lengths: Json, unit: str) -> Markup:
    about = (
        f"{title}, {unit} a row: median {lengths['median']:g}, mean {lengths['mean']:g}, longest {lengths['max']:g},"
        f" n = {lengths['n']}"
    )
    return Markup(plots.histogram(f"{unit}-{field}", about, lengths, unit))
