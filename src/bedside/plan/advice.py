"""What to change in a recipe that does not fit, in order of least harm to what is learned; each with what it gives."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bedside.models.shapes import Shape
from bedside.plan import memory
from bedside.plan.setup import Lengths, Setup

SHORTEST = 256
"""Tokens below which shortening the rows is no advice any more."""
WORTH = 0.99
"""A change is named if it leaves less than this share of the memory."""
Changed = tuple[str, Setup] | None


@dataclass(frozen=True, slots=True)
class Advice:
    """A change, on top of those named before it, and the bytes that training then needs."""

    change: str
    bytes: float
    fits: bool

    def __str__(self) -> str:
        return f"{self.change}: {self.bytes / memory.GIB:.2f} GiB, {'fits' if self.fits else 'does not fit yet'}"


def until_it_fits(setup: Setup, free_bytes: float, bases: Iterable[tuple[str, Shape]]) -> list[Advice]:
    """Changes one upon another until it fits; empty if it fits as it is. The last resort is the largest fitting base.

    `bases` are the names and shapes of other models.
    """
    advice: list[Advice] = []
    while memory.needed(setup) > free_bytes:
        changed = next(_worthwhile(setup), None)
        if changed is None:
            return [*advice, *_smaller_base(setup, free_bytes, bases)]
        change, setup = changed
        advice.append(_told(change, setup, free_bytes))
    return advice


def _worthwhile(setup: Setup) -> Iterator[tuple[str, Setup]]:
    """Changes that save memory now; one that does not may do so after another, as 4 bits after recomputing."""
    for change in CHANGES:
        changed = change(setup)
        if changed is not None and memory.needed(changed[1]) < WORTH * memory.needed(setup):
            yield changed


def _told(change: str, setup: Setup, free_bytes: float) -> Advice:
    needed = memory.needed(setup)
    return Advice(change, needed, needed <= free_bytes)


def _nf4(setup: Setup) -> Changed:
    return None if setup.quantise == "nf4" else ("model.quantise = 'nf4'", replace(setup, quantise="nf4"))


def _recompute(setup: Setup) -> Changed:
    return None if setup.recompute else ("train.checkpointing = 'on'", replace(setup, recompute=True))


def _eight_bits(setup: Setup) -> Changed:
    if setup.train.optimizer != "adamw":
        return None
    return "train.optimizer = 'adamw_8bit'", _trained(setup, optimizer="adamw_8bit")


def _one_row(setup: Setup) -> Changed:
    rows = setup.train.batch_size
    if rows == 1:
        return None
    accumulation = rows * setup.train.accumulation
    told = f"train.batch_size = 1 with train.accumulation = {accumulation}"
    return told, _trained(setup, batch_size=1, accumulation=accumulation)


def _half_length(setup: Setup) -> Changed:
    half = setup.lengths.longest // 2
    if half < SHORTEST:
        return None
    shorter = min(1.0, half / setup.lengths.whole)
    lengths = Lengths(half, setup.lengths.prompt * shorter, setup.lengths.completion * shorter)
    return f"model.max_length = {half}", replace(setup, max_length=half, lengths=lengths)


CHANGES: tuple[Callable[[Setup], Changed], ...] = (_nf4, _recompute, _eight_bits, _one_row, _half_length)


def _trained(setup: Setup, **changes: Any) -> Setup:
    return replace(setup, train=setup.train.model_copy(update=changes))


def _smaller_base(setup: Setup, free_bytes: float, bases: Iterable[tuple[str, Shape]]) -> list[Advice]:
    smaller = [(name, shape) for name, shape in bases if shape.parameters < setup.shape.parameters]
    for name, shape in sorted(smaller, key=lambda base: base[1].parameters, reverse=True):
        advice = _told(f"model.base = '{name}'", replace(setup, shape=shape), free_bytes)
        if advice.fits:
            return [advice]
    return []
