"""A PEFT LoRA folder → the update of each base weight that it changes.

In: `adapter_config.json` and `adapter_model.safetensors`. Out: {base weight: `Update`}. What a plain low-rank update
cannot express (DoRA, trained biases, whole saved modules) is refused by name, never passed over.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.export.pieces import Rows
from bedside.export.tensors import Tensors
from bedside.files import read_json
from bedside.models.peft_config import obstacle, require_sound

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
HEAD = "lm_head"
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class Update:
    """The change of one weight: `scale` · B · A."""

    tensors: Tensors
    a: str
    b: str
    scale: float

    def delta(self) -> Rows:
        """The change itself in fp32, by rows of the weight; its factors are read once.

        torch multiplies: its product of some rows is, bit by bit, that part of the product of all.
        """
        a, b = (torch.from_numpy(self.tensors.read(name)) for name in (self.a, self.b))

        def of(rows: slice) -> NDArray[np.float32]:
            values: NDArray[np.float32] = (b[rows] @ a).numpy()
            values *= np.float32(self.scale)
            return values

        return of


def updates(folder: Path, weights: Tensors) -> dict[str, Update]:
    """The update of each of the base's `weights` that the adapter changes. Raises ModelError where they do not fit."""
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG}: not a LoRA configuration")
    require_sound(config, folder / CONFIG)
    if found := obstacle(config):
        raise ModelError(f"{folder / CONFIG}: {found[0]} = {found[1]!r} cannot be merged; train with plain LoRA")
    tensors = Tensors([folder / WEIGHTS])
    modules = _modules(tensors)
    if HEAD in modules and read_json(weights.files[0].with_name("config.json")).get("tie_word_embeddings"):
        raise ModelError(
            f"{tensors.files[0]}: '{HEAD}' has an update, but shares its weight with the embedding"
            " (tie_word_embeddings), so it cannot be merged; train without it"
        )
    return {
        f"{module}.weight": _update(tensors, module, factors, config, weights) for module, factors in modules.items()
    }


def _modules(tensors: Tensors) -> dict[str, dict[str, str]]:
    """{module: {"A": tensor, "B": tensor}}."""
    modules: dict[str, dict[str, str]] = {}
    for name in tensors.entries:
        match = TENSOR.fullmatch(name)
        if not match:
            raise ModelError(
                f"{tensors.files[0]}: '{name}' is no LoRA factor of a linear layer, so it cannot be merged"
            )
        modules.setdefault(match["module"], {})[match["factor"]] = name
    return modules


def _update(tensors: Tensors, module: str, factors: dict[str, str], config: dict[str, Any], weights: Tensors) -> Update:
    where = tensors.files[0]
    if f"{module}.weight" not in weights.entries:
        raise ModelError(f"{where}: '{module}' is no weight of the base model; was it trained on another base?")
    if set(factors) != {"A", "B"}:
        raise ModelError(f"{where}: '{module}' has only one of its two factors; the file is incomplete")
    shape_a, shape_b = (tensors.entries[factors[name]].shape for name in "AB")
    expected = weights.entries[f"{module}.weight"].shape
    if (shape_b[0], shape_a[1]) != expected or shape_b[1] != shape_a[0]:
        raise ModelError(f"{where}: '{module}' has factors {shape_b} · {shape_a}, the base weight is {expected}")
    rank = shape_a[0]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Update(tensors, factors["A"], factors["B"], scale)
