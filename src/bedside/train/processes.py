"""Several processes on one training, on one machine or many: rows shared out (DDP) or weights as well (FSDP2).

accelerate finds out from the launcher's environment who we are, on which card, and how we talk: NCCL among cards, gloo
on CPUs. Whatever is no gradient goes by gloo. (DDP: arXiv:2006.15704; FSDP: arXiv:2304.11277.)
"""

import os
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import _get_default_store
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from bedside.errors import BedsideError, RecipeError, RunError, first_line
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runtime.device import Device, use_all_cores
from bedside.train.shares import deal, why_not
from bedside.train.world import Result, World

if TYPE_CHECKING:
    from bedside.fused.packs import Lanes, Row
    from bedside.train.batch import Batch

PATIENCE = timedelta(days=7)
"""How long the others wait for the first process, which may evaluate for hours; a death among them is seen at once."""
GRACE = timedelta(seconds=20)
"""How long a process that has failed waits for the first one to end in its own way: a launcher kills it at once."""
SHARED = {"ddp": "each with a part of a step's rows", "fsdp": "each with a part of the rows and of the weights"}
FAILURES, OVER = "bedside/failures", "bedside/over"


class Processes(World):
    """This process among `size` of them."""

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.size = state.process_index, state.num_processes
        self._device = state.device.type
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._store = _get_default_store()
        self._apart = False

    def run(self, command: Callable[[], int]) -> int:
        """See `World`."""
        if not self.first:
            return self._follow()
        status = 1
        try:
            status = command()
        finally:
            self._store.set(OVER, "")
            if not self._apart:  # else the others have left, or will see that this process has
                self.lead(lambda: status)
                dist.destroy_process_group()
        return status

    def _follow(self) -> int:
        """Does what the first process calls for until that is an exit status."""
        try:
            with _in_silence():
                while not isinstance(call := self.lead(_nothing), int):
                    function, values = call
                    function(self, *values)
        except BaseException as error:  # noqa: BLE001 — whatever it is, all have to end
            return self._failed(error)
        dist.destroy_process_group()
        return call

    def _failed(self, error: BaseException) -> int:
        """Tells the error if it is no other process's, and leaves after the first one; returns the exit status."""
        own = self._fails_first() and isinstance(error, Exception)
        if own:
            told = _told(error)
            if not isinstance(told, BedsideError):
                traceback.print_exception(error)
            say(f"bedside: process {self.rank} of {self.size} on {socket.gethostname()}: {first_line(told)}")
        if self._device == "cpu":  # so that the first hears of it; from a card it does when this process has ended
            dist.destroy_process_group()
            del self._words
        if self._device == "cpu" or not own:
            with suppress(RuntimeError):
                self._store.wait([OVER], GRACE)
        return _status(error)

    def _fails_first(self) -> bool:
        """Whether no other process has failed before, of which this failure would be a consequence."""
        with suppress(RuntimeError):  # the store may be gone with the process that held it
            return self._store.add(FAILURES, 1) == 1
        return False

    def together(self, function: Callable[..., Result], *values: Any) -> Result:
        """See `World`."""
        self.lead(lambda: (function, values))
        try:
            return function(self, *values)
        except Exception as error:
            self._apart = True
            if not self._fails_first():
                raise SystemExit(_status(error)) from error
            raise _told(error) from error
        except BaseException:  # Ctrl-C
            self._apart = True
            self._fails_first()
            raise

    def lead(self, work: Callable[[], Result]) -> Result:
        """See `World`."""
        box: list[Any] = [work() if self.first else None]
        dist.broadcast_object_list(box, src=0, group=self._words)
        result: Result = box[0]
        return result

    def folder(self, path: Path) -> AbstractContextManager[Path]:
        """See `World`."""
        return nullcontext(path) if self.first else _own_folder()

    def refuse_unfit(self, recipe: Recipe, held_out: Sequence["Row"]) -> None:
        """See `World`."""
        reason = why_not(recipe, self.size, len(held_out))
        if reason:
            raise RecipeError(reason)

    def loads_on(self, device: Device, strategy: str) -> Device:
        """See `World`. What is sharded need not fit on a card whole."""
        return replace(device, name="cpu") if strategy == "fsdp" else device

    def prepare(self, learner: nn.Module, strategy: str) -> nn.Module:
        """See `World`."""
        use_all_cores()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        torch.set_num_threads(max(1, torch.get_num_threads() // local))
        say(f"train: {self.size} processes, {SHARED[strategy]}")
        if strategy == "ddp":
            return DistributedDataParallel(learner)
        mesh = init_device_mesh(self._device, (self.size,))
        for layer in _layers(learner):
            fully_shard(layer, mesh=mesh)
        fully_shard(learner, mesh=mesh)
        return learner

    def share(self, rows: Sequence["Row"]) -> Sequence["Row"]:
        """See `World`."""
        return deal(rows, self.size)[self.rank]

    def rounds(
        self, parallel: nn.Module, batches: Iterable["Batch | Lanes"]
    ) -> Iterator[tuple["Batch | Lanes", float]]:
        """See `World`. With FSDP every process has to take part in each forward pass of another."""
        mine = list(batches)
        count = self._largest(len(mine)) if isinstance(parallel, FSDPModule) else len(mine)
        for number in range(count):
            with _added_up(parallel, last=number == count - 1):
                yield mine[number % len(mine)], float(number < len(mine))

    def total(self, value: float) -> float:
        """See `World`."""
        return self._reduced(value, dist.ReduceOp.SUM)

    def _largest(self, value: int) -> int:
        return int(self._reduced(value, dist.ReduceOp.MAX))

    def _reduced(self, value: float, operation: Any) -> float:
        figure = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(figure, operation, group=self._words)
        return float(figure)

    def whole(self, tensor: Tensor) -> Tensor:
        """See `World`."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def spread(self, values: Tensor, into: Tensor) -> None:
        """See `World`."""
        if isinstance(into, DTensor):
            values = distribute_tensor(values.to(into.device), into.device_mesh, into.placements, src_data_rank=None)
        into.copy_(values)


def _layers(learner: nn.Module) -> list[nn.Module]:
    """The decoder layers: what transformers names as not to be torn apart."""
    names = {name for module in learner.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    return [module for module in learner.modules() if type(module).__name__ in names]


@contextmanager
def _added_up(parallel: nn.Module, last: bool) -> Iterator[None]:
    if isinstance(parallel, FSDPModule):
        parallel.set_requires_gradient_sync(last)
    with parallel.no_sync() if isinstance(parallel, DistributedDataParallel) and not last else nullcontext():
        yield


@contextmanager
def _own_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="bedside-") as name:
        yield Path(name)


@contextmanager
def _in_silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _nothing() -> Any:
    return None


def _status(error: BaseException) -> int:
    return error.exit_status if isinstance(error, BedsideError) else 130 if isinstance(error, KeyboardInterrupt) else 1


def _told(error: BaseException) -> BaseException:
    """The error, or in place of a broken connection one of ours."""
    if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
        return RunError("another process is gone without a word; the same command goes on from the last checkpoint")
    return error
