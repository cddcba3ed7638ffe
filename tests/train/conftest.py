"""A training of the tiny model that takes a second: its rows, its settings, and how it is started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from bedside.fused.packs import Row
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model
from bedside.train import checkpoint, loop, lora
from bedside.train.journal import StepMetrics
from bedside.train.learner import Learner
from bedside.train.optimizer import Updater
from bedside.train.world import World

CPU = Device("cpu", torch.float32, "test")
ROWS = [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(8 + i)), 3 + i % 3) for i in range(12)]
HELD_OUT = [Row(f"held-{i}", tuple((i * 11 + j * 5) % 300 + 3 for j in range(10)), 4) for i in range(3)]
SETTINGS = TrainSection(
    rank=4, alpha=8, dropout=0.1, lr=1e-2, warmup=2, accumulation=3, max_steps=6, checkpoint_every=2
)


def settings_of(**changes: Any) -> TrainSection:
    return SETTINGS.model_copy(update=changes)


def learner_of(folder: Path, settings: TrainSection = SETTINGS) -> Learner:
    model = lora.attach(load_model(folder, CPU), settings, seed=7)
    return Learner(model, 2, settings, max_length=64)


def train_into(
    target: Path, model: Path, settings: TrainSection = SETTINGS, held_out: list[Row] = HELD_OUT, **options: Any
) -> list[StepMetrics]:
    """Trains, or goes on, in a folder; writes the adapter there."""
    target.mkdir(exist_ok=True)
    learner = learner_of(model, settings)
    metrics = loop.train(learner, ROWS, held_out, settings, 7, target, **options)
    checkpoint.save_adapter(target, learner.model, "tiny")
    return metrics


def checkpoints_of(
    folder: Path, model: Path, settings: TrainSection = SETTINGS, dtype: torch.dtype = torch.float32
) -> checkpoint.Checkpoints:
    """The checkpoints of a training that has just been started."""
    learner = learner_of(model, settings)
    updater = Updater([parameter for _, parameter in learner.trained], settings, dtype, World())
    return checkpoint.Checkpoints(folder / "checkpoints", learner, updater, World())


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def without_time(metrics: list[StepMetrics]) -> list[tuple[Any, ...]]:
    return [(m.step, m.loss, m.lr, m.grad_norm, m.tokens, m.validation_loss) for m in metrics]


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own, which can be filled and freed."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        free = os.statvfs(self.folder)
        size = free.f_bavail * free.f_frsize - leave
        with (self.folder / "other").open("wb") as file:
            file.write(b"\0" * size)

    def free(self) -> None:
        (self.folder / "other").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Two MiB; skipped where nobody may mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small disk needs root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(autouse=True)
def heard_signals() -> Iterator[None]:
    """Ctrl-C arrives, even where the tests were started in the background by a shell that has it ignored."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
