"""A frozen base with a trainable low-rank update on its linear layers (LoRA, arXiv:2106.09685), through peft."""

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel

from bedside.errors import ModelError
from bedside.recipe import TrainSection
from bedside.runtime.hf import quiet_peft


def attach(model: PreTrainedModel, settings: TrainSection, seed: int) -> PeftModel:
    """Adds the update: A at random by `seed`, B zero, both fp32. Raises ModelError if a target is not in the model."""
    linear = _linear_names(model)
    missing = [target for target in settings.targets if target not in linear]
    if missing:
        raise ModelError(f"train.targets: the model has no linear layer '{missing[0]}'; it has: {', '.join(linear)}")
    if getattr(model, "is_loaded_in_4bit", False):  # who needs 4 bits has no memory for activations either
        with quiet_peft():
            model = prepare_model_for_kbit_training(
                model, use_gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": False}
            )
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


def trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that are trained, in a fixed order."""
    return sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)


def count(model: torch.nn.Module) -> tuple[int, int]:
    """(trainable, total) parameters; a 4-bit base counts its real weights, not its packed bytes."""
    both = model.get_nb_trainable_parameters()  # type: ignore[operator]
    return int(both[0]), int(both[1])


def _linear_names(model: PreTrainedModel) -> list[str]:
    """Last parts of the names of the linear layers inside the decoder, in order; 4-bit layers are linear, too."""
    decoder = model.get_decoder()
    linear = (name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear))
    return sorted({name.rpartition(".")[2] for name in linear})
