"""Memory that stays from step to step for what every step makes anew, so that the heap gets no holes.

    block = Block()                                      # of one layer
    with lane_of_blocks(start=512, total=1024):          # this thread's part of the tokens computed side by side
        y_TE = rows_of(block, x_TE, width, torch.float32)
    logits, made = logits_of(x_NE, head_VE)              # good until the thread's next call

Batches of many lengths make tensors of many sizes. Freed, their memory fits later ones rarely, and a training grows for
hundreds of steps; a block has room for the largest batch, and the lanes share it out.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CHUNK = 128
"""Tokens whose logits exist at once: at a vocabulary of 128,256 these are 66 MB in fp32."""


class Block:
    """Memory for the rows of one product's tensor, shared by lanes; it grows with the largest total."""

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._growing = threading.Lock()

    def part(self, start: int, total: int, like_TE: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Uninitialised [tokens, width], the rows from `start` on of `total`, as many as `like_TE` has."""
        with self._growing:
            held = self._held
            if held is None or len(held) < total:
                self._held = held = None  # freed before the larger one is made
                # a power of two: made anew a few times only, and what is not written takes no memory
                self._held = held = like_TE.new_empty(1 << (total - 1).bit_length(), width, dtype=dtype)
        # no view: lanes write beside one another, which autograd would take for a change of what it has saved
        return held.new_empty(0).set_(held.untyped_storage(), start * width, (len(like_TE), width), (width, 1))


class _Own(threading.local):
    """What is a thread's own: its part of the tokens, and memory for the logits of a chunk."""

    def __init__(self) -> None:
        self.lane: tuple[int, int] | None = None
        self.logits: dict[torch.dtype, Tensor] = {}

    def chunk(self, tokens: int, head_VE: Tensor, dtype: torch.dtype) -> Tensor:
        held = self.logits.get(dtype)
        if held is None or held.shape[1] != len(head_VE) or held.device != head_VE.device:
            held = self.logits[dtype] = head_VE.new_empty(CHUNK, len(head_VE), dtype=dtype)
        return held[:tokens]


_OWN = _Own()


@contextmanager
def lane_of_blocks(start: int, total: int) -> Iterator[None]:
    """Within it `rows_of` gives this thread the rows from `start` on, of `total` in all lanes.

    They are good until the same rows are asked for again: the backward pass must have ended by then.
    """
    _OWN.lane = start, total
    try:
        yield
    finally:
        _OWN.lane = None


def rows_of(block: Block | None, like_TE: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Uninitialised [tokens, width] for as many tokens as `like_TE` has; without a block or a lane new memory."""
    if block is None or _OWN.lane is None:
        return like_TE.new_empty(len(like_TE), width, dtype=dtype)
    return block.part(*_OWN.lane, like_TE, width, dtype)


def logits_of(x_NE: Tensor, head_VE: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in fp32, and in the type that they are made in, [tokens, vocabulary]; of `CHUNK` tokens at most.

    The system clears what is new, which takes a tenth of the time of a step in bf16.
    """
    made = torch.mm(x_NE, head_VE.t(), out=_OWN.chunk(len(x_NE), head_VE, head_VE.dtype))
    if made.dtype == torch.float32:
        return made, made
    return _OWN.chunk(len(x_NE), head_VE, torch.float32).copy_(made), made
