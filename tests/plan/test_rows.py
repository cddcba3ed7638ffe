"""How many rows there are and how long, and where that is known from."""

import json
from pathlib import Path
from typing import Any

import pytest

from bedside.plan import rows
from bedside.plan.setup import Lengths
from bedside.recipe import Recipe

HISTOGRAM = {"edges": [0, 100, 200, 300], "counts": [0, 30, 10]}


def recipe(**sections: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"name": "test", **sections})


def stats(train: int = 40) -> dict[str, Any]:
    tokens = {"prompt": {"mean": 50.0}, "whole": {"max": 290, "histogram": HISTOGRAM}}
    return {"splits": {"train": train, "validation": 5, "test": 5}, "tokens": tokens}


@pytest.mark.parametrize(
    ("limit", "share", "mean"),
    [
        (1000, 1.0, (30 * 149.5 + 10 * 249.5) / 40),
        (299, 1.0, (30 * 149.5 + 10 * 249.5) / 40),
        (199, 0.75, 149.5),
        (149, 0.375, 124.5),
        (99, 0.0, 0.0),
    ],
)
def test_rows_within_a_length_are_read_off_the_histogram(limit: int, share: float, mean: float) -> None:
    assert rows.within(HISTOGRAM, limit) == pytest.approx((share, mean))


def test_what_the_data_stage_counted_is_taken() -> None:
    found = rows.from_stats(stats(), 1024)
    assert found is not None
    assert (found.count, found.lengths.longest, found.source) == (40, 290, "the data stage")
    assert found.lengths.prompt == 50.0
    assert found.lengths.whole == pytest.approx(174.5)


def test_rows_longer_than_the_recipe_allows_are_left_out() -> None:
    found = rows.from_stats(stats(), 199)
    assert found is not None
    assert (found.count, found.lengths.longest) == (30, 199)
    nothing = rows.from_stats(stats(), 50)
    assert nothing is not None
    assert nothing.count == 0


def test_a_data_stage_that_could_not_count_tokens_is_no_help() -> None:
    assert rows.from_stats({**stats(), "tokens": None}, 1024) is None


def write(path: Path, count: int, words: int = 30) -> None:
    row = {"instruction": "Answer", "input": "What is it?", "output": "word " * words}
    path.write_text("".join(json.dumps({**row, "input": f"What is {i}?"}) + "\n" for i in range(count)))


def test_rows_of_a_small_file_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", 100)
    data = {"source": "flashcards", "path": str(tmp_path / "rows.jsonl"), "split": [0.5, 0.25, 0.25]}
    found = rows.estimated(recipe(data=data))
    assert found.count == 50
    assert "its rows, tokens estimated" in found.source
    assert found.lengths.longest < 1024


def test_rows_of_a_large_file_are_estimated_from_its_size(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", 3 * rows.SAMPLE)
    data = {"source": "flashcards", "path": str(tmp_path / "rows.jsonl"), "split": [0.5, 0.0, 0.5]}
    found = rows.estimated(recipe(data=data))
    assert found.count == pytest.approx(1.5 * rows.SAMPLE, rel=0.2)
    assert found.lengths.longest > 1.3 * found.lengths.whole  # longer rows may come
    assert "estimated from its size" in found.source


def test_tokens_are_judged_by_characters_to_a_tenth(shared_data: Path) -> None:
    """Measured with SmolLM2's tokenizer: 759 tokens a row in the mean, 118 of them prompt."""
    path = shared_data / "medical_o1" / "medical_o1_long.jsonl"
    data = {"source": "medical-o1", "path": str(path)}
    found = rows.estimated(recipe(data=data, model={"max_length": 2048}, prompt={"style": "alpaca-think"}))
    assert found.lengths.whole == pytest.approx(759, rel=0.1)
    assert found.lengths.prompt == pytest.approx(118, rel=0.1)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ({"source": "flashcards", "split": [0.51, 0.30, 0.19]}, 17_317),
        ({"source": "pubmedqa", "split": [0.7, 0.05, 0.25]}, 700),
        ({"source": "pubmedqa", "limit": 100, "split": [0.5, 0.0, 0.5]}, 50),
        ({"source": "pubmedqa", "limit": 5000, "split": [0.5, 0.0, 0.5]}, 500),
        ({"source": "medical-o1", "limit": 625}, 500),
        ({"source": "medical-o1"}, None),
        ({"source": "flashcards", "path": "someone/else"}, None),
    ],
)
def test_a_data_set_that_is_not_here_is_as_its_card_says(data: dict[str, Any], count: int | None) -> None:
    found = rows.estimated(recipe(data=data))
    assert found.count == count
    assert "not here" in found.source


def test_rows_of_an_unknown_kind_count_as_long_as_they_may_be() -> None:
    found = rows.estimated(recipe(data={"source": "chat", "path": "someone/chats"}, model={"max_length": 400}))
    assert found.lengths == Lengths(400, 100, 300)
