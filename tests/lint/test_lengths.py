"""Rows that are too long."""

import pytest

from bedside.lint.lengths import TooLong, over_max_length

ROWS = [TooLong("a line 1", 700, "prompt"), TooLong("a line 2", 900, "answer"), TooLong("a line 3", 800, "answer")]


def test_rows_that_are_too_long_are_one_finding_with_counts_and_the_longest() -> None:
    (finding,) = over_max_length(ROWS, 100, 512)
    assert (finding.severity, finding.where) == ("warning", "model.max_length = 512")
    assert finding.message == (
        "3 of 100 rows are longer and are left out; a cut would have gone through the prompt of 1, the answer of 2;"
        " the longest has 900 tokens (a line 2)"
    )


@pytest.mark.parametrize(("rows", "severity"), [(7, "warning"), (6, "warning"), (5, "error"), (3, "error")])
def test_losing_more_than_half_of_the_rows_is_an_error(rows: int, severity: str) -> None:
    assert [finding.severity for finding in over_max_length(ROWS, rows, 512)] == [severity]


def test_that_no_row_is_left_is_told() -> None:
    (finding,) = over_max_length(ROWS, 3, 512)
    assert finding.message.startswith("all 3 rows are longer and are left out, so that nothing is left to train; ")


def test_nothing_too_long_is_nothing_found() -> None:
    assert list(over_max_length([], 100, 512)) == []
