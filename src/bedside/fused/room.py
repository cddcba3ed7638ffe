"""Memory that stays from step to step for what every step makes anew, so that the heap gets no holes.

    with ROOM.lane(start=512, total=1024):               # this thread's part of the tokens computed side by side
        y = ROOM.kept(layer, x_TE, width, torch.float32)
    logits, made = ROOM.logits(x_NE, head_VE)            # good until the thread's next call

Rows of many lengths make blocks of many sizes: freed, they fit later ones rarely, and a training grows for hundreds of
steps. A room holds a block for each layer instead, which the lanes share out: it is as large as the largest batch.
"""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CHUNK = 128
"""Tokens whose logits exist at once: at a vocabulary of 128,256 these are 66 MB in fp32."""


class Room:
    """One of the process; each thread has a part of its own."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Tensor] = {}
        self._growing = threading.Lock()
        self._own = _Own()

    @contextmanager
    def lane(self, start: int, total: int) -> Iterator[None]:
        """Within it this thread keeps tokens from `start` on, of `total` in all lanes.

        What is kept there is good until the same part is computed again: the backward pass must have ended by then.
        """
        self._own.part = start, total
        try:
            yield
        finally:
            self._own.part = None

    def kept(self, place: Hashable, like_TE: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Uninitialised [tokens, width] for as many tokens as `like_TE` has; outside of a lane new memory."""
        tokens = len(like_TE)
        if self._own.part is None:
            return like_TE.new_empty(tokens, width, dtype=dtype)
        start, total = self._own.part
        with self._growing:
            held = self._kept.get(place)
            if held is None or len(held) < total or held.shape[1] != width or held.dtype != dtype:
                self._kept.pop(place, None)
                del held
                held = self._kept[place] = like_TE.new_empty(1 << (total - 1).bit_length(), width, dtype=dtype)
        # no view: lanes write beside one another, which autograd would take for a change of what it has saved
        return held.new_empty(0).set_(held.untyped_storage(), start * width, (tokens, width), (width, 1))

    def logits(self, x_NE: Tensor, head_VE: Tensor) -> tuple[Tensor, Tensor]:
        """Logits in fp32, and in the type that they are made in, [tokens, vocabulary]; of `CHUNK` tokens at most.

        The system clears what is new, which takes a tenth of the time of a step in bf16.
        """
        made = torch.mm(x_NE, head_VE.t(), out=self._own.of(len(x_NE), head_VE, head_VE.dtype))
        if made.dtype == torch.float32:
            return made, made
        return self._own.of(len(x_NE), head_VE, torch.float32).copy_(made), made


class _Own(threading.local):
    """What is a thread's own: its part of the tokens, and a place for the logits of a chunk."""

    def __init__(self) -> None:
        self.part: tuple[int, int] | None = None
        self._logits: dict[torch.dtype, Tensor] = {}

    def of(self, tokens: int, head_VE: Tensor, dtype: torch.dtype) -> Tensor:
        held = self._logits.get(dtype)
        if held is None or held.shape[1] != len(head_VE) or held.device != head_VE.device:
            held = self._logits[dtype] = head_VE.new_empty(CHUNK, len(head_VE), dtype=dtype)
        return held[:tokens]


ROOM = Room()
