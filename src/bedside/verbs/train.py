"""`bedside train`: base and training rows → LoRA adapter."""

import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bedside.errors import BedsideError, DataError, ModelError
from bedside.files import read_json, write_json
from bedside.models import known, locate
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage
from bedside.train import adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bedside.fused.packs import Row
    from bedside.runtime.device import Device
    from bedside.train.journal import StepMetrics
    from bedside.train.world import World


def stage(recipe: Recipe) -> Stage:
    """Depends on everything that reaches a training token."""
    return Stage(
        "adapter",
        ("model", "prompt", "train", "seed"),
        reads=("data",),
        rooms=("train", "fused", "verbs/train", "text", "models", "runtime/hf", "runtime/tokenizer", "runtime/device"),
        outside={"base": locate.identify(recipe.model), **adapter.identify(recipe.train)},
    )


def refuse_early(recipe: Recipe) -> None:
    """Raises ModelError for an adapter that cannot be gone on from, before rows are prepared and looked at.

    A base whose shape cannot be told without loading it is left to be compared then.
    """
    try:
        shape = known.find(recipe.model).shape
    except BedsideError:
        shape = None
    adapter.require_fit(recipe.train, shape)


def make(run: Run, folder: Path) -> None:
    """Trains, or goes on from the newest checkpoint, and writes the adapter."""
    if (folder / "train.json").is_file():  # killed after the last step, while tidying up
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.runtime.tokenizer import load_tokenizer
    from bedside.train import batch
    from bedside.train.world import joined
    from bedside.verbs import lint

    recipe = run.recipe
    test = prepare.load(run.folder("data"), "test")
    examples = prepare.load(run.folder("data"), "train")
    tasks.select(recipe, examples, test)  # an evaluation that cannot be is told before hours of training
    base = locate.resolve(recipe.model)
    lint.refuse_faulty(run, lint.subject_of(run, base, examples, test))
    tokenizer = load_tokenizer(base.folder, recipe.prompt)
    encoded = batch.encode(examples, recipe.prompt, tokenizer, recipe.model.max_length)
    if encoded.too_long:
        say(f"{len(encoded.too_long)} of {len(examples)} rows exceed {recipe.model.max_length} tokens: left out")
    held_out = validation_rows(run, tokenizer)
    world = joined()
    world.refuse_unfit(recipe, held_out)
    work = Work(recipe, tuple(encoded.rows), tuple(held_out), int(tokenizer.pad_token_id), folder, run.path)
    told = world.together(fit, work)
    seen = rows_seen(encoded.rows, recipe, told["steps"])
    counts = {
        "rows": len(encoded.rows),
        "rows_too_long": len(encoded.too_long),
        "rows_seen": len(seen),
        "trained_tokens": sum(row.trained for row in seen),
    }
    write_json(folder / "train.json", {**told, **counts})
    shutil.rmtree(folder / "checkpoints")


@dataclass(frozen=True, slots=True)
class Work:
    """What each process of a training gets from the first one, which alone has read the data."""

    recipe: Recipe
    rows: "Sequence[Row]"
    held_out: "Sequence[Row]"
    pad: int
    folder: Path
    home: Path
    """The run's own folder: what trackers write outlives the stage."""


def fit(world: "World", work: Work) -> dict[str, Any]:
    """Loads the base, trains with the other processes, writes the adapter; returns what is to be told of it."""
    from bedside.fused import allocator
    from bedside.runtime import device, hf
    from bedside.train import checkpoint, loop, lora
    from bedside.train.learner import Learner
    from bedside.train.track import trackers

    recipe, settings = work.recipe, work.recipe.train
    base = locate.resolve(recipe.model)
    where = device.choose(settings.precision)
    frozen = hf.load_model(base.folder, world.loads_on(where, settings.strategy), recipe.model.quantise)
    recompute = world.lead(lambda: recomputes(recipe, frozen.config.to_dict(), where, work.rows))
    if recompute:  # where memory is short
        allocator.return_freed_memory()
    model = lora.attach(frozen, settings, recipe.seed)
    learner = Learner(model, work.pad, settings, recipe.model.max_length, recompute=recompute)
    say(f"train: {where.in_words}; {learner.in_words}")
    allocator.trim_heap()  # of the data's reading and the model's
    strict = "first-loss" not in recipe.lint.allow
    named = settings.track if world.first else ()
    with (
        world.folder(work.folder) as folder,
        trackers(named, "bedside", recipe.name, work.home, recipe.model_dump(mode="json")) as tracker,
    ):
        metrics = loop.train(
            learner, work.rows, work.held_out, settings, recipe.seed, folder,
            world=world, refuse_first_loss=strict, watch=lambda step: tracker.log(step.step, step.figures),
        )  # fmt: skip
        checkpoint.save_adapter(folder, model, base.name, world)
    trainable, total = lora.count(model)
    became = kept(metrics, settings.keep)
    return {
        "base": base.name,
        "steps": len(metrics),
        "kept_step": became.step,
        "first_loss": metrics[0].loss,
        "final_loss": metrics[-1].loss,
        "tokens_per_s": round(metrics[-1].tokens / metrics[-1].seconds, 1),
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "seconds": metrics[-1].seconds,
        "precision": str(where.dtype).removeprefix("torch."),
        "device": f"{where.name} ({where.reason})",
        "processes": world.size,
        "step": learner.path,
        "validation_loss": became.validation_loss,
    }


def kept(metrics: "Sequence[StepMetrics]", keep: Literal["best", "last"]) -> "StepMetrics":
    """The step whose update became the adapter: the first of the lowest validation loss, if the best is kept."""
    validated = [step for step in metrics if step.validation_loss is not None]
    return metrics[-1] if keep == "last" or not validated else min(validated, key=attrgetter("validation_loss"))


def recomputes(recipe: Recipe, config: dict[str, Any], where: "Device", rows: "Sequence[Row]") -> bool:
    """Whether activations are computed again, as `bedside plan` decides it; if it cannot, "auto" is the frugal way."""
    from bedside.plan import recompute
    from bedside.runtime import device

    try:
        setup = recompute.of_training(recipe, config, where, [(row.prompt, row.trained) for row in rows])
        sharing = int(environ.get("LOCAL_WORLD_SIZE", "1")) if where.name == "cpu" else 1
        return recompute.is_wanted(setup, device.free_memory_bytes(where) / sharing)
    except ModelError:  # an architecture whose layers plan does not know
        return recipe.train.checkpointing != "off"


def validation_rows(run: Run, tokenizer: "PreTrainedTokenizerBase") -> "list[Row]":
    """Rows of the validation split whose loss is told while training, if the recipe wants it and there are any."""
    from bedside.data import prepare
    from bedside.train import batch

    recipe = run.recipe
    examples = prepare.load(run.folder("data"), "validation") if recipe.train.validate_every else []
    if not examples:
        return []
    try:
        first = examples[: recipe.train.validate_rows]
        return batch.encode(first, recipe.prompt, tokenizer, recipe.model.max_length).rows
    except DataError:
        say(f"no validation loss: the {len(first)} rows are longer than model.max_length = {recipe.model.max_length}")
        return []


def rows_seen(rows: "Sequence[Row]", recipe: Recipe, steps: int) -> "list[Row]":
    """The rows of all steps in their order, a row once for each time that it was seen."""
    from bedside.train import batch
    from bedside.train.schedule import rows_per_step

    size = rows_per_step(recipe.train)
    return [row for step in range(steps) for row in batch.step_rows(rows, step, size, recipe.seed)]


def peak_memory_gib() -> float:
    """Largest resident size of this process so far, or what the card held at most."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints."""
    folder = run.folder("adapter")
    return {"adapter": str(folder), **read_json(folder / "train.json")}


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    share = 100 * result["trainable_parameters"] / result["total_parameters"]
    loss = f"loss {result['first_loss']:.3f} → {result['final_loss']:.3f}"
    size = f"{result['trainable_parameters']:,} trainable parameters ({share:.2f} %)"
    speed = f"{result['tokens_per_s']:.0f} tokens/s, {result['peak_memory_gib']:.1f} GiB"
    best = result.get("kept_step", result["steps"])
    if best != result["steps"]:
        loss += f", kept that of step {best}: validation loss {result['validation_loss']:.3f}"
    return f"{result['adapter']}: {result['steps']} steps, {loss}, {size}, {speed}"
