"""A recipe and a machine → everything that `bedside plan` tells, as one JSON-able object."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bedside.fused.choice import required
from bedside.models.known import Known
from bedside.models.shapes import facts, shape_of
from bedside.plan import advice, disk, memory
from bedside.plan.recompute import is_wanted
from bedside.plan.rows import SHARED_TOKENS, Rows
from bedside.plan.setup import Setup
from bedside.recipe import Recipe
from bedside.runtime.hardware import Machine
from bedside.train.adapter import brought, uneven_update
from bedside.train.schedule import only_rises, rows_per_step, total_steps

GIB = memory.GIB


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds a token, and how they were found."""

    seconds_a_token: float
    source: str


def setup_of(recipe: Recipe, known: Known, machine: Machine, rows: Rows) -> Setup:
    """The recipe's choices, with those that are "auto" decided as training would decide them on the machine.

    Raises ModelError if training would refuse its step.
    """
    chosen = recipe.train.precision
    setup = Setup(
        shape=known.shape,
        quantise=recipe.model.quantise,
        train=brought(recipe.train),
        device=machine.device,
        precision=machine.precision if chosen == "auto" else chosen,
        max_length=recipe.model.max_length,
        lengths=replace(rows.lengths, shared=SHARED_TOKENS[recipe.prompt.style]),
        stored_bytes=known.stored_bytes,
        rows=rows.count or 0,
        recompute=False,
        validates=recipe.train.keep == "best" and recipe.train.validate_every > 0 and recipe.data.split[1] > 0,
        cores=machine.cores,
        uneven=uneven_update(recipe.train),
    )
    required(setup.train, setup.way)
    return replace(setup, recompute=is_wanted(setup, machine.free_bytes - memory.weights(setup)))


def estimate(
    recipe: Recipe, known: Known, machine: Machine, rows: Rows, setup: Setup, speed: Speed | None, folder: Path
) -> dict[str, Any]:
    """What `--json` prints. `folder` is on the disk that the run would be written to."""
    parts = memory.parts(setup)
    kept = disk.parts(known, setup, recipe.export.quantise, recipe.export.adapter == "with-base")
    steps = _steps(setup, rows.count)
    tokens = None if steps is None else round(steps * rows_per_step(setup.train) * rows.lengths.whole)
    total = known.shape.parameters + setup.trainable
    free_disk = shutil.disk_usage(_existing(folder)).free
    fits = {"memory": memory.needed(setup) <= machine.free_bytes, "disk": sum(kept.values()) <= free_disk}
    return {
        "recipe": recipe.name,
        "base": known.name,
        "shape_source": known.source,
        "device": machine.name,
        "precision": setup.precision,
        "step": setup.way[0],
        "step_reason": setup.way[1],
        "checkpointing": setup.recompute,
        "trainable_parameters": setup.trainable,
        "total_parameters": total,
        "trainable_percent": round(100 * setup.trainable / total, 4),
        "memory_gib": _gib(memory.total(parts)),
        "needed_gib": _gib(memory.needed(setup)),
        "free_memory_gib": _gib(machine.free_bytes),
        "memory": {name: _gib(size) for name, size in parts.items()},
        "disk_gib": _gib(sum(kept.values())),
        "free_disk_gib": _gib(free_disk),
        "disk": {name: _gib(size) for name, size in kept.items()},
        "rows": rows.count,
        "rows_source": rows.source,
        "longest_row": rows.lengths.longest,
        "steps": steps,
        "train_tokens": tokens,
        "seconds_estimate": None if speed is None or tokens is None else round(tokens * speed.seconds_a_token, 1),
        "seconds_source": speed.source if speed else "unknown: --calibrate measures it where torch and the card are",
        "fits": all(fits.values()),
        "fits_by": fits,
        "advice": [*_memory_advice(setup, machine), *_warnings(recipe, known, rows, steps, fits, free_disk)],
    }


def _memory_advice(setup: Setup, machine: Machine) -> list[str]:
    """Changes until it fits, and a plain word if nothing does."""
    bases = ((name, shape_of(config, name)) for name, config in facts().items())
    changes = advice.until_it_fits(setup, machine.free_bytes, bases)
    told = [str(change) for change in changes]
    if memory.needed(setup) > machine.free_bytes and not (changes and changes[-1].fits):
        told.append("nothing here makes it fit: free some memory, or use a machine with more")
    return told


def _warnings(
    recipe: Recipe, known: Known, rows: Rows, steps: int | None, fits: Mapping[str, bool], free_disk: int
) -> Iterable[str]:
    if not fits["disk"]:
        yield f"the disk has {free_disk / GIB:.1f} GiB free; choose another with --runs, or export fewer files"
    if recipe.model.max_length > known.shape.context:
        yield (
            f"model.max_length = {recipe.model.max_length} is beyond the model's context of {known.shape.context}"
            " tokens: what lies behind it was never learned"
        )
    if rows.count == 0:
        yield "no row fits: raise model.max_length"
    if steps is None:
        yield "steps and time need the number of rows: run `bedside data`, or set data.limit or train.max_steps"
    elif rising := only_rises(recipe.train, steps):
        yield rising


def _steps(setup: Setup, rows: int | None) -> int | None:
    """Optimiser steps, as training counts them; None if that depends on rows that are not known."""
    known = rows is not None or setup.train.max_steps is not None
    return total_steps(setup.train, rows or 0) if known else None


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _gib(size: float) -> float:
    return round(size / GIB, 3)
