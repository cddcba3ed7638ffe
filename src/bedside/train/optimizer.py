"""AdamW (arXiv:1711.05101) over the update's parameters: its moments in 8 bits, its loss scaled, if so asked."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from bedside.errors import MissingExtra
from bedside.progress import say
from bedside.recipe import TrainSection
from bedside.train.world import World


class Updater:
    """Turns gradients into steps. `scaler` keeps the small gradients of an fp16 base from vanishing, else is off."""

    def __init__(self, parameters: Sequence[Parameter], settings: TrainSection, dtype: torch.dtype, world: World):
        self.parameters = list(parameters)
        self.optimizer = make_optimizer(self.parameters, settings)
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=dtype is torch.float16)
        self._clip = settings.clip
        self._world = world

    @property
    def scale(self) -> float | None:
        """What an fp16 gradient is multiplied by; none for other types."""
        return float(self.scaler.get_scale()) if self.scaler.is_enabled() else None

    def backward(self, loss: Tensor) -> None:
        """Adds a loss's gradient to those of the step."""
        self.scaler.scale(loss).backward()

    def step(self, lr: float) -> float:
        """Updates the parameters and forgets the gradients; returns their norm before it was clipped.

        A norm that is no number changes nothing; with a scaler that may happen, and the next steps are scaled less.
        """
        self.scaler.unscale_(self.optimizer)
        norm = self._world.clip(self.parameters, self._clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.scaler.is_enabled() or torch.isfinite(torch.tensor(norm)):
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad()
        return norm


def make_optimizer(parameters: Sequence[Parameter], settings: TrainSection) -> torch.optim.Optimizer:
    """The recipe's optimiser. Raises MissingExtra where bitsandbytes is needed and not installed."""
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit
    except ImportError as error:
        raise MissingExtra.named(f"train.optimizer = '{settings.optimizer}'", "train") from error
    paged = settings.optimizer == "adamw_8bit_paged"
    if paged and parameters[0].device.type == "cpu":  # bitsandbytes would do the same, with a warning in mid-training
        say("train.optimizer = 'adamw_8bit_paged': nothing is paged on a CPU; its moments are those of 'adamw_8bit'")
        paged = False
    made: Any = PagedAdamW8bit if paged else AdamW8bit
    return cast(torch.optim.Optimizer, made(list(parameters), **options))
