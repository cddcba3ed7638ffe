"""What only the weights can tell: how much is really trained, and whether the first loss is one of a language model.

The count needs no weights in memory: the shapes stand in the files' headers, and peft attaches its update to a model on
torch's meta device. The loss is that of a few short rows, by the functions of the training loop, and by transformers'.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bedside.errors import ModelError
from bedside.export.tensors import Tensors
from bedside.fused.packs import Row
from bedside.lint.findings import Finding
from bedside.models.locate import Base
from bedside.recipe import Recipe, TrainSection
from bedside.runtime import device, hf
from bedside.train import adapter, batch, loop, lora
from bedside.train.divergence import implausible, loss_limit, vocabulary
from bedside.train.learner import Learner
from bedside.train.world import World

ALIKE = 0.05
"""Relative difference of two computations of one loss that rounding to bf16 explains."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Trainable parameters: `claimed` by the shapes of the targets, `attached` by peft, and why none could be."""

    claimed: int
    attached: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class FirstLoss:
    """Nats a trained token over `rows` rows: as the training loop reports it, and as transformers does."""

    reported: float
    reference: float
    vocabulary: int
    rows: int


def parameters_differ(counted: Counted, train: TrainSection) -> Iterator[Finding]:
    """A target that is not there, or a number of parameters that the targets' shapes do not explain."""
    where = f"train.targets = {list(train.targets)}"
    if counted.fault:
        yield Finding("parameters-differ", "error", where, counted.fault)
    elif counted.claimed != counted.attached:
        message = (
            f"rank {train.rank} on these makes {counted.claimed:,} parameters, but {counted.attached:,} are trained"
        )
        yield Finding("parameters-differ", "error", where, message)


def first_loss(loss: FirstLoss, base: str) -> Iterator[Finding]:
    """A loss above that of guessing evenly, or one that is no mean over the trained tokens."""
    if not math.isfinite(loss.reported):
        yield Finding("first-loss", "error", base, f"the first loss is {loss.reported}: the base's weights are damaged")
    elif abs(loss.reported - loss.reference) > ALIKE * loss.reference:
        message = (
            f"training reports {loss.reported:.3f}, the mean over the trained tokens is {loss.reference:.3f}"
            f" ({loss.rows} rows): a sum is taken for a mean, or the labels are shifted"
        )
        yield Finding("first-loss", "error", base, message)
    elif loss.reported > loss_limit(loss.vocabulary):
        yield Finding("first-loss", "error", base, implausible(loss.reported, loss.vocabulary))


def parameters(base: Base) -> int:
    """All parameters of a base, by the headers of its files."""
    return sum(math.prod(entry.shape) for entry in Tensors.of_model(base.folder).entries.values())


def count(base: Base, recipe: Recipe) -> Counted:
    """Trainable parameters, claimed and attached. Raises ValueError for an architecture that transformers lacks."""
    train = adapter.brought(recipe.train)  # its layers and rank, on which `attach` puts a fresh update here
    entries = Tensors.of_model(base.folder).entries.items()
    shapes = [entry.shape for name, entry in entries if _layer(name) in train.targets and len(entry.shape) == 2]
    claimed = sum(train.rank * (rows + columns) for rows, columns in shapes)
    config = AutoConfig.from_pretrained(str(base.folder), trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    try:
        return Counted(claimed, lora.count(lora.attach(model, train, recipe.seed))[0])
    except ModelError as error:
        return Counted(claimed, 0, str(error))


def measure(base: Base, recipe: Recipe, rows: Sequence[Row], pad: int) -> FirstLoss:
    """The loss of training's first step, were these its rows. Raises ModelError if the base cannot be loaded."""
    where = device.choose(recipe.train.precision)
    model = lora.attach(hf.load_model(base.folder, where, recipe.model.quantise), recipe.train, recipe.seed)
    for parameter in [p for p in model.parameters() if p.requires_grad][:-1]:
        parameter.requires_grad_(False)  # one of the last layer is enough to go through the loop, and costs no backward
    short = recipe.train.model_copy(update={"batch_size": 1})  # several batches, whose losses could be mistaken for one
    learner = Learner(model, pad, short, max_length=max(len(row.ids) for row in rows))
    reported = loop.accumulate(learner, learner.batches(rows), sum(row.trained for row in rows), World())
    chosen = list(batch.batches(rows, 1, pad))
    with torch.no_grad():
        summed = sum(float(_transformers_loss(model, one)) * one.trained for one in chosen)
    return FirstLoss(reported, summed / sum(one.trained for one in chosen), vocabulary(model), len(rows))


def _transformers_loss(model: torch.nn.Module, one: batch.Batch) -> torch.Tensor:
    """Mean over the trained tokens of a batch, by the library itself."""
    to = next(model.parameters()).device
    ids, mask, labels = (tensor.to(to) for tensor in (one.ids_BT, one.mask_BT, one.labels_BT))
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    return loss


def _layer(name: str) -> str:
    """The layer of a weight: "q_proj" of "model.layers.0.self_attn.q_proj.weight"."""
    return name.removesuffix(".weight").rpartition(".")[2]
