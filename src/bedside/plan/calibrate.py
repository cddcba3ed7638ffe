"""Seconds a token on this machine, measured with the real training step on a few random layers of the right shape.

    calibrate.seconds_a_token(setup)    # 10 s or a few batches; needs torch, and no weights

Two depths are measured in turn, since a token costs a + b × layers: a is the head and the optimiser, b a layer. Weights
are no trained ones, which makes no difference to the time of a product.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights

from bedside.errors import MissingExtra
from bedside.fused.packs import Row
from bedside.models.shapes import Shape
from bedside.plan import work
from bedside.plan.setup import Setup
from bedside.runtime.device import DTYPES, use_all_cores
from bedside.train import lora
from bedside.train.learner import Learner
from bedside.train.optimizer import make_optimizer
from bedside.train.schedule import rows_per_step

BUDGET_S, BATCH_S = 10.0, 4.0
"""Seconds of all measurements, and of one batch at the rate of a plain product, by which its tokens are chosen.

A training reaches a third to all of that rate; of the largest models a few batches take longer than the budget.
"""
DEPTHS = ((20_000_000, 8, 2), (100_000_000, 4, 2), (10**12, 2, 1))
"""Layers of the two models, by the parameters of a layer: enough to outweigh the head, few enough to be made soon."""
FEWEST_TOKENS = 64


def seconds_a_token(setup: Setup, budget_s: float = BUDGET_S) -> float:
    """Seconds of training for each token of the rows. Raises MissingExtra for NF4 without bitsandbytes."""
    use_all_cores()
    deep, shallow = next((deep, shallow) for most, deep, shallow in DEPTHS if _a_layer(setup.shape) < most)
    depths = [min(depth, setup.shape.layers) for depth in (shallow, deep)]
    rows = _rows(setup, depths[-1])
    trials: list[_Trial] = []
    for depth in dict.fromkeys(depths):
        trials.append(_Trial(_with_layers(setup, depth), rows, trials[0].model if trials else None))
        trials[-1].run()  # the first batch is slower
    measured: list[list[float]] = [[] for _ in trials]
    started = time.perf_counter()
    while not measured[0] or time.perf_counter() - started < budget_s:
        for trial, seconds in zip(trials, measured, strict=True):
            seconds.append(trial.run())
    a_token = extrapolated(depths, [median(seconds) for seconds in measured], setup.shape.layers)
    return a_token * setup.computed


def extrapolated(depths: Sequence[int], seconds: Sequence[float], layers: int) -> float:
    """The line through one or two points (depth, seconds), at all layers; more layers are never faster."""
    if len(seconds) == 1:
        return seconds[0] * layers / depths[0]
    slope = max(0.0, (seconds[1] - seconds[0]) / (depths[1] - depths[0]))
    return seconds[1] + slope * (layers - depths[1])


class _Trial:
    """A random model of a few layers, and a batch to train it on. The tables of words may be those of `other`."""

    def __init__(self, setup: Setup, rows: Sequence[Row], other: PreTrainedModel | None) -> None:
        self.model = random_model(setup, other)
        model = lora.attach(self.model, setup.train.model_copy(update={"adapter": None}), seed=0)
        together = len(rows) * len(rows[0].ids)
        self._learner = Learner(model, 0, setup.train, together, recompute=setup.recompute).train()
        self._optimizer = make_optimizer([parameter for _, parameter in self._learner.trained], setup.train)
        self._rows = rows
        self._tokens_a_step = rows_per_step(setup.train) * setup.lengths.whole

    def run(self) -> float:
        """Seconds a token of a batch forward and backward, and of its share of an update."""
        (batch,) = self._learner.batches(self._rows)
        started = _now()
        (self._learner(batch) / sum(row.trained for row in self._rows)).backward()
        computed = _now()
        self._optimizer.step()
        self._optimizer.zero_grad()
        updated = _now()
        tokens = sum(len(row.ids) for row in self._rows)
        return (computed - started) / tokens + (updated - computed) / self._tokens_a_step


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _rows(setup: Setup, depth: int) -> list[Row]:
    """Rows of mean length and share of answers, or as much of them as a batch has time for, one for each lane.

    They do not begin alike: what that saves is reckoned with apart.
    """
    whole = setup.lengths.whole
    tokens = max(FEWEST_TOKENS, round(whole))
    if setup.device == "cpu":
        most = BATCH_S * work.gemm_rate() / work.flops_a_token(_with_layers(setup, depth))
        tokens = max(FEWEST_TOKENS, round(min(whole, most / setup.lanes)))
    prompt = min(tokens - 1, max(1, round(tokens * setup.lengths.prompt / whole)))
    return [
        Row(str(i), tuple((i + j) % setup.shape.vocabulary for j in range(tokens)), prompt) for i in range(setup.lanes)
    ]


def _a_layer(shape: Shape) -> int:
    return shape.linear_parameters // shape.layers


def _with_layers(setup: Setup, layers: int) -> Setup:
    return replace(setup, shape=replace(setup.shape, layers=layers))


def random_model(setup: Setup, other: PreTrainedModel | None = None) -> PreTrainedModel:
    """A model of the shape on the device that training takes, its weights without meaning but of ordinary size.

    Its tables of words, which may be the largest part, are those of `other` if one is given.
    """
    shape = setup.shape
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        attention_bias="o_proj" in shape.biased,
        mlp_bias="up_proj" in shape.biased,
        pad_token_id=0,
    )
    with no_init_weights():
        model: Any = AutoModelForCausalLM.from_config(config, dtype=DTYPES[setup.precision])
    model.tie_weights()
    if other is not None:
        model.set_input_embeddings(other.get_input_embeddings())
        model.set_output_embeddings(other.get_output_embeddings())
    for parameter in (model.get_decoder().layers if other else model).parameters():
        parameter.data.copy_(torch.linspace(-0.02, 0.02, parameter.shape[-1]).expand_as(parameter))
    if setup.quantise == "nf4":
        _quantise(model, DTYPES[setup.precision])
    made: PreTrainedModel = model.to(setup.device)
    return made


def _quantise(model: Any, dtype: torch.dtype) -> None:
    """Puts NF4 layers in the place of the decoder's; those of one shape share a weight, for quantising is slow."""
    try:
        from bitsandbytes.nn.modules import Linear4bit, Params4bit
    except ImportError as error:
        raise MissingExtra.named("model.quantise = 'nf4'", "train") from error
    made: dict[torch.Size, Any] = {}
    for name, linear in list(model.get_decoder().named_modules()):
        if type(linear) is not nn.Linear:
            continue
        size = linear.weight.shape
        if size not in made:
            weight: Any = Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
            made[size] = weight.to("cpu")
        layer = Linear4bit(size[1], size[0], bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")
        layer.weight = made[size]
        parent, _, own = name.rpartition(".")
        setattr(model.get_decoder().get_submodule(parent), own, layer)
    model.is_loaded_in_4bit = True  # by which peft knows how to put its update on it
