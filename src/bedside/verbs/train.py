"""`bedside train`: base and training rows → LoRA adapter."""

import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.errors import CheckFailed
from bedside.files import read_json, write_json
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

if TYPE_CHECKING:
    from bedside.train.batch import Row
    from bedside.train.loop import StepMetrics


def stage(recipe: Recipe) -> Stage:
    """Depends on everything that reaches a training token."""
    return Stage(
        "adapter",
        ("model", "prompt", "train", "seed"),
        reads=("data",),
        rooms=("train", "verbs/train", "text", "models", "runtime/hf", "runtime/tokenizer", "runtime/device"),
        outside={"base": locate.identify(recipe.model)},
    )


def make(run: Run, folder: Path) -> None:
    """Trains, or goes on from the newest checkpoint, and writes the adapter."""
    if (folder / "train.json").is_file():  # killed after the last step, while tidying up
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return
    from bedside.data import prepare
    from bedside.evaluate import tasks
    from bedside.runtime import device, hf
    from bedside.runtime.tokenizer import load_tokenizer
    from bedside.train import batch, checkpoint, loop, lora
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
    where = device.choose(recipe.train.precision)
    model = lora.attach(hf.load_model(base.folder, where, recipe.model.quantise), recipe.train, recipe.seed)
    watch = refuse_implausible(recipe, len(tokenizer))
    pad = int(tokenizer.pad_token_id)
    metrics = loop.train(model, encoded.rows, recipe.train, recipe.seed, pad, folder, watch=watch)
    checkpoint.save_adapter(folder, model, base.name)
    trainable, total = lora.count(model)
    seen = rows_seen(encoded.rows, recipe, len(metrics))
    write_json(
        folder / "train.json",
        {
            "base": base.name,
            "steps": len(metrics),
            "first_loss": metrics[0].loss,
            "final_loss": metrics[-1].loss,
            "tokens_per_s": round(metrics[-1].tokens / metrics[-1].seconds, 1),
            "peak_memory_gib": round(peak_memory_gib(), 2),
            "trainable_parameters": trainable,
            "total_parameters": total,
            "rows": len(encoded.rows),
            "rows_too_long": len(encoded.too_long),
            "rows_seen": len(seen),
            "trained_tokens": sum(row.trained for row in seen),
            "seconds": metrics[-1].seconds,
            "precision": str(where.dtype).removeprefix("torch."),
            "device": f"{where.name} ({where.reason})",
        },
    )
    shutil.rmtree(folder / "checkpoints")


def refuse_implausible(recipe: Recipe, vocabulary: int) -> "Callable[[StepMetrics], None]":
    """What looks at each step, and ends the training if its very first loss is worse than guessing."""
    from bedside.lint.weights import implausible, loss_limit

    def look(step: "StepMetrics") -> None:
        if step.step == 1 and step.loss > loss_limit(vocabulary) and "first-loss" not in recipe.lint.allow:
            told = "the base may be damaged; lint.allow = ['first-loss'] trains all the same"
            raise CheckFailed(f"{implausible(step.loss, vocabulary)}: {told}")

    return look


def rows_seen(rows: "Sequence[Row]", recipe: Recipe, steps: int) -> "list[Row]":
    """The rows of all steps in their order, a row once for each time that it was seen."""
    from bedside.train import batch, loop

    size = loop.rows_per_step(recipe.train)
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
    return f"{result['adapter']}: {result['steps']} steps, {loss}, {size}, {speed}"
