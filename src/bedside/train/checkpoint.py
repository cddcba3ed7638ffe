"""Checkpoints: trained weights, optimiser moments and the step, written atomically; tensors in safetensors only.

A checkpoint appears whole or not at all (its folder is renamed into place), the one before is removed afterwards.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bedside.files import write_json
from bedside.progress import say
from bedside.train.lora import trainable

STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come: finished steps, tokens computed, seconds spent."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def save(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Writes `folder/step-N` and removes older checkpoints."""
    final = folder / f"step-{position.step:07}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: p.detach().cpu().contiguous() for name, p in trainable(model)}
    moments, scalars = _flatten(optimizer)
    save_file(weights, partial / "weights.safetensors")
    save_file(moments, partial / "optimizer.safetensors")
    write_json(partial / STATE, {**asdict(position), "optimizer": scalars})
    partial.rename(final)
    for old in _all(folder):
        if old != final:
            shutil.rmtree(old)


def restore(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer) -> Position:
    """Loads the newest checkpoint that is whole into model and optimiser; a fresh `Position` if there is none."""
    for found in reversed(_all(folder)):
        try:
            weights = load_file(found / "weights.safetensors")
            moments = load_file(found / "optimizer.safetensors")
            state = json.loads((found / STATE).read_text(encoding="utf-8"))
        except (OSError, SafetensorError, ValueError) as error:
            say(f"{found}: damaged checkpoint ({error}); going back to the one before")
            continue
        with torch.no_grad():
            for name, parameter in trainable(model):
                parameter.copy_(weights[name])
        _unflatten(optimizer, moments, state.pop("optimizer"))
        return Position(**state)
    return Position()


def save_adapter(folder: Path, model: PeftModel, base_name: str) -> None:
    """Writes the adapter as `PeftModel.from_pretrained` reads it, the same bytes for the same weights."""
    state = get_peft_model_state_dict(model)
    tensors = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=base_name, inference_mode=True)
    plain = json.loads(json.dumps(config, default=_plain, sort_keys=True))
    write_json(folder / "adapter_config.json", plain)


def _plain(value: object) -> object:
    """Sets in a fixed order, enums by their value."""
    return sorted(value) if isinstance(value, set) else str(value)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimiser's state as named tensors, and what is no tensor; bitsandbytes nests a level deeper than torch."""
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}/{name}", inner)
        elif isinstance(value, torch.Tensor):
            tensors[path] = value.detach().cpu().clone()  # bitsandbytes shares one table among all parameters
        else:
            scalars[path] = value

    for index, values in optimizer.state_dict()["state"].items():
        walk(str(index), values)
    return tensors, scalars


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for path, value in [*tensors.items(), *scalars.items()]:
        index, *inner, name = path.split("/")
        values = state.setdefault(int(index), {})
        for part in inner:
            values = values.setdefault(part, {})
        values[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
