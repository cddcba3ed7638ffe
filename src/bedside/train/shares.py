"""Whether so many processes can share out a training, and which of them gets which rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bedside.recipe import Recipe
from bedside.train.schedule import rows_per_step

if TYPE_CHECKING:
    from bedside.fused.packs import Row


def why_not(recipe: Recipe, size: int, validation_rows: int) -> str | None:
    """Why so many processes cannot share out a recipe's training; None if they can."""
    rows = rows_per_step(recipe.train)
    if rows < size:
        return f"{rows} rows a step for {size} processes; raise train.accumulation or train.batch_size"
    if recipe.train.strategy != "fsdp":
        return None
    if recipe.model.quantise != "none":
        return "train.strategy = 'fsdp' cannot share out 4-bit weights; use 'ddp', or model.quantise = 'none'"
    if recipe.train.optimizer != "adamw":
        return "train.strategy = 'fsdp' cannot share out 8-bit moments; use train.optimizer = 'adamw'"
    if 0 < validation_rows < size:
        few = f"{validation_rows} validation rows for {size} processes with train.strategy = 'fsdp'"
        return f"{few}; raise train.validate_rows or the share of data.split, or set train.validate_every = 0"
    return None


def deal(rows: Sequence["Row"], size: int) -> list[list["Row"]]:
    """The rows in `size` hands, alike in rows and tokens: the longest first, there and back. Each keeps its order."""
    by_length = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
    turns = [*range(size), *reversed(range(size))]
    hands: list[list[int]] = [[] for _ in range(size)]
    for number, i in enumerate(by_length):
        hands[turns[number % len(turns)]].append(i)
    return [[rows[i] for i in sorted(hand)] for hand in hands]
