"""A frozen base with a trainable low-rank update on its linear layers (LoRA, arXiv:2106.09685), through peft.

The base may be in 4 bits (QLoRA, arXiv:2305.14314); the update is in fp32 whatever the base's type is.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from bedside.errors import ModelError, first_line
from bedside.models.peft_config import obstacle
from bedside.progress import say
from bedside.recipe import TrainSection
from bedside.runtime.hf import quiet_peft
from bedside.train import adapter


def attach(model: PreTrainedModel, settings: TrainSection, seed: int) -> PeftModel:
    """Adds the update of `settings.adapter`, or a fresh one: A at random by `seed`, B zero.

    Raises ModelError if a target is not in the model, or the adapter is not there or made for another model.
    """
    if settings.adapter is not None:
        return _continued(model, adapter.located(settings.adapter))
    linear = _linear_names(model)
    missing = [target for target in settings.targets if target not in linear]
    if missing:
        raise ModelError(f"train.targets: the model has no linear layer '{missing[0]}'; it has: {', '.join(linear)}")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft divides only, so a fraction is fine
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    with quiet_peft():
        return get_peft_model(model, config)


def recompute_activations(model: PeftModel) -> None:
    """Lets transformers compute each layer again in the backward pass, from its input alone (arXiv:1604.06174)."""
    frozen: Any = model.get_base_model()
    with quiet_peft():
        frozen.gradient_checkpointing_enable({"use_reentrant": False})


def trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that are trained, in a fixed order."""
    return sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)


def count(model: torch.nn.Module) -> tuple[int, int]:
    """(trainable, total) parameters; a 4-bit base counts its real weights, not its packed bytes."""
    both = model.get_nb_trainable_parameters()  # type: ignore[operator]
    return int(both[0]), int(both[1])


def _continued(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The model with an adapter's update, to be trained on; says which settings it brings."""
    config = _config(folder)
    adapter.modules(folder)
    adapter.require_finite(folder)
    try:
        with quiet_peft():
            tuned = get_peft_model(model, config)
        tensors = load_file(folder / adapter.TENSORS)
    except (ValueError, RuntimeError, TypeError, NotImplementedError) as error:
        raise ModelError(f"train.adapter: {folder} cannot be put on this model ({first_line(error)})") from error
    _refuse_misfit(get_peft_model_state_dict(tuned, save_embedding_layers=False), tensors, folder)
    set_peft_model_state_dict(tuned, tensors)
    targets = config.target_modules
    where = targets if isinstance(targets, str) else ", ".join(sorted(targets or ()))
    brought = f"rank {config.r}, alpha {config.lora_alpha:g}, dropout {config.lora_dropout:g} on {where}"
    say(f"train.adapter: goes on from {folder} with its own {brought}, not the recipe's")
    if found := obstacle(adapter.read_config(folder)):
        say(f"train.adapter: with its {found[0]} it trains, but cannot be merged and exported")
    return tuned


def _config(folder: Path) -> LoraConfig:
    values = adapter.read_config(folder)
    values["auto_mapping"] = None
    if any(isinstance(values.get(name), str) for name in ("target_modules", "exclude_modules")):
        # A pattern may take for ever to be matched, and the layers that it has found are those of the file.
        values.update(target_modules=list(adapter.modules(folder)), exclude_modules=None, layers_to_transform=None)
    with warnings.catch_warnings():  # settings of a later peft that this one lacks; the shapes are compared below
        warnings.filterwarnings("ignore", message="Unexpected keyword arguments", category=UserWarning)
        try:
            config: LoraConfig = LoraConfig.from_peft_type(**values)
        except (ValueError, TypeError) as error:
            raise ModelError(f"{folder / adapter.CONFIG}: not a LoRA configuration ({first_line(error)})") from error
    config.inference_mode = False
    config.init_lora_weights = True  # its numbers come from the file
    config.base_model_name_or_path = None  # as it was where the adapter was made
    return config


def _refuse_misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], folder: Path) -> None:
    """Raises ModelError at the first tensor that one side lacks, or that has another shape."""
    for name in sorted(wanted.keys() | found.keys()):
        shapes = [side[name].shape if name in side else None for side in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise adapter.misfit(folder, name, *shapes)


def _linear_names(model: PreTrainedModel) -> list[str]:
    """Last parts of the names of the linear layers inside the decoder, in order; 4-bit layers are linear, too."""
    decoder = model.get_decoder()
    linear = (name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear))
    return sorted({name.rpartition(".")[2] for name in linear})
