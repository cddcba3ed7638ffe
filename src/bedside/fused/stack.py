"""A peft model's decoder layers as four stacked products each, which share their memory with the model.

`why_not` says for which models that holds; `stacked` turns the frozen weights of q, k, v and of gate, up into views of
one matrix each, so that the model itself stays whole and nothing is kept twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from bedside.fused.choice import obstacle
from bedside.fused.project import Identity, Projection, Prologue, RmsNorm, Swiglu, Update
from bedside.fused.room import Block
from bedside.models.peft_config import uneven
from bedside.models.shapes import unlike_llama


@dataclass(frozen=True, slots=True)
class Layer:
    """The four products of a decoder layer; each brings what stands before it."""

    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection
    rotated: Block | None
    """Where the rotated queries, keys and values lie until the backward pass, if they are kept till then."""


def causal_of(model: PeftModel | PreTrainedModel) -> Any:
    """The model itself, or that which an update stands on."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def why_not(model: PeftModel | PreTrainedModel) -> str | None:
    """Why the fused step does not hold for a model; None if it does. It is decided by its settings."""
    causal = causal_of(model)
    update = model.peft_config["default"].to_dict() if isinstance(model, PeftModel) else {}
    tuned = (name for name, module in causal.named_modules() if isinstance(module, LoraLayer))
    quantised = any(isinstance(module, nn.Linear) and type(module) is not nn.Linear for module in causal.modules())
    return obstacle(unlike_llama(causal.config.to_dict()), quantised, uneven(update, tuned)) or _changed(model)


def _changed(model: PeftModel | PreTrainedModel) -> str | None:
    """The first layer or parameter that is not what the settings say: merged, unfrozen, or of a later peft."""
    for name, module in model.named_modules():
        plain = type(module) is LoraLinear and not module.lora_variant and not module.merged
        if isinstance(module, LoraLayer) and not plain:
            return f"the update of '{name}' is no plain LoRA"
    if not isinstance(model, PeftModel):
        return None
    trained = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return next((f"'{name}' is trained whole" for name in trained if ".lora_" not in name), None)


def stacked(layer: Any, eps: float, *, blocks: bool = True) -> Layer:
    """The products of a transformers decoder layer; `eps` is that of its norms.

    With `blocks`, the largest of what they keep until the backward pass has memory for all steps.
    """
    attention, mlp = layer.self_attn, layer.mlp
    before_attention = RmsNorm(layer.input_layernorm.weight, eps)
    before_mlp = RmsNorm(layer.post_attention_layernorm.weight, eps)
    return Layer(
        _projection(before_attention, [attention.q_proj, attention.k_proj, attention.v_proj]),
        _projection(Identity(), [attention.o_proj]),
        replace(_projection(before_mlp, [mlp.gate_proj, mlp.up_proj]), block=Block() if blocks else None),
        _projection(Swiglu(), [mlp.down_proj]),
        Block() if blocks else None,
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
