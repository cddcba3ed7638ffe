"""The training loop: one page, the same from the first step or from a checkpoint.

The loss of a step is the mean over all trained tokens of the step, however the rows are cut into batches: each batch
adds its summed loss divided by the step's token count (averaging per batch, and then over batches, weighs short
answers more; summing over accumulation gives the first loss of 14.8 that one published run shows).
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel

from bedside.errors import MissingExtra, RunError
from bedside.files import read_jsonl, write_jsonl
from bedside.progress import bar
from bedside.recipe import TrainSection
from bedside.train import checkpoint
from bedside.train.batch import IGNORED, Batch, Row, batches, step_rows
from bedside.train.checkpoint import Position
from bedside.train.lora import trainable

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One line of `metrics.jsonl`: mean loss per trained token in nats, before the step's update."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    seconds: float


def total_steps(settings: TrainSection, rows: int) -> int:
    """Optimiser steps of a run: `max_steps`, or the epochs' rows over rows a step, rounded up."""
    return settings.max_steps or math.ceil(settings.epochs * rows / rows_per_step(settings))


def rows_per_step(settings: TrainSection) -> int:
    """Rows whose gradient goes into one update."""
    return settings.batch_size * settings.accumulation


def learning_rate(step: int, steps: int, settings: TrainSection) -> float:
    """Learning rate of step 0, 1, …: linear warm-up from lr / (warmup + 1), then linear or cosine to 0 at `steps`."""
    warmup = min(settings.warmup, steps - 1)
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    match settings.schedule:
        case "linear":
            return settings.lr * (1 - done)
        case "cosine":
            return settings.lr * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            return settings.lr


def train(
    model: PeftModel,
    rows: Sequence[Row],
    settings: TrainSection,
    seed: int,
    pad: int,
    folder: Path,
    *,
    watch: Callable[[StepMetrics], None] = lambda step: None,
) -> list[StepMetrics]:
    """Trains to the last step, from the newest checkpoint below `folder/checkpoints` if there is one.

    Returns the metrics of all steps, those before a resume included. Raises RunError at a loss that is no number.
    `watch` is shown each step that is computed, and ends the training by raising.
    """
    parameters = [parameter for _, parameter in trainable(model)]
    optimizer = make_optimizer(parameters, settings)
    checkpoints = folder / "checkpoints"
    position = checkpoint.restore(checkpoints, model, optimizer)
    metrics = _metrics_until(folder / METRICS, position.step)
    steps = total_steps(settings, len(rows))
    model.train()
    with bar("train", steps, "steps", done=position.step) as advance, (folder / METRICS).open("a") as log:
        for step in range(position.step, steps):
            started = time.monotonic()
            torch.manual_seed(seed + step)  # dropout depends on the step alone, so that a resume repeats it
            chosen = list(batches(step_rows(rows, step, rows_per_step(settings), seed), settings.batch_size, pad))
            loss = accumulate(model, chosen)
            if not math.isfinite(loss):
                raise RunError(f"step {step + 1}: the loss is {loss}; lower train.lr or train.clip and run again")
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.clip))
            if not math.isfinite(norm):
                raise RunError(f"step {step + 1}: the gradient is {norm}; lower train.lr and run again")
            lr = learning_rate(step, steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()
            tokens = sum(batch.tokens for batch in chosen)
            spent = position.seconds + time.monotonic() - started
            position = Position(step + 1, position.tokens + tokens, spent)
            metrics.append(StepMetrics(step + 1, loss, lr, norm, position.tokens, round(spent, 3)))
            watch(metrics[-1])
            log.write(json.dumps(asdict(metrics[-1]), allow_nan=False) + "\n")
            log.flush()
            if position.step % settings.checkpoint_every == 0 or position.step == steps:
                checkpoint.save(checkpoints, model, optimizer, position)
            advance(1, f"loss {loss:.3f}  {position.tokens / position.seconds:.0f} tokens/s")
    return metrics


def accumulate(model: PeftModel, chosen: Sequence[Batch]) -> float:
    """Adds the gradient of the mean loss over all trained tokens of the batches; returns that loss in nats."""
    trained = sum(batch.trained for batch in chosen)
    total = 0.0
    for batch in chosen:
        loss = summed_loss(model, batch) / trained
        loss.backward()
        total += float(loss.detach())
    return total


def summed_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Summed cross-entropy in nats over the trained tokens. Logits are made from the first trained token on only."""
    device = next(model.parameters()).device
    first = int((batch.labels_BT != IGNORED).any(0).nonzero()[0, 0])
    keep = batch.ids_BT.shape[1] - first + 1
    logits_BTV = model(
        input_ids=batch.ids_BT.to(device),
        attention_mask=batch.mask_BT.to(device),
        use_cache=False,
        logits_to_keep=keep,
    ).logits[:, :-1]
    labels_BT = batch.labels_BT[:, first:].to(device)
    return F.cross_entropy(logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED, reduction="sum")


def make_optimizer(parameters: list[torch.nn.Parameter], settings: TrainSection) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101), with its moments in 8 bits if the recipe says so."""
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[attr-defined]
    except ImportError as error:
        raise MissingExtra.named("train.optimizer = 'adamw_8bit'", "train") from error
    return AdamW8bit(parameters, **options)


def _metrics_until(path: Path, step: int) -> list[StepMetrics]:
    """The lines of earlier steps; what was logged after the checkpoint is forgotten, since it is computed again."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):  # killed in the middle of a line
        path.write_text("".join(lines[:-1]), encoding="utf-8")
    kept = [row for _, row in read_jsonl(path) if row["step"] <= step]
    write_jsonl(path, kept)
    return [StepMetrics(**row) for row in kept]
