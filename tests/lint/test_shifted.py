"""Reasoning that belongs to another row."""

from dataclasses import replace
from pathlib import Path

import pytest

from bedside.data import sources
from bedside.lint.shifted import reasoning_shifted
from bedside.recipe import DataSection
from bedside.records import Example

from .conftest import CASES, examples


def slipped(rows: list[Example], by: int) -> list[Example]:
    return [replace(row, reasoning=rows[(i + by) % len(rows)].reasoning) for i, row in enumerate(rows)]


@pytest.mark.parametrize("by", [1, 2, 5])
def test_a_slipped_column_is_told_with_the_row_that_each_reasoning_is_about(by: int) -> None:
    rows = examples()
    found = {finding.where: finding.message for finding in reasoning_shifted(slipped(rows, by))}
    assert len(found) >= len(rows) / 2
    for i, row in enumerate(rows):
        if row.where in found:
            assert f"question of {rows[(i + by) % len(rows)].where}" in found[row.where]


def test_two_rows_that_changed_places_are_found_among_right_ones() -> None:
    rows = examples()
    rows[1], rows[4] = (replace(rows[a], reasoning=CASES[b][1]) for a, b in ((1, 4), (4, 1)))
    assert {finding.where for finding in reasoning_shifted(rows)} == {rows[1].where, rows[4].where}


@pytest.mark.parametrize("rows", [[], examples()[:1], [replace(row, reasoning="") for row in examples()], examples()])
def test_right_rows_and_rows_without_reasoning_are_left_alone(rows: list[Example]) -> None:
    assert list(reasoning_shifted(rows)) == []


def test_a_few_among_many_are_a_warning_and_a_column_is_an_error() -> None:
    others = [
        Example(f"o{i}", f"Is marker m{i} of panel p{i} raised?", f"Marker m{i} is.", reasoning=f"Panel p{i} has marker m{i}, raised.")
        for i in range(300)
    ]  # fmt: skip
    few = [*others, *slipped(examples(), 1)[:2]]
    assert {finding.severity for finding in reasoning_shifted(few)} <= {"warning"}
    assert {finding.severity for finding in reasoning_shifted(slipped(others, 1))} == {"error"}


@pytest.mark.parametrize("name", ["medical_o1_long", "medmcqa_short_cot"])
def test_real_rows_are_right_and_nine_in_ten_of_a_slipped_column_are_found(shared_data: Path, name: str) -> None:
    path = str(shared_data / "medical_o1" / f"{name}.jsonl")
    rows = list(sources.read(DataSection(source="medical-o1", path=path)))
    assert list(reasoning_shifted(rows)) == []
    assert len(list(reasoning_shifted(slipped(rows, 1)))) > 0.9 * len(rows)
