"""What decides memory and time of a training step, gathered in one record."""

import math
from dataclasses import dataclass
from typing import Literal

from bedside.errors import ModelError
from bedside.fused.choice import Way, chosen, obstacle
from bedside.models.shapes import Shape
from bedside.recipe import TrainSection
from bedside.train.schedule import rows_per_step

WIDTH = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a number."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of rows: those of the longest that is trained, and the means of their prompts and completions."""

    longest: int
    prompt: float
    completion: float
    shared: float = 0.0
    """Tokens that all prompts begin with, such as the instruction."""

    @property
    def whole(self) -> float:
        """Mean tokens of a row."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Setup:
    """A base, how it is trained, and on what. `precision` is that of the frozen base, never "auto"."""

    shape: Shape
    quantise: Literal["none", "nf4"]
    train: TrainSection
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp16"]
    max_length: int
    lengths: Lengths
    stored_bytes: int
    """Bytes of a number of the base on disk."""
    rows: int
    """Training rows, which wait in memory as tokens."""
    recompute: bool
    """Whether the activations of a layer are computed again in the backward pass rather than kept."""
    validates: bool
    """Whether the update with the smallest validation loss is kept beside the current one."""
    cores: int
    """Cores that the training may use; counts on a CPU."""
    uneven: str | None = None
    """Why the update of an adapter that is gone on from is none that the fused step takes."""

    @property
    def updates(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the layers of one decoder layer that get an update. Raises ModelError for another."""
        linear = self.shape.linear
        missing = [target for target in self.train.targets if target not in linear]
        if missing:
            raise ModelError(
                f"train.targets: the model has no linear layer '{missing[0]}'; it has: {', '.join(linear)}"
            )
        return [linear[target] for target in sorted(set(self.train.targets))]

    @property
    def trainable(self) -> int:
        """Parameters of the adapter: A [rank, inputs] and B [outputs, rank] of every update (arXiv:2106.09685)."""
        return self.shape.layers * sum(self.train.rank * (inputs + outputs) for inputs, outputs in self.updates)

    @property
    def width(self) -> int:
        """Bytes of a number of the frozen base."""
        return WIDTH[self.precision]

    @property
    def way(self) -> tuple[Way, str]:
        """Whether the fused step computes it, or transformers and peft, and why."""
        return chosen(self.train, obstacle(self.shape.unlike_llama, self.quantise != "none", self.uneven))

    @property
    def fused(self) -> bool:
        """Whether the fused step of the Llama family computes it, rather than transformers and peft."""
        return self.way[0] == "fused"

    @property
    def tokens(self) -> int:
        """Tokens of the largest batch, its padding included.

        The fused step packs a step's rows into what `batch_size` rows of `max_length` would have; how far rows that
        are shorter fill it is judged by their mean and, as a third of its distance to the longest, their spread.
        """
        longest, mean = self.lengths.longest, self.lengths.whole
        if not self.fused:
            return self.train.batch_size * longest
        rows = rows_per_step(self.train)
        together = rows * mean + 2 * math.sqrt(rows) * (longest - mean) / 3
        return min(self.train.batch_size * self.max_length, max(longest, round(together)))

    @property
    def computed(self) -> float:
        """Share of the rows' tokens that are computed: on a CPU the fused step computes a beginning once a lane."""
        rows = self.tokens / self.lengths.whole / self.lanes
        if not self.fused or self.device != "cpu" or self.train.dropout or rows < 2:
            return 1.0
        return 1 - self.lengths.shared * (1 - 1 / rows) / self.lengths.whole

    @property
    def lanes(self) -> int:
        """Rows that are computed side by side, if they are alike in length: on a CPU, by the fused step."""
        if not self.fused or self.device != "cpu" or self.train.dropout or self.precision == "fp16":
            return 1
        return max(1, min(self.cores, int(self.tokens / self.lengths.whole)))

    @property
    def answers(self) -> int:
        """Tokens of that batch whose logits are computed: all but the prompts'."""
        share = self.lengths.prompt / self.lengths.whole if self.fused else self.lengths.prompt / self.lengths.longest
        return max(1, round(self.tokens * (1 - share)))
