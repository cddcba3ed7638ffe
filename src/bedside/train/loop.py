"""The training loop: one page, the same on one process or many, from the first step or from a checkpoint.

The loss of a step is the mean over all trained tokens of the step, however its rows are cut into batches and shared
out among processes: each batch adds its summed loss divided by the step's token count (averaging per batch, and then
over batches, weighs short answers more; summing over them gives the first loss of 14.8 that one published run shows).
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bedside.errors import RunError
from bedside.fused.allocator import trim_heap
from bedside.fused.packs import Lanes, Row
from bedside.progress import bar, say
from bedside.recipe import TrainSection
from bedside.train.batch import Batch, step_rows
from bedside.train.checkpoint import Checkpoints
from bedside.train.divergence import Limits, vocabulary
from bedside.train.interrupt import finishing_the_step
from bedside.train.journal import StepMetrics, journal
from bedside.train.learner import Learner
from bedside.train.optimizer import Updater
from bedside.train.schedule import learning_rate, only_rises, rows_per_step, total_steps
from bedside.train.world import World

TRIM_EVERY = 10
"""Steps after which freed memory is returned: what they leave grows slowly, and is cleared anew when used again."""


def train(
    learner: Learner,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    settings: TrainSection,
    seed: int,
    folder: Path,
    *,
    world: World | None = None,
    refuse_first_loss: bool = False,
    watch: Callable[[StepMetrics], None] = lambda step: None,
) -> list[StepMetrics]:
    """Trains to the last step, from the newest checkpoint below `folder/checkpoints` if there is one.

    The learner ends with the update that `settings.keep` names. Returns the metrics of all steps, those before a resume
    included. Raises RunError if the training diverges; if so asked, CheckFailed at a first loss worse than guessing.
    `watch` is shown each step that is computed. Ctrl-C ends the training after the step, with a checkpoint.
    """
    world = world or World()
    parallel = world.prepare(learner, settings.strategy)
    updater = Updater([parameter for _, parameter in learner.trained], settings, learner.dtype, world)
    checkpoints = Checkpoints(folder / "checkpoints", learner, updater, world)
    position = checkpoints.restore()
    limits = Limits(vocabulary(learner.model), refuse_first_loss)
    steps = total_steps(settings, len(rows))
    if position.step:
        say(f"train: goes on after step {position.step} of {steps}")
    if rising := only_rises(settings, steps):
        say(rising)
    with (
        bar("train", steps, "steps", done=position.step) as advance,
        journal(folder, checkpoints.steps) as log,
        finishing_the_step() as stop,
    ):
        while position.step < steps and not (settings.patience and position.waited >= settings.patience):
            step, started = position.step, time.monotonic()
            torch.manual_seed(dropout_seed(seed, step, world.rank))
            chosen = step_rows(rows, step, rows_per_step(settings), seed)
            learner.train()
            trained = sum(row.trained for row in chosen)
            loss = accumulate(parallel, learner.batches(world.share(chosen)), trained, world, updater.backward)
            lr = learning_rate(step, steps, settings)
            norm = updater.step(lr)
            sound = limits.judge(log.steps, loss, norm, updater.scale, chosen)
            position = position.after(chosen, time.monotonic() - started)
            held = None
            if held_out and is_due(position.step, settings.validate_every, steps):
                held = mean_loss(learner, world.share(held_out), held_out, world)
                position = checkpoints.judge(position, held, remember=settings.keep == "best")
            finite = norm if math.isfinite(norm) else None
            log.add(StepMetrics(position.step, loss, lr, finite, position.tokens, round(position.seconds, 3), held))
            watch(log.steps[-1])
            stopping = world.total(float(stop.asked)) > 0  # a cluster may tell one process before the others
            if sound and (stopping or is_due(position.step, settings.checkpoint_every, steps)):
                checkpoints.save(position, log.steps)
            if stopping:
                raise KeyboardInterrupt
            if is_due(position.step, TRIM_EVERY, steps):
                trim_heap()
            advance(1, f"loss {loss:.3f}  {position.tokens / position.seconds:.0f} tokens/s")
    checkpoints.take_best()
    return log.steps


def accumulate(
    parallel: nn.Module,
    batches: Iterable[Batch | Lanes],
    trained: int,
    world: World,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> float:
    """Adds the gradient of a step's loss, its mean over all `trained` tokens of all processes; returns it in nats."""
    total = 0.0
    for batch, weight in world.rounds(parallel, batches):
        loss = parallel(batch) * weight / trained
        backward(loss * world.size)  # gradients are averaged among processes
        total += float(loss.detach())
    return world.total(total)


def mean_loss(learner: Learner, mine: Sequence[Row], rows: Sequence[Row], world: World) -> float:
    """The loss of rows that are not trained on, in nats a trained token; `mine` is this process's part of them.

    Raises RunError if it is no number.
    """
    learner.eval()
    with torch.no_grad():
        total = sum(weight * float(learner(batch)) for batch, weight in world.rounds(learner, learner.batches(mine)))
    loss = world.total(total) / sum(row.trained for row in rows)
    if not math.isfinite(loss):
        raise RunError(f"the loss on the validation rows is {loss}; lower train.lr and run again")
    return loss


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """What dropout depends on, and nothing else, so that a resume repeats it; another one in each process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether something that is done `every` so many steps, and at the end, is done after this one; 0 is never."""
    return every > 0 and (step % every == 0 or step == steps)
