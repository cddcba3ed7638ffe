"""Checkpoints: all that a run needs to go on as if it had never stopped; tensors in safetensors only.

A checkpoint is a folder that appears whole or not at all, with the hashes of its files. The newest one and the one
before it are kept: if the newest is damaged after all, the run goes on from the other. What is a function of seed and
step (the order of rows, dropout, the learning rate) needs no place in it.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from bedside.errors import DataError, first_line
from bedside.files import write_bytes, write_json
from bedside.progress import say
from bedside.train import snapshot
from bedside.train.journal import StepMetrics
from bedside.train.learner import Learner
from bedside.train.moments import Tensors, flatten, unflatten
from bedside.train.optimizer import Updater
from bedside.train.snapshot import Position, Snapshot
from bedside.train.world import World


class Checkpoints:
    """The checkpoints of one training. All processes call its methods together; the first one writes."""

    def __init__(self, folder: Path, learner: Learner, updater: Updater, world: World) -> None:
        self._folder = folder
        self._learner = learner
        self._updater = updater
        self._world = world
        self._best: Tensors = {}
        self._newest: Path | None = None
        self.steps: list[StepMetrics] = []
        """The metrics of the steps before the checkpoint that was restored."""

    def save(self, position: Position, steps: Sequence[StepMetrics] = ()) -> None:
        """Writes `step-N`, and removes all but it and the one before. Raises RunError if the disk is full."""
        weights, scaler = self._weights(), self._updater.scaler.state_dict()
        moments, scalars = flatten(self._updater.optimizer, self._world)
        held = Snapshot(position, list(steps), weights, self._best, moments, scalars, scaler, self._made_by)
        self._world.lead(lambda: self._write(held))

    def _write(self, held: Snapshot) -> None:
        newest = self._folder / f"step-{held.position.step:07}"
        snapshot.write(newest, held)
        for old in _all(self._folder):
            if old not in (newest, self._newest):
                shutil.rmtree(old)
        self._newest = newest

    def restore(self) -> Position:
        """Loads the newest checkpoint that is whole; a fresh `Position` if there is none."""
        held = self._world.lead(self._found)
        if held is None:
            return Position()
        self._set(held.weights)
        self._best, self.steps = held.best, held.steps
        unflatten(self._updater, held.moments, held.scalars, self._world)
        self._updater.scaler.load_state_dict(held.scaler)
        return held.position

    def _found(self) -> Snapshot | None:
        there = _all(self._folder)
        while there:
            newest = there.pop()
            try:
                held = snapshot.read(newest)
                self._refuse_foreign(held)
            except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
                back = "to the one before" if there else "to the beginning"
                say(f"{newest}: damaged checkpoint ({first_line(error)}); going back {back}")
            else:
                self._newest = newest
                return held
        return None

    @property
    def _made_by(self) -> str:
        scaled = " with a scaler" if self._updater.scaler.is_enabled() else ""
        return type(self._updater.optimizer).__name__ + scaled

    def _refuse_foreign(self, held: Snapshot) -> None:
        """Raises DataError if a checkpoint, itself sound, is one of another training."""
        shapes = {name: parameter.shape for name, parameter in self._learner.trained}
        for tensors in (held.weights, held.best or held.weights):
            if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
                raise DataError("its weights have other names or shapes than this model's update")
        if held.made_by != self._made_by:
            raise DataError(f"it is of {held.made_by}, not of {self._made_by}")

    def judge(self, position: Position, loss: float, *, remember: bool) -> Position:
        """Whether the validation loss is the smallest so far; if so asked, the weights are remembered then."""
        if position.best is not None and loss >= position.best:
            return replace(position, waited=position.waited + 1)
        if remember:
            self._best = self._weights()
        return replace(position, best=loss, best_step=position.step, waited=0)

    def take_best(self) -> None:
        """Gives the learner the weights of the smallest validation loss, if there was one."""
        if self._best:
            self._set(self._best)

    def _weights(self) -> Tensors:
        return {name: self._world.whole(p.detach()).cpu().clone().contiguous() for name, p in self._learner.trained}

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._learner.trained:
            self._world.spread(weights[name], parameter)


def save_adapter(folder: Path, model: PeftModel, base_name: str, world: World | None = None) -> None:
    """Writes the adapter as `PeftModel.from_pretrained` reads it, the same bytes for the same weights."""
    state, world = get_peft_model_state_dict(model), world or World()
    tensors = {name: world.whole(state[name].detach()).cpu().contiguous() for name in sorted(state)}
    write_bytes(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=base_name, inference_mode=True)
    plain = json.loads(json.dumps(config, default=_plain, sort_keys=True))
    write_json(folder / "adapter_config.json", plain)


def _plain(value: object) -> object:
    """Sets in a fixed order, enums by their value."""
    return sorted(value) if isinstance(value, set) else str(value)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())
