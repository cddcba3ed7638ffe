"""What the processes of `test_world` do: functions of this module, called in all of them, one after another."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bedside.errors import BedsideError, RecipeError, RunError
from bedside.fused.packs import Row
from bedside.progress import say
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model
from bedside.train import checkpoint, launch, loop, lora
from bedside.train.journal import StepMetrics
from bedside.train.learner import Learner
from bedside.train.world import World, joined

Call = Sequence[object]


def process(rank: int, size: int, port: int, folder: Path, calls: Sequence[Call]) -> None:
    """One process of a launcher's, with stdout and stderr in files; ends with its exit status."""
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        with (folder / f"{name}{rank}").open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in {**place, "MASTER_PORT": port}.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    sys.exit(launch.together(lambda: command(calls)))


def command(calls: Sequence[Call]) -> int:
    """Like the command line: an error is told in one line."""
    try:
        for name, *values in calls:
            joined().together(globals()[str(name)], *values)
    except BedsideError as error:
        say(f"bedside: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    print("done", flush=True)
    return 0


def train(world: World, model: Path, folder: Path, settings: dict, stopped: tuple[int, int] = (0, 0)) -> None:
    """A training of the tiny Llama; its metrics and adapter are in the folder afterwards.

    The process of rank `stopped[0]` is told to stop in step `stopped[1]`, counted from 1.
    """
    rows = [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(8 + 3 * i)), 3 + i % 3) for i in range(12)]
    held_out = [Row(f"v{i}", tuple((i * 5 + j * 2) % 300 + 3 for j in range(9 + i)), 4) for i in range(5)]
    section = TrainSection(**settings)
    base = load_model(model, Device("cpu", torch.float32, "test"))
    recompute = section.checkpointing == "on"
    learner = Learner(lora.attach(base, section, seed=7), 2, section, max_length=64, recompute=recompute)

    def watch(metrics: StepMetrics) -> None:
        if (world.rank, metrics.step) == stopped:
            os.kill(os.getpid(), signal.SIGTERM)

    with world.folder(folder) as own:
        own.mkdir(exist_ok=True)
        loop.train(learner, rows, held_out, section, 7, own, world=world, watch=watch)
        checkpoint.save_adapter(own, learner.model, "tiny", world)


def mistake_in_one(world: World, rank: int) -> None:
    if world.rank == rank:
        raise RecipeError("no such base on this machine")
    world.total(1.0)


def bug_in_one(world: World, rank: int) -> None:
    if world.rank == rank:
        raise KeyError("a bug")
    world.total(1.0)


def mistake_in_all(world: World) -> None:
    raise RunError("step 3: the loss is nan")


def killed(world: World, rank: int) -> None:
    if world.rank == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    world.total(1.0)


def noise(world: World) -> None:
    print("on stdout")
    say("on stderr")
