"""The processes of a training: what they share out, add up and leave to the first of them.

    world = joined()                       # a world of one, unless torchrun or `accelerate launch` started more
    metrics = world.together(fit, work)    # fit(world, work) in every process; the first goes on with its result

Everything else is written as if there were one process, and knows no more than this class.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from bedside.recipe import Recipe
from bedside.runtime.device import Device

if TYPE_CHECKING:  # transformers comes with it, and a process has to be heard of before that is loaded
    from bedside.fused.packs import Lanes, Row
    from bedside.train.batch import Batch

Result = TypeVar("Result")


class World:
    """This process among `size` of them: by itself."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def run(self, command: Callable[[], int]) -> int:
        """The exit status of a command that the first process runs, while the others wait until they are called."""
        return command()

    def together(self, function: Callable[..., Result], *values: Any) -> Result:
        """Calls `function(world, *values)` in all processes, from the first one; returns that one's result.

        If it fails in another process, that one tells why, and this one ends with SystemExit.
        """
        return function(self, *values)

    def lead(self, work: Callable[[], Result]) -> Result:
        """What `work` returns in the first process, in all; the others do not call it."""
        return work()

    def folder(self, path: Path) -> AbstractContextManager[Path]:
        """The folder for the first process, and for each other one its own, which is thrown away."""
        return nullcontext(path)

    def refuse_unfit(self, recipe: Recipe, held_out: Sequence["Row"]) -> None:
        """Raises RecipeError if so many processes cannot share out the recipe's training."""

    def loads_on(self, device: Device, strategy: str) -> Device:
        """Where weights are loaded before `prepare` brings them to their device."""
        return device

    def prepare(self, learner: nn.Module, strategy: str) -> nn.Module:
        """The learner as all processes train it together; to be called before there is an optimiser."""
        return learner

    def share(self, rows: Sequence["Row"]) -> Sequence["Row"]:
        """This process's part of the rows: the parts are alike in tokens, and in rows to within one."""
        return rows

    def rounds(
        self, parallel: nn.Module, batches: Iterable["Batch | Lanes"]
    ) -> Iterator[tuple["Batch | Lanes", float]]:
        """This process's batches and their weights; gradients are added up among the processes with the last one.

        Weights are 1, but for batches that are computed again because other processes have more of them: 0.
        """
        return ((batch, 1.0) for batch in batches)

    def total(self, value: float) -> float:
        """The sum of a figure over all processes, the same in each."""
        return value

    def clip(self, parameters: Sequence[nn.Parameter], norm: float) -> float:
        """Scales the gradients down to a norm, over all processes; returns what it was."""
        return float(self.whole(torch.nn.utils.clip_grad_norm_(parameters, norm)))

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of which each process may hold a part, whole; to be called by all processes."""
        return tensor

    def spread(self, values: Tensor, into: Tensor) -> None:
        """Copies a whole tensor, which every process has, into one of which each may hold a part."""
        into.copy_(values)


@cache
def joined() -> World:
    """The world that this process was started in; with several processes, waits until all of them are there."""
    if int(environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    from bedside.train.processes import Processes

    return Processes()
