"""How many steps a training has, and the learning rate of each."""

import math

from bedside.recipe import TrainSection


def total_steps(settings: TrainSection, rows: int) -> int:
    """Optimiser steps of a run: `max_steps`, or the epochs' rows over rows a step, rounded up."""
    return settings.max_steps or math.ceil(settings.epochs * rows / rows_per_step(settings))


def rows_per_step(settings: TrainSection) -> int:
    """Rows whose gradient goes into one update, over all processes."""
    return settings.batch_size * settings.accumulation


def only_rises(settings: TrainSection, steps: int) -> str | None:
    """One line on a warm-up that takes the whole run: the learning rate is full in the last step alone."""
    if settings.warmup < steps - 1 or steps <= 1:
        return None
    return (
        f"train.warmup = {settings.warmup} takes all of the {steps} steps: the learning rate is full in the last one"
        " alone; lower it, or train longer"
    )


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
