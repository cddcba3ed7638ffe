"""The lanes of a batch side by side: each in a thread of its own, on its share of the cores.

    loss = side_by_side(fused.summed_loss, lanes, parameters)    # differentiable, as if all packs were one

Cores that compute a pack each do not wait for one another at the end of every operation, as those that share one do: on
two cores that is a sixth of the time. torch lets go of Python's lock within an operation, and passes gradients back in
the thread that asks for them. A lane computes the gradients of a pack right after its loss, so that it holds one pack
at a time; they are added up in the order of packs and lanes: the same batch gives the same bytes.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

from bedside.fused.allocator import share_one_heap
from bedside.fused.packs import Lanes, Packed
from bedside.fused.room import lane_of_blocks

Value = TypeVar("Value")
Result = TypeVar("Result")
Loss = Callable[[Packed], Tensor]


def side_by_side(loss: Loss, lanes: Lanes, parameters: Sequence[Parameter], *, at_once: bool = True) -> Tensor:
    """The sum of a loss over packs, each of which depends on all of the parameters.

    The gradients of a pack are computed `at_once` after its loss, but those of a pack alone may be left for later.
    """
    match lanes:
        case ((alone,),) if not at_once:
            return loss(alone)
    if not torch.is_grad_enabled():
        return torch.stack(list(each(partial(_summed, loss), lanes))).sum()
    summed: Tensor = _SideBySide.apply(loss, lanes, *parameters)  # type: ignore[no-untyped-call]
    return summed


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Loss, lanes: Lanes, *parameters: Parameter) -> Tensor:
        left = threading.Event()
        longest = [max(len(pack.ids_T) for pack in lane) for lane in lanes]
        starts = accumulate(longest, initial=0)
        parts = [(lane, start, sum(longest)) for lane, start in zip(lanes, starts, strict=False)]
        losses, gradients = zip(*each(partial(_differentiated, loss, parameters, left), parts, left), strict=True)
        for others in gradients[1:]:
            torch._foreach_add_(gradients[0], others)
        ctx.gradients = gradients[0]
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # the caller may hold this node while it computes the next
        torch._foreach_mul_(gradients, d_loss)
        return None, None, *gradients


@torch.no_grad()
def _summed(loss: Loss, packs: Sequence[Packed]) -> Tensor:
    return torch.stack([loss(pack) for pack in packs]).sum()


@torch.enable_grad()
def _differentiated(
    loss: Loss, parameters: Sequence[Parameter], left: threading.Event, part: tuple[Sequence[Packed], int, int]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The summed loss of packs one after another, and its gradients; `part` is the packs and their rows."""
    packs, start, total = part
    values: list[Tensor] = []
    gradients: tuple[Tensor, ...] = ()
    for pack in packs:
        if left.is_set():
            raise CancelledError
        with lane_of_blocks(start, total):
            value = loss(pack)
        found = torch.autograd.grad(value, parameters)
        if gradients:
            torch._foreach_add_(gradients, found)
        gradients = gradients or found
        values.append(value.detach())
    return torch.stack(values).sum(), gradients


def each(
    function: Callable[[Value], Result], values: Sequence[Value], left: threading.Event | None = None
) -> Iterator[Result]:
    """A function of each value, in their order, a thread for each core; an error of one is raised.

    Two values a core are in hand at most: results that nobody has taken yet do not pile up.
    `left` is set as soon as nobody waits for results any more, at the end, or after Ctrl-C or an error: values that are
    not in hand by then are not begun.
    """
    cores = torch.get_num_threads()
    lanes = max(1, min(cores, len(values)))
    left = left or threading.Event()

    def run(value: Value) -> Result:
        if left.is_set():
            raise CancelledError
        torch.set_num_threads(cores // lanes)  # of this thread, and of those that begin later
        return function(value)

    try:
        waiting: deque[Future[Result]] = deque()
        for value in values:
            if len(waiting) == 2 * lanes:
                yield waiting.popleft().result()
            waiting.append(_pool().submit(run, value))
        while waiting:
            yield waiting.popleft().result()
    finally:
        left.set()
        torch.set_num_threads(cores)


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that stay: the memory that each works with stays as well."""
    share_one_heap()
    return ThreadPoolExecutor(thread_name_prefix="lane")
