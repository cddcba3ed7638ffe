"""Tensors that pass through in pieces of some rows, so that memory holds a few pieces, whatever a tensor's size.

In: a function from rows to what is stored of them. Out: the pieces, in their order; the next ones are computed in other
threads while one is written.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bedside.fused.lanes import each

Rows = Callable[[slice], NDArray[np.float32]]
"""The values of some rows of a tensor, in fp32."""
PIECE = 2**19
"""Numbers of a piece at most, if a block of rows has not more: 2 MiB in fp32, about what a core's cache holds."""


def in_pieces(
    shape: tuple[int, ...], stored: Callable[[slice], NDArray[Any]], block: int = 1
) -> Iterator[NDArray[Any]]:
    """What is stored of a tensor, a piece at a time; each has a multiple of `block` rows, but for the last one."""
    return each(stored, cut(shape, block))


def cut(shape: tuple[int, ...], block: int = 1) -> list[slice]:
    """The rows of each piece."""
    step = block * max(1, PIECE // (block * math.prod(shape[1:])))
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A tensor that is computed while it is written: what gguf's writer asks of an array."""

    nbytes: int
    pieces: Iterable[NDArray[Any]]

    def tofile(self, file: IO[bytes]) -> None:
        """Writes the pieces one after another."""
        for piece in self.pieces:
            file.write(piece.data)
