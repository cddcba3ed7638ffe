"""Whether activations are computed again in the backward pass: planned and trained by one rule.

setup = of_training(recipe, config, device, lengths)    # what is about to be trained, by its real rows
Learner(model, pad, recipe.train, max_length, recompute=is_wanted(setup, free_memory_bytes(device)))
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bedside.models.shapes import shape_of
from bedside.plan import activations
from bedside.plan.setup import Lengths, Setup
from bedside.recipe import Recipe
from bedside.runtime.hardware import cores
from bedside.train.adapter import brought, uneven_update

if TYPE_CHECKING:
    from bedside.runtime.device import Device

SHARE = 0.5
"""Of the free memory, what activations may take: the rest is for gradients, moments, the loss, and others' needs."""


def is_wanted(setup: Setup, free_bytes: float) -> bool:
    """The recipe's word; "auto" is yes for an NF4 base, and where activations would take too much of the memory.

    `free_bytes` are those that are free beside the base. Who needs four bits has no memory for activations either.
    """
    if setup.train.checkpointing != "auto":
        return setup.train.checkpointing == "on"
    return setup.quantise == "nf4" or activations.kept(replace(setup, recompute=False)) > SHARE * free_bytes


def of_training(recipe: Recipe, config: Mapping[str, Any], where: "Device", rows: Sequence[tuple[int, int]]) -> Setup:
    """The setup of a training by its base's configuration and its rows' tokens, (prompt, completion) of each.

    Raises ModelError for an architecture that is not known.
    """
    prompts, completions = zip(*rows, strict=True)
    return Setup(
        shape=shape_of(config, recipe.model.base),
        quantise=recipe.model.quantise,
        train=brought(recipe.train),
        device="cuda" if where.name == "cuda" else "cpu",
        precision=where.precision,
        max_length=recipe.model.max_length,
        lengths=Lengths(max(map(sum, rows)), fmean(prompts), fmean(completions)),
        stored_bytes=4,
        rows=len(rows),
        recompute=False,
        validates=False,
        cores=cores(),
        uneven=uneven_update(recipe.train),
    )
