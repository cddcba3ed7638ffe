"""One checkpoint on the disk: a folder that appears whole or not at all, with the hashes of its files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from bedside.errors import DataError
from bedside.files import read_json, tree_digests, whole_folder, write_json
from bedside.fused.packs import Row
from bedside.train.journal import StepMetrics
from bedside.train.moments import Tensors

WEIGHTS, BEST, MOMENTS = (f"{name}.safetensors" for name in ("weights", "best", "optimizer"))
STATE = "state.json"
DIGESTS = "digests.json"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come: finished steps, tokens computed, seconds spent on them, and how validation went."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    waited: int = 0

    def after(self, rows: Sequence[Row], seconds: float) -> "Position":
        """The position one step later."""
        tokens = sum(len(row.ids) for row in rows)
        return replace(self, step=self.step + 1, tokens=self.tokens + tokens, seconds=self.seconds + seconds)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a checkpoint holds. `steps` are the metrics so far; `made_by` names what reads its optimiser and scaler."""

    position: Position
    steps: list[StepMetrics]
    weights: Tensors
    best: Tensors
    moments: Tensors
    scalars: dict[str, Any]
    scaler: dict[str, Any]
    made_by: str


def write(folder: Path, snapshot: Snapshot) -> None:
    """Writes the folder, whole or not at all. Raises RunError if the disk is full."""
    with whole_folder(folder) as partial:
        save_file(snapshot.weights, partial / WEIGHTS)
        save_file(snapshot.best, partial / BEST)
        save_file(snapshot.moments, partial / MOMENTS)
        told = {"position": asdict(snapshot.position), "steps": [asdict(step) for step in snapshot.steps]}
        state = {"scalars": snapshot.scalars, "scaler": snapshot.scaler, "made_by": snapshot.made_by}
        write_json(partial / STATE, {**told, **state})
        write_json(partial / DIGESTS, tree_digests(partial))


def read(folder: Path) -> Snapshot:
    """Raises one of many errors, DataError among them, if anything is not as it was written."""
    digests = read_json(folder / DIGESTS)
    if {**tree_digests(folder), DIGESTS: ""} != {**digests, DIGESTS: ""}:
        raise DataError("its files are not as they were written")
    state = read_json(folder / STATE)
    position, steps = Position(**state.pop("position")), [StepMetrics(**step) for step in state.pop("steps")]
    weights, best, moments = (load_file(folder / name) for name in (WEIGHTS, BEST, MOMENTS))
    return Snapshot(position, steps, weights, best, moments, **state)
