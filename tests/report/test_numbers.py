"""Numbers are written in one place: unit, decimals, sign, and a dash for what was not measured."""

import math

import pytest

from bedside.report import numbers
from bedside.text.numbers import probability


def spaced(text: str) -> str:
    """With plain spaces and hyphens, to be readable here."""
    return text.replace(numbers.SPACE, " ").replace(numbers.MINUS, "-").replace(numbers.DASH, "none")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (numbers.value(0.6137, "accuracy"), "61.4 %"),
        (numbers.value(-1.87234, "log-likelihood per token"), "-1.872"),
        (numbers.value(0.2141, "ROUGE-L F1"), "0.214"),
        (numbers.value(None, "accuracy"), "none"),
        (numbers.interval((0.5712, 0.6561), "accuracy"), "57.1 to 65.6"),
        (numbers.interval((None, None), "accuracy"), "none to none"),
        (numbers.difference(0.0625, "accuracy"), "+6.2 points"),
        (numbers.difference(-0.0312, "ROUGE-L F1"), "-0.031"),
        (numbers.difference(-0.00001, "ROUGE-L F1"), "0.000"),
        (numbers.difference(0.0, "accuracy"), "0.0 points"),
        (numbers.differences((-0.142, 0.025), "accuracy"), "-14.2 to +2.5"),
        (numbers.size(-0.048, "accuracy"), "4.8 points"),
        (numbers.size(math.inf, "accuracy"), "none"),
        (numbers.unit("accuracy"), "percentage points"),
        (numbers.unit("log-likelihood per token"), "nats per token"),
        (numbers.unit("ROUGE-L F1"), "difference in ROUGE-L F1"),
        (numbers.count(4884480), "4,884,480"),
        (numbers.decimal(-2.5, 1), "-2.5"),
        (numbers.decimal(None), "none"),
        (numbers.percent(7, 331), "2.1 %"),
        (numbers.percent(0, 0), "none"),
    ],
)
def test_numbers_are_written_in_the_unit_of_their_metric(text, wanted):
    assert spaced(text) == wanted


@pytest.mark.parametrize(
    ("p", "wanted"),
    [(0.0123, "0.012"), (0.00099, "<0.001"), (0.001, "0.001"), (1.0, "1.000"), (None, "none"), (math.nan, "none")],
)
def test_p_values_have_three_decimals_and_never_read_zero(p, wanted):
    assert spaced(probability(p)) == wanted


def test_p_values_in_a_sentence_are_equations():
    assert spaced(numbers.equation(0.0189)) == "p = 0.019"
    assert spaced(numbers.equation(0.0)) == "p < 0.001"


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (144_811_904, "144.8 MB"), (4.9e9, "4.9 GB")],
)
def test_sizes_are_in_decimal_units(size, wanted):
    assert spaced(numbers.file_size(int(size))) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(2.34, "2.3 s"), (59.7, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h"), (None, "none")],
)
def test_durations_use_two_units(seconds, wanted):
    assert spaced(numbers.duration(seconds)) == wanted


def test_moments_are_read_by_people_and_strange_ones_left_alone():
    assert numbers.moment("2025-11-02T04:03:00+00:00") == "2 November 2025, 04:03 UTC"
    assert numbers.moment("yesterday") == "yesterday"
