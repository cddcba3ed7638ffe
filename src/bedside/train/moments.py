"""The optimiser's state as named tensors, as safetensors keeps them, and back: the same bytes, whichever optimiser."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bedside.train.optimizer import Updater
from bedside.train.world import World

Tensors = dict[str, Tensor]


def flatten(optimizer: torch.optim.Optimizer, world: World) -> tuple[Tensors, dict[str, Any]]:
    """The optimiser's state as named tensors, and what is no tensor; bitsandbytes nests a level deeper than torch."""
    tensors: Tensors = {}
    scalars: dict[str, Any] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}/{name}", inner)
        elif isinstance(value, Tensor):
            tensors[path] = world.whole(value.detach()).cpu().clone()  # bitsandbytes shares one table among all
        else:
            scalars[path] = value

    for index, values in optimizer.state_dict()["state"].items():
        walk(str(index), values)
    return tensors, dict(sorted(scalars.items()))


def unflatten(updater: Updater, tensors: Tensors, scalars: Mapping[str, Any], world: World) -> None:
    """Gives the optimiser back what `flatten` took, each process its part of what is as large as its parameter."""
    state: dict[int, dict[str, Any]] = {}
    for path, value in [*tensors.items(), *scalars.items()]:
        index, *inner, name = path.split("/")
        values = state.setdefault(int(index), {})
        for part in inner:
            values = values.setdefault(part, {})
        parameter = updater.parameters[int(index)]
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            own = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
            world.spread(value, own)
            value = own
        values[name] = value
    optimizer = updater.optimizer
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
