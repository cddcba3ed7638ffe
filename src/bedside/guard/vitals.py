"""Vital signs in prose: "BP 82/54, sats 88 %, RR 30, temp 39.8" → numbers, and their NEWS2 score.

In: lower-case text. Out: every value of each vital sign, in mmHg, beats and breaths a minute, percent and °C. What no
living person could have is no such value. Source of the score: Royal College of Physicians, NEWS2, 2017.
"""

import re
from collections.abc import Iterator, Mapping

from bedside.guard.rules import Bands

ADULT = 16
"""Years from which the adult thresholds hold (NEWS2 and NICE NG253)."""
Vitals = Mapping[str, tuple[float, ...]]

_TO = (
    r"(?:[ :=~(]|is|are|was|at|of|an|a|about|only|now|currently|approximately|around|has|been|rate|to|down|up|dropped"
    r"|rr|hr){0,8}"
)
"""Between the name of a vital sign and its value."""
_NUMBERS = {
    "pulse": rf"\b(?:hr|heart rate|heartrate|pulse(?: rate)?){_TO}(\d{{2,3}})(?!\d|\.\d|/\d| ?%)",
    "respirations": rf"\b(?:rr|resp(?:iratory|iration)?s?(?: rate)?|breathing rate){_TO}(\d{{1,2}})(?!\d| ?%)",
    "spo2": (
        rf"\b(?:spo2|sp02|sao2|o2 ?sats?|sats?|oxygen sats?|(?:o2|oxygen|arterial oxygen) saturations?|saturations?"
        rf"|saturating|satting|pulse ox(?:imetry|imeter)?)(?: (?:reading|shows|level|on room air|on air|on ra)){{0,2}}"
        rf"{_TO}(\d{{2,3}})(?!\d|/)"
    ),
    "gcs": rf"\b(?:gcs|glasgow coma (?:scale|score))(?: score)?{_TO}(\d{{1,2}})(?!\d)",
    "systolic": rf"\b(?:sbp|systolic(?: (?:bp|blood pressure))?|systolic pressure){_TO}(\d{{2,3}})(?!\d)",
}
_PRESSURE = re.compile(
    rf"\b(?:bp|blood pressures?){_TO}(\d{{2,3}})(?:(?: ?/ ?| over )\d{{2,3}})?(?!\d)"
    r"|\b(\d{2,3}) ?/ ?\d{2,3} ?mm ?hg"
)
_DEGREES = r"(\d{2,3}(?:[.,]\d{1,2})?)"
_TEMPERATURE = re.compile(
    rf"\b(?:temp(?:erature)?|t|fever|febrile|tmax){_TO}{_DEGREES}(?![\d/])(?: ?(?:°|º|degrees? )? ?([cf])\b)?"
    rf"|(?<![\d.,]){_DEGREES} ?(?:°|º|degrees? )? ?([cf])\b"
)
_PATTERNS = {name: re.compile(pattern) for name, pattern in _NUMBERS.items()}
_AGE = re.compile(
    r"\b(\d{1,3})[ -]?(years?|yrs?|months?|weeks?|days?)[ -]?old\b|\b(\d{1,3}) ?(?:yo|y/o|y\.o\.)(?!\w)"
    r"|\baged? ?:? ?(\d{1,3})\b|\b(\d{2}) ?[mf]\b|\b(newborn|neonate|infant|toddler)\b"
)
LIVING = {
    "systolic": (30, 300),
    "pulse": (15, 300),
    "respirations": (3, 80),
    "spo2": (40, 100),
    "temperature": (25, 44),
    "gcs": (3, 15),
}


def numbers(text: str) -> Iterator[tuple[str, float, int]]:
    """(vital sign, value, where it stands)."""
    for match in _PRESSURE.finditer(text):
        yield from _living("systolic", float(match[1] or match[2]), match.start())
    for name, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            yield from _living(name, float(match[1]), match.start())
    for match in _TEMPERATURE.finditer(text):
        value = float((match[1] or match[3]).replace(",", "."))
        fahrenheit = (match[2] or match[4]) == "f" or value > 80
        yield from _living("temperature", (value - 32) / 1.8 if fahrenheit else value, match.start())


def is_child(text: str) -> bool:
    """Whether the first age that is told lies below 16 years."""
    match = _AGE.search(text)
    if not match:
        return False
    if match[6] or (match[2] and not match[2].startswith("y")):
        return True
    return int(match[1] or match[3] or match[4] or match[5]) < ADULT


def score(vitals: Vitals, bands: Mapping[str, Bands]) -> int:
    """NEWS2 points of the worst value of each vital sign; one that is not told has none."""
    return sum(max((_points(value, rows) for value in vitals.get(name, ())), default=0) for name, rows in bands.items())


def _points(value: float, rows: Bands) -> int:
    return next(points for end, points in rows if value <= end)


def _living(name: str, value: float, at: int) -> Iterator[tuple[str, float, int]]:
    least, most = LIVING[name]
    if least <= value <= most:
        yield name, round(value, 1), at
