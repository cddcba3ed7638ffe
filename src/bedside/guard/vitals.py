"""Vital signs in prose: "BP 82/54, sats 88 %, RR 30, temp 39.8" → numbers, and their NEWS2 score.

In: lower-case text. Out: every value of each vital sign, in mmHg, beats and breaths a minute, percent and °C. What is
beyond `LIVING` is taken for a misreading. Source of the score: Royal College of Physicians, NEWS2, 2017.
"""

import re
from collections.abc import Iterator, Mapping

from bedside.guard.rules import Bands

ADULT = 16
"""Years from which the adult thresholds hold (NEWS2 and NICE NG253)."""
PER_YEAR = {"y": 1, "m": 12, "w": 52, "d": 365}
BEFORE = 80
"""Characters that are read before an age."""
SENTENCE_END = re.compile(r"[.!?;\n]")
Vitals = Mapping[str, tuple[float, ...]]

_TO = (
    r"(?:[ :=~(]|is|are|was|at|of|an|a|about|only|now|currently|approximately|around|has|been|rate|to|down|up|dropped"
    r"|rr|hr){0,8}"
)
"""Between the name of a vital sign and its value."""
_OTHER_SATURATION = (
    r"\b(?:transferrin|iron|tibc|venous|right atrial|right ventricular|pulmonary artery|vena cava|svc|ivc|jugular"
    r"|cerebral|tissue)(?: blood)?(?: (?:oxygen|o2))? sat(?:uration)?s?\b"
)
"""Of iron, or of blood that is not arterial: low values of it are normal. Has no group, so there is no number."""
_NUMBERS = {
    "pulse": rf"\b(?:hr|heart rate|heartrate|pulse(?: rate)?){_TO}(\d{{2,3}})(?!\d|\.\d|/\d| ?%)",
    "respirations": (
        rf"\b(?:rr|resp(?:iratory|iration)?s?(?: rate)?|breathing rate){_TO}"
        rf"(\d{{2}}(?:\.\d)?|\d)(?!\d|\.\d| ?%)"
    ),
    "spo2": (
        rf"{_OTHER_SATURATION}"
        rf"|\b(?:spo2|sp02|sao2|o2 ?sats?|sats?|oxygen sats?|(?:o2|oxygen|arterial oxygen) saturations?|saturations?"
        rf"|saturating|satting|pulse ox(?:imetry|imeter)?)(?: (?:reading|shows|level|on room air|on air|on ra)){{0,2}}"
        rf"{_TO}(\d{{2,3}})(?!\d|/| ?°"
        rf"| ?-?(?:min(?:ute)?|hour|hr|sec(?:ond)?|day|week|month|year|degree|time)s?\b)"
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
_PERSON = (
    r"(?:boy|girl|child|kid|teenager|baby|infant|newborn|neonate|toddler|male|female|man|woman|patient|son|daughter"
    r"|brother|sister|nephew|niece|grandson|granddaughter|twins?|m|f)"
)
_BEHIND = re.compile(
    rf" ?(?:$|[^\w ]|(?:(?!(?:of|in|on|at|from|by|to|the|this|an?|and)\b)[\w-]{{1,20}} ){{0,3}}{_PERSON}\b"
    r"|(?:with|who|whose|has|had|is|was|and|in|on|at|from|by|for|after|since|present(?:s|ed|ing)?|comes?|came|brought"
    r"|weigh(?:s|ing)|admitted|referred)\b)"
)
"""Behind "old", where it is told of a person; what is old is a thing in "10-day-old surgical wound"."""
_AGE = re.compile(
    r"\b(\d{1,3})[ -]?(years?|yrs?|months?|weeks?|days?)[ -]?old\b|\b(\d{1,3}) ?(?:yo|y/o|y\.o\.)(?!\w)"
    r"|(?<!\bat )(?<!\bsince )(?<!\bfrom )\baged? ?:? ?(\d{1,3})\b|(?:^|[.!?\n] ?)(\d{2}) ?[mf]\b"
    r"|\b(?:he|she|i)(?: is| am|'s|'m) (\d{1,3})(?=[,;!?)\n]|\.(?!\d)|$| and\b| with\b)"
    r"|\b(newborn|neonate|infant|toddler)\b"
)
_STATED = re.compile(r"\b(?:is|are|was|were|looks)(?: (?:now|about|only|just|already|almost|nearly|over)){0,2} $")
_SUBJECT = re.compile(rf"\b(?:he|she|i|who|{_PERSON})\b")
LIVING = {  # not the limits of life: 13.7 °C has been survived, but 22 °C is mostly a room
    "systolic": (30, 300),
    "pulse": (15, 300),
    "respirations": (3, 80),
    "spo2": (20, 100),
    "temperature": (25, 44),
    "gcs": (3, 15),
}


def numbers(text: str) -> Iterator[tuple[str, float, int]]:
    """(vital sign, value, where it stands)."""
    for match in _PRESSURE.finditer(text):
        yield from _living("systolic", float(match[1] or match[2]), match.start())
    for name, pattern in _PATTERNS.items():
        for match in filter(lambda match: match[1], pattern.finditer(text)):
            yield from _living(name, float(match[1]), match.start())
    for match in _TEMPERATURE.finditer(text):
        value = float((match[1] or match[3]).replace(",", "."))
        fahrenheit = (match[2] or match[4]) == "f" or value > 80
        yield from _living("temperature", (value - 32) / 1.8 if fahrenheit else value, match.start())


def is_child(text: str) -> bool:
    """Whether an age below 16 years is told and none of 16 or more: where both are, an adult may be the patient."""
    told = [(_years(match), match) for match in _AGE.finditer(text)]
    return all(years < ADULT for years, _ in told) and any(_is_of_somebody(match) for _, match in told)


def _years(match: re.Match[str]) -> int:
    """Full years; a word such as "newborn" tells of none."""
    number, unit, *others, word = match.groups()
    if word:
        return 0
    return int(number or next(filter(None, others))) // PER_YEAR[unit[0] if unit else "y"]


def _is_of_somebody(match: re.Match[str]) -> bool:
    """Whether "10 days old" is said of a person: a wound may be as old."""
    if not match[2]:
        return True
    before = match.string[max(0, match.start() - BEFORE) : match.start()]
    if _STATED.search(before):
        return bool(_SUBJECT.search(SENTENCE_END.split(before)[-1]))
    return bool(_BEHIND.match(match.string, match.end()))


def score(vitals: Vitals, bands: Mapping[str, Bands]) -> int:
    """NEWS2 points of the worst value of each vital sign; one that is not told has none."""
    return sum(max((_points(value, rows) for value in vitals.get(name, ())), default=0) for name, rows in bands.items())


def _points(value: float, rows: Bands) -> int:
    return next(points for end, points in rows if value <= end)


def _living(name: str, value: float, at: int) -> Iterator[tuple[str, float, int]]:
    least, most = LIVING[name]
    if least <= value <= most:
        yield name, round(value, 1), at
