"""When a training has gone wrong, by its figures alone, so that a resumed run is judged as one that never stopped.

It has if the loss or the gradient is no number, if an fp16 gradient stays so however little it is scaled, or if the
loss explodes: several steps in a row are worse than guessing evenly among all tokens, and far worse than the steps
before them. Either alone would cry wolf, for a random model begins at even guessing, and a step of a few tokens may be
wide of the mark once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from torch import nn

from bedside.errors import CheckFailed, RunError
from bedside.fused.packs import Row
from bedside.train.journal import StepMetrics

SLACK = 1.05
"""Times ln(vocabulary) that a sound loss may have: guessing evenly is at 1, and a few rows scatter about that."""
FAR = 2.0
"""Times the median of the steps before that a sound loss may have."""
IN_A_ROW = 3
"""Steps with a loss beyond both limits that are an explosion."""
SKIPPED = 20
"""Steps in a row with an infinite fp16 gradient that no scale will mend: each halves it, from 2^16 in the beginning."""
NAMED = 20
"""Rows of a step that an error names at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a model of `vocabulary` tokens may go; `first`: whether its very first loss must be sound."""

    vocabulary: int
    first: bool = False

    def judge(
        self, before: Sequence[StepMetrics], loss: float, norm: float, scale: float | None, rows: Sequence[Row]
    ) -> bool:
        """Whether the step after those `before` left weights that are worth keeping; `scale` is the fp16 gradient's.

        Raises CheckFailed if the very first loss shows that the base is damaged; if the training diverges RunError,
        which names the step's rows by their ids alone.
        """
        if self.first and not before and math.isfinite(loss) and loss > loss_limit(self.vocabulary):
            told = "the base may be damaged; lint.allow = ['first-loss'] trains all the same"
            raise CheckFailed(f"{implausible(loss, self.vocabulary)}: {told}")
        for fault in self._faults(before, loss, norm, scale):
            step = f"step {len(before) + 1}: {fault}"
            raise RunError(f"{step}; its rows: {_named(rows)}; the checkpoints before it stay")
        return not self._exceeds(before, loss)

    def _exceeds(self, before: Sequence[StepMetrics], loss: float) -> bool:
        if loss <= loss_limit(self.vocabulary) or not before:
            return False
        return loss > FAR * median(step.loss for step in before)

    def _faults(self, before: Sequence[StepMetrics], loss: float, norm: float, scale: float | None) -> Iterator[str]:
        if not math.isfinite(loss):
            yield f"the loss is {loss}; lower train.lr or train.clip and run again"
        if not math.isfinite(norm) and scale is None:
            yield f"the gradient is {norm}; lower train.lr and run again"
        if scale is not None and (scale < 1 or self._skipped(before, norm)):
            yield f"the fp16 gradient is no number at a scale of {scale:g}; use train.precision = 'bf16' or 'fp32'"
        if self._explodes(before, loss):
            limit = loss_limit(self.vocabulary)
            yield (
                f"the loss explodes: {loss:.2f} nats a token, over {limit:.2f} (worse than guessing) for {IN_A_ROW}"
                " steps; lower train.lr or raise train.warmup and run again"
            )

    def _explodes(self, before: Sequence[StepMetrics], loss: float) -> bool:
        cut = len(before) - IN_A_ROW + 1
        earlier, recent = before[: max(0, cut)], [step.loss for step in before[max(0, cut) :]]
        return bool(earlier) and all(self._exceeds(earlier, one) for one in (loss, *recent))

    @staticmethod
    def _skipped(before: Sequence[StepMetrics], norm: float) -> bool:
        last = before[-SKIPPED + 1 :]
        return not math.isfinite(norm) and len(last) == SKIPPED - 1 and all(step.grad_norm is None for step in last)


def loss_limit(vocabulary: int) -> float:
    """The largest loss, in nats a token, of a model that does no worse than guessing."""
    return SLACK * math.log(vocabulary)


def implausible(loss: float, vocabulary: int) -> str:
    """Why a first loss above the limit is one of a damaged base."""
    even = f"ln({vocabulary:,}) = {math.log(vocabulary):.2f}"
    return f"the first loss is {loss:.2f} nats a token, guessing evenly among all tokens gives {even}"


def vocabulary(model: nn.Module) -> int:
    """Number of tokens that a model chooses among."""
    return int(model.config.get_text_config().vocab_size)  # type: ignore[union-attr, operator]


def _named(rows: Sequence[Row]) -> str:
    names = ", ".join(row.id for row in rows[:NAMED])
    return f"{names} and {len(rows) - NAMED} more" if len(rows) > NAMED else names
