"""How numbers are written in the report: the one place that knows about decimals, signs and units.

Accuracy and its kin are shares, shown in per cent with one decimal, their differences in percentage points; every
other metric keeps its own unit and three decimals. What was not measured is a dash, never a zero.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from bedside.text.numbers import DASH, probability

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def is_share(metric: str) -> bool:
    """Whether the metric is a proportion of items, to be read in per cent."""
    return "accuracy" in metric.lower() or metric.startswith("share ")


def value(number: float | None, metric: str) -> str:
    """A score: "61.4 %" or "−1.872"."""
    return _written(number, metric, "") + (f"{SPACE}%" if is_share(metric) and _known(number) else "")


def interval(bounds: Sequence[float | None], metric: str) -> str:
    """Both ends of a score's interval, without a unit: "57.1 to 65.6"."""
    return " to ".join(_written(bound, metric, "") for bound in bounds)


def difference(number: float | None, metric: str) -> str:
    """A signed difference: "+6.2 points" or "−0.031"."""
    return _written(number, metric, "+") + _points(number, metric)


def differences(bounds: Sequence[float | None], metric: str) -> str:
    """Both ends of a difference's interval, signed: "−14.2 to −2.5"."""
    return " to ".join(_written(bound, metric, "+") for bound in bounds)


def size(number: float | None, metric: str) -> str:
    """A difference without its sign: "4.8 points" or "0.120"."""
    return _written(None if number is None else abs(number), metric, "") + _points(number, metric)


def drawn(number: float, metric: str) -> float:
    """A difference in the unit that it is drawn in."""
    return 100 * number if is_share(metric) else number


def unit(metric: str) -> str:
    """What the axis of a difference says."""
    if is_share(metric):
        return "percentage points"
    return "nats per token" if "likelihood" in metric else f"difference in {metric}"


def equation(p: float | None) -> str:
    """A p value in running text: "p = 0.012" or "p < 0.001"."""
    text = probability(p)
    sign, digits = ("<", text[1:]) if text.startswith("<") else ("=", text)
    return f"p{SPACE}{sign}{SPACE}{digits}"


def count(number: float | None) -> str:
    """A whole number with separators: "4,884,480"."""
    return DASH if number is None else f"{number:,.0f}"


def decimal(number: float | None, digits: int = 3) -> str:
    """A plain number with so many decimals."""
    return _signed(f"{number:,.{digits}f}") if number is not None and math.isfinite(number) else DASH


def small(number: float) -> str:
    """Two significant digits, for what may be tiny: "0.0040" or "4.8e−06"."""
    return _signed(f"{number:#.2g}")


def percent(part: float, whole: float, digits: int = 1) -> str:
    """A share of a whole: "12.5 %"; of nothing, a dash."""
    return f"{100 * part / whole:.{digits}f}{SPACE}%" if whole else DASH


def file_size(number: int) -> str:
    """Bytes in decimal units, as file managers show them: "144.8 MB"."""
    scaled, names = float(number), ["B", "kB", "MB", "GB", "TB"]
    while scaled >= 999.95 and len(names) > 1:
        scaled, names = scaled / 1000, names[1:]
    return f"{number}{SPACE}B" if names[0] == "B" else f"{scaled:.1f}{SPACE}{names[0]}"


def duration(seconds: float | None) -> str:
    """Time in the two largest units: "3 min 20 s"."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    shown = [f"{number}{SPACE}{name}" for number, name in parts if number]
    return " ".join(shown[:2])


def moment(created: str) -> str:
    """An ISO 8601 time as a person writes it: "22 November 2025, 14:03 UTC"; anything else as it is."""
    try:
        at = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{at.day} {at:%B %Y, %H:%M} {at.tzname() or ''}".strip()


def _written(number: float | None, metric: str, sign: str) -> str:
    if number is None or not math.isfinite(number):
        return DASH
    text = f"{100 * number:{sign}.1f}" if is_share(metric) else f"{number:{sign}.3f}"
    return _signed(text)


def _signed(text: str) -> str:
    """With a typographic minus, and none before a zero that rounding left."""
    plain = text.lstrip("+-")
    return plain if not plain.strip("0.,") else text.replace("-", MINUS)


def _points(number: float | None, metric: str) -> str:
    return f"{SPACE}points" if is_share(metric) and _known(number) else ""


def _known(number: float | None) -> bool:
    return number is not None and math.isfinite(number)
