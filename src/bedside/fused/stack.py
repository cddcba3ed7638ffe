"""A peft model's decoder layers as four stacked products each, which share their memory with the model.

`why_not` says for which models that holds; `stacked` turns the frozen weights of q, k, v and of gate, up into views of
one matrix each, so that the model itself stays whole and nothing is kept twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from bedside.fused.project import Identity, Projection, Prologue, RmsNorm, Swiglu, Update

ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose angles depend on the position alone."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The four products of a decoder layer; each brings what stands before it."""

    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection


def causal_of(model: PeftModel | PreTrainedModel) -> Any:
    """The model itself, or that which an update stands on."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def why_not(model: PeftModel | PreTrainedModel) -> str | None:
    """Why the fused step does not hold for a model; None if it does."""
    causal = causal_of(model)
    config = causal.config
    if config.model_type != "llama":
        return f"the fused step is written for the Llama family, not for '{config.model_type}'"
    if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias or config.attention_dropout:
        return "the model has biases, dropout in its attention, or another activation than silu"
    rotation = config.rope_parameters.get("rope_type", "default")
    if rotation not in ROTATIONS:
        return f"the model's rotary embedding is of type '{rotation}'"
    whole = _strange_parameter(model) if isinstance(model, PeftModel) else None
    return _strange_layer(causal) or whole or _uneven_scales(causal)


def _strange_layer(causal: Any) -> str | None:
    """The first linear layer that is neither plain nor plain with a plain update."""
    for name, module in causal.named_modules():
        base = module.base_layer if isinstance(module, LoraLayer) else module
        if isinstance(base, nn.Linear) and type(base) is not nn.Linear:
            return f"'{name}' is quantised ({type(base).__name__})"
        of_a_layer = type(module) is LoraLinear and ".layers." in f".{name}"
        if isinstance(module, ModulesToSaveWrapper) or (isinstance(module, LoraLayer) and not of_a_layer):
            return f"'{name}' has an update and is none of the decoder's layers"
        if isinstance(module, LoraLinear) and (module.lora_variant or module.lora_bias["default"] or module.merged):
            return f"the update of '{name}' is no plain LoRA"
    return None


def _strange_parameter(model: PeftModel) -> str | None:
    """The first parameter that is trained and no part of an update."""
    trained = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return next((f"'{name}' is trained whole" for name in trained if ".lora_" not in name), None)


def _uneven_scales(causal: Any) -> str | None:
    """An adapter from elsewhere may have ranks or alphas by pattern; a stack has one scale."""
    scales = {module.scaling["default"] for module in causal.modules() if isinstance(module, LoraLinear)}
    return "its updates are scaled differently from layer to layer" if len(scales) > 1 else None


def stacked(layer: Any, eps: float) -> Layer:
    """The products of a transformers decoder layer; `eps` is that of its norms."""
    attention, mlp = layer.self_attn, layer.mlp
    before_attention = RmsNorm(layer.input_layernorm.weight, eps)
    before_mlp = RmsNorm(layer.post_attention_layernorm.weight, eps)
    return Layer(
        _projection(before_attention, [attention.q_proj, attention.k_proj, attention.v_proj]),
        _projection(Identity(), [attention.o_proj]),
        _projection(before_mlp, [mlp.gate_proj, mlp.up_proj]),
        _projection(Swiglu(), [mlp.down_proj]),
    )


def _projection(prologue: Prologue, modules: Sequence[Any]) -> Projection:
    """Stacks the modules' frozen weights, which become views of the stack."""
    frozen = [getattr(module, "base_layer", module) for module in modules]
    stack = frozen[0].weight.data if len(frozen) == 1 else torch.cat([linear.weight.data for linear in frozen])
    start = 0
    for linear in frozen:
        linear.weight.data = stack[start : start + linear.out_features]
        start += linear.out_features
    updates = tuple(_updates(modules))
    first = next((module for module in modules if hasattr(module, "lora_A")), None)
    if first is None:
        return Projection(prologue, stack, updates, 1.0)
    dropout = first.lora_dropout["default"]  # an identity where there is none
    scale = float(first.scaling["default"])
    return Projection(prologue, stack, updates, scale, dropout if isinstance(dropout, nn.Dropout) else None)


def _updates(modules: Sequence[Any]) -> Iterator[Update]:
    start = 0
    for module in modules:
        stop = start + module.out_features
        if hasattr(module, "lora_A"):
            yield Update(start, stop, module.lora_A["default"].weight, module.lora_B["default"].weight)
        start = stop
