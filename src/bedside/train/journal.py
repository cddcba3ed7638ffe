"""`metrics.jsonl`: a line a step, which survives a kill and forgets what a resumed run computes again."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bedside.errors import RunError
from bedside.files import disk_errors, write_text
from bedside.train.world import World

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """A step: mean loss per trained token in nats before its update, and on the validation rows after it, if computed.

    `grad_norm` is none where a scaled fp16 gradient was no number, and the step was skipped. `tokens` and `seconds`
    count from the first step of the run, padding and validation left out.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float | None
    tokens: int
    seconds: float
    validation_loss: float | None = None

    @property
    def figures(self) -> dict[str, float]:
        """What there is to show of the step, by name."""
        return {name: value for name, value in asdict(self).items() if name != "step" and value is not None}


class Journal:
    """The steps so far, in memory and on the disk."""

    def __init__(self, path: Path, steps: list[StepMetrics]) -> None:
        self.steps = steps
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def add(self, metrics: StepMetrics) -> None:
        """Writes a step's line at once."""
        self.steps.append(metrics)
        with disk_errors(self._path):
            self._file.write(_line(metrics))
            self._file.flush()

    def sync(self) -> None:
        """Waits until the lines are on the disk: no checkpoint may be ahead of them, even after a power cut."""
        with disk_errors(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the file."""
        with disk_errors(self._path):
            self._file.close()


@contextmanager
def journal(folder: Path, step: int, world: World) -> Iterator[Journal]:
    """The journal of a run that goes on after `step`: what was logged beyond it is computed again.

    Raises RunError if a line up to `step` is missing or damaged.
    """
    path = folder / METRICS
    steps = world.lead(lambda: _until(path, step))
    write_text(path, "".join(map(_line, steps)))
    opened = Journal(path, steps)
    try:
        yield opened
    finally:
        opened.close()


def _until(path: Path, step: int) -> list[StepMetrics]:
    """The metrics of steps 1 to `step`, of which each is a line."""
    lines = path.read_bytes().splitlines()[:step] if path.exists() else []
    try:
        steps = [StepMetrics(**json.loads(line)) for line in lines]
    except (TypeError, ValueError):
        steps = []
    if [metrics.step for metrics in steps] != list(range(1, step + 1)):
        raise RunError(f"{path}: not every step up to {step} has its line; delete {path.parent} to begin again")
    return steps


def _line(metrics: StepMetrics) -> str:
    return json.dumps(asdict(metrics), allow_nan=False) + "\n"
