"""What is a divergence, and what only looks like one."""

import math
import random
from collections.abc import Sequence

import pytest

from bedside.errors import CheckFailed, RunError
from bedside.fused.packs import Row
from bedside.train.divergence import IN_A_ROW, SKIPPED, Limits, loss_limit
from bedside.train.journal import StepMetrics

VOCABULARY = 49_152
EVEN = math.log(VOCABULARY)
ROWS = [Row("b-7", (1, 2, 3), 1), Row("a-1", (4, 5, 6), 1)]


def steps_of(losses: Sequence[float], norm: float | None = 1.0) -> list[StepMetrics]:
    return [StepMetrics(i, loss, 1e-4, norm, 9 * i, 1.0) for i, loss in enumerate(losses, 1)]


def stopped_at(losses: Sequence[float], first: bool = False) -> int | None:
    """The step, from 1, at which a run of these losses is stopped."""
    limits = Limits(VOCABULARY, first)
    for number in range(len(losses)):
        try:
            limits.judge(steps_of(losses[:number]), losses[number], 1.0, None, ROWS)
        except RunError:
            return number + 1
    return None


@pytest.mark.parametrize(
    "losses",
    [
        [EVEN] * 50,
        [1.04 * EVEN, 0.99 * EVEN, EVEN],
        [20.0, 19.0, 21.0, 20.5, 18.0, 17.0],
        [2.0, 1.0, 14.0, 1.0, 13.0, 14.0, 1.0],
        [2.0, 9.0, 9.5, 9.0, 9.0],
        [12.0, 12.0, 12.0, 12.0],
    ],
    ids=["a random model", "scatter about even guessing", "a wide random model", "hard steps of few tokens", "worse but no worse than guessing", "a base that guesses badly from the start"],
)  # fmt: skip
def test_a_run_that_only_looks_bad_goes_on(losses: list[float]):
    assert stopped_at(losses) is None


def test_noise_about_a_falling_curve_raises_no_alarm():
    draw = random.Random(3)
    for begin in (EVEN, 4.0, 2.0):
        assert stopped_at([begin * math.exp(-i / 200) * draw.lognormvariate(0, 0.5) for i in range(500)]) is None


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([2.0, 15.0, 15.0, 15.0], 4),
        ([2.0, 1.9, 1.8, 12.0, 1.8, 12.0, 13.0, 14.0], 8),
        ([2.0] * 100 + [11.4] * 5, 103),
        ([EVEN, EVEN, 3 * EVEN, 3 * EVEN, 3 * EVEN], 5),
    ],
)
def test_several_steps_worse_than_guessing_and_than_before_are_an_explosion(losses: list[float], step: int):
    assert stopped_at(losses) == step
    assert IN_A_ROW == 3


def test_steps_beyond_the_limits_are_not_worth_keeping():
    limits = Limits(VOCABULARY)
    assert limits.judge(steps_of([2.0, 2.0]), 2.5, 1.0, None, ROWS)
    assert not limits.judge(steps_of([2.0, 2.0]), 15.0, 1.0, None, ROWS)


@pytest.mark.parametrize(
    ("loss", "norm", "scale", "told"),
    [
        (math.nan, 1.0, None, "step 3: the loss is nan; lower train.lr or train.clip"),
        (math.inf, math.nan, 1024.0, "step 3: the loss is inf; lower train.lr or train.clip"),
        (2.0, math.nan, None, "step 3: the gradient is nan; lower train.lr"),
        (2.0, math.inf, 0.5, "step 3: the fp16 gradient is no number at a scale of 0.5; use train.precision = 'bf16'"),
    ],
)
def test_what_is_no_number_is_told_with_step_hint_and_the_ids_of_the_rows(
    loss: float, norm: float, scale: float | None, told: str
):
    with pytest.raises(RunError) as caught:
        Limits(VOCABULARY).judge(steps_of([2.0, 2.0]), loss, norm, scale, ROWS)
    assert str(caught.value).startswith(told)
    assert "its rows: b-7, a-1; the checkpoints before it stay" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_many_rows_the_first_twenty_are_named():
    rows = [Row(f"r{i}", (1, 2), 1) for i in range(64)]
    with pytest.raises(RunError, match="r18, r19 and 44 more;"):
        Limits(VOCABULARY).judge([], math.nan, 1.0, None, rows)


def test_a_skipped_fp16_step_is_normal_but_twenty_in_a_row_are_not():
    limits = Limits(VOCABULARY)
    assert limits.judge(steps_of([2.0] * (SKIPPED - 2), None), 2.0, math.inf, 65536.0, ROWS)
    before = [*steps_of([2.0]), *steps_of([2.0] * (SKIPPED - 2), None)]
    assert limits.judge(before, 2.0, math.inf, 65536.0, ROWS)
    assert limits.judge(steps_of([2.0] * SKIPPED, None), 2.0, 1.0, 65536.0, ROWS)
    with pytest.raises(RunError, match="the fp16 gradient is no number at a scale of 65536"):
        limits.judge(steps_of([2.0] * (SKIPPED - 1), None), 2.0, math.inf, 65536.0, ROWS)


def test_only_the_very_first_loss_is_a_sign_of_a_damaged_base():
    with pytest.raises(CheckFailed, match=r"guessing evenly among all tokens gives ln\(49,152\) = 10\.80"):
        Limits(VOCABULARY, first=True).judge([], 1.01 * loss_limit(VOCABULARY), 1.0, None, ROWS)
    assert stopped_at([0.99 * loss_limit(VOCABULARY), 12.0], first=True) is None
    assert Limits(VOCABULARY).judge([], 99.0, 1.0, None, ROWS)
