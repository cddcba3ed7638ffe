"""What a training tells of itself when it has ended."""

from collections.abc import Sequence
from typing import Any

import pytest

from bedside.train.journal import StepMetrics
from bedside.verbs.train import in_words, kept

TOLD: dict[str, Any] = {
    "adapter": "runs/x/adapter", "steps": 4, "first_loss": 2.0, "final_loss": 1.5, "validation_loss": 1.75,
    "trainable_parameters": 10, "total_parameters": 100, "tokens_per_s": 9.0, "peak_memory_gib": 1.0,
}  # fmt: skip


def steps(losses: Sequence[float | None]) -> list[StepMetrics]:
    return [StepMetrics(i, 2.0, 1e-4, 1.0, 10 * i, 1.0 * i, loss) for i, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "best", "last"),
    [
        ((1.9, 1.75, 1.75, 1.8), 2, 4),
        ((None, 1.8, None, 1.7), 4, 4),
        ((None, 1.8, None, None), 2, 4),
        ((None,) * 4, 4, 4),
    ],
)
def test_the_step_that_became_the_adapter_is_told(losses: Sequence[float | None], best: int, last: int) -> None:
    metrics = steps(losses)
    assert (kept(metrics, "best").step, kept(metrics, "last").step) == (best, last)


def test_the_closing_line_names_the_step_that_was_kept_where_it_is_not_the_last() -> None:
    assert "4 steps, loss 2.000 → 1.500, kept that of step 2: validation loss 1.750, 10" in in_words(
        {**TOLD, "kept_step": 2}
    )
    for loss in (1.75, None):  # None: no row was held out
        told = in_words({**TOLD, "kept_step": 4, "validation_loss": loss})
        assert "4 steps, loss 2.000 → 1.500, 10 trainable" in told
    assert "kept" not in in_words(TOLD), "a training of an earlier version"
