"""`metrics.jsonl`: a line a step, for people and plots.

A run that goes on takes the lines of the steps that it does not compute again from its checkpoint: a file that a kill
or anything else has damaged is mended.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bedside.files import disk_errors, write_text
from bedside.progress import say

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

    def close(self) -> None:
        """Ends the file, whose lines then outlive a power cut."""
        with disk_errors(self._path), self._file:
            os.fsync(self._file.fileno())


@contextmanager
def journal(folder: Path, steps: Sequence[StepMetrics]) -> Iterator[Journal]:
    """The journal of a run that goes on after `steps`: what was logged beyond them is computed again."""
    path, lines = folder / METRICS, [_line(step) for step in steps]
    if lines and _first(path, len(lines)) != lines:
        say(f"{path}: not every step up to {len(lines)} has its line as it was; mended from the checkpoint")
    write_text(path, "".join(lines))
    opened = Journal(path, list(steps))
    try:
        yield opened
    finally:
        opened.close()


def _first(path: Path, count: int) -> list[str]:
    """The first lines of a file that may be anything, or nothing."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [line.decode(errors="replace") for line in lines[:count]]


def _line(metrics: StepMetrics) -> str:
    return json.dumps(asdict(metrics), allow_nan=False) + "\n"
