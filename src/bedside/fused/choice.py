"""Which of two ways computes a training, and why: the fused step, or transformers and peft. Planned and trained by one
rule, from what is known before there is a model; torch is not loaded.

    found = obstacle(shape.unlike_llama, recipe.model.quantise == "nf4", uneven(adapter_config, modules))
    chosen(recipe.train, found)                       # ("peft", "the update has use_dora")
    required(recipe.train, chosen(recipe.train, found))     # ModelError if the recipe wants the fused step all the same
"""

from typing import Literal

from bedside.errors import ModelError
from bedside.recipe import TrainSection

Way = Literal["fused", "peft"]


def obstacle(unlike_llama: str | None, quantised: bool, uneven: str | None) -> str | None:
    """Why the fused step does not hold for a base (`models.shapes`) with an update (`models.peft_config`), or None."""
    return unlike_llama or ("the base is quantised" if quantised else uneven)


def chosen(settings: TrainSection, found: str | None) -> tuple[Way, str]:
    """The way, and why it is not the fused step; `found` is the obstacle, if there is one."""
    if settings.strategy == "fsdp":
        found = found or "the weights are shared out among processes"
    if found or settings.step == "peft":
        return "peft", found or "as the recipe says"
    return "fused", ""


def required(settings: TrainSection, way: tuple[Way, str]) -> tuple[Way, str]:
    """The way itself. Raises ModelError if the recipe asks for the fused step, and it is the other."""
    if settings.step == "fused" and way[0] != "fused":
        raise ModelError(f"train.step = 'fused': {way[1]}; use 'auto'")
    return way
