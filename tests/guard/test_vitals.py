"""Numbers in prose."""

import pytest

from bedside.guard.rules import rules
from bedside.guard.vitals import is_child, numbers, score


def found(text: str) -> dict[str, float]:
    return {name: value for name, value, _ in numbers(text.casefold())}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("BP 82/54", {"systolic": 82}),
        ("blood pressure is 140/90 mmHg", {"systolic": 140}),
        ("blood pressure of 96 over 60", {"systolic": 96}),
        ("SBP: 78", {"systolic": 78}),
        ("82/54 mm Hg", {"systolic": 82}),
        ("SpO2 88 %", {"spo2": 88}),
        ("sats 88", {"spo2": 88}),
        ("sats 38 %", {"spo2": 38}),
        ("transferrin saturation 62 %, oxygen saturation 97 %", {"spo2": 97}),
        ("oxygen saturation is 91% on room air", {"spo2": 91}),
        ("O2 sat on room air 85%", {"spo2": 85}),
        ("RR 30", {"respirations": 30}),
        ("RR 28.4", {"respirations": 28.4}),
        ("respiratory rate of 24/min", {"respirations": 24}),
        ("respirations are 28/min", {"respirations": 28}),
        ("temp 39.8", {"temperature": 39.8}),
        ("temperature is 38,5 °C", {"temperature": 38.5}),
        ("temp 102.2 F", {"temperature": 39.0}),
        ("a fever of 103", {"temperature": 39.4}),
        ("pulse 118/min", {"pulse": 118}),
        ("HR=42", {"pulse": 42}),
        ("GCS 7", {"gcs": 7}),
    ],
)
def test_vital_signs_are_read(text: str, values: dict[str, float]) -> None:
    assert found(text) == values


@pytest.mark.parametrize(
    "text", ["SpO2 8", "HR 900", "temp 12", "room 12/30", "on 12/05", "pulse 2+", "RR 95%", "RR 3.4", "it is 22 °C"]
)
def test_what_is_too_far_out_of_range_is_taken_for_something_else(text: str) -> None:
    assert found(text) == {}


@pytest.mark.parametrize(
    ("text", "child"),
    [
        ("a 3-month-old girl", True),
        ("9 yo", True),
        ("15-year-old boy", True),
        ("16-year-old", False),
        ("72F", False),
        ("aged 40", False),
        ("a newborn", True),
        ("my 3-month-old has a cough", True),
        ("a 5-year-old, previously healthy boy", True),
        ("a 13-year-old african-american girl", True),
        ("a newborn of a 29-year-old g3p2", False),
        ("the baby is 10 days old", True),
        ("he is 9.", True),
        ("12m with wheeze", True),
        ("asthma since age 5", False),
        ("a 10-day-old surgical wound", False),
        ("the wound is 10 days old", False),
        ("walks 10 m at most", False),
        ("she is 10 weeks pregnant", False),
        ("her 3-month-old baby is well; she is 31", False),
        ("a 10-day-old rash. a boy aged 9", True),
        ("", False),
    ],
)
def test_who_is_a_child(text: str, child: bool) -> None:
    assert is_child(text.casefold()) is child


@pytest.mark.parametrize(  # Royal College of Physicians, NEWS2, chart 1
    ("vitals", "points"),
    [
        ({"respirations": (8,)}, 3),
        ({"respirations": (9,)}, 1),
        ({"respirations": (12,)}, 0),
        ({"respirations": (21,)}, 2),
        ({"respirations": (25,)}, 3),
        ({"spo2": (91,)}, 3),
        ({"spo2": (92,)}, 2),
        ({"spo2": (95,)}, 1),
        ({"spo2": (96,)}, 0),
        ({"systolic": (90,)}, 3),
        ({"systolic": (100,)}, 2),
        ({"systolic": (110,)}, 1),
        ({"systolic": (219,)}, 0),
        ({"systolic": (220,)}, 3),
        ({"pulse": (40,)}, 3),
        ({"pulse": (50,)}, 1),
        ({"pulse": (90,)}, 0),
        ({"pulse": (110,)}, 1),
        ({"pulse": (130,)}, 2),
        ({"pulse": (131,)}, 3),
        ({"temperature": (35.0,)}, 3),
        ({"temperature": (36.0,)}, 1),
        ({"temperature": (38.0,)}, 0),
        ({"temperature": (39.0,)}, 1),
        ({"temperature": (39.1,)}, 2),
        ({"pulse": (80, 135), "spo2": (90,)}, 6),
        ({}, 0),
    ],
)
def test_the_score_is_that_of_the_chart_by_the_worst_value(vitals: dict[str, tuple[float, ...]], points: int) -> None:
    assert score(vitals, rules().bands) == points
