"""A PEFT adapter folder that training goes on from: what it is and what it brings, read without torch.

    brought(settings)    # the recipe's settings with the adapter's rank, alpha, dropout and targets
    identify(settings)   # digest of both files, for the stage's key

Format: `adapter_config.json` and `adapter_model.safetensors` as `PeftModel.save_pretrained` writes them.
"""

from pathlib import Path
from typing import Any

from bedside.errors import MissingExtra, ModelError, first_line
from bedside.files import digest, read_json, sha256
from bedside.models.peft_config import require_sound
from bedside.recipe import TrainSection

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before a layer's name."""


def brought(settings: TrainSection) -> TrainSection:
    """The settings in force: those of `settings.adapter` in place of the recipe's, as those of a fresh update."""
    if settings.adapter is None:
        return settings
    folder = located(settings.adapter)
    config = read_config(folder)
    values = {"rank": config["r"], "alpha": float(config["lora_alpha"]), "dropout": float(config["lora_dropout"])}
    return settings.model_copy(update={**values, "targets": _targets(folder), "adapter": None})


def identify(settings: TrainSection) -> dict[str, str]:
    """{what: digest} of the adapter that training goes on from; nothing where it starts afresh.

    A file that is not there changes the digest only: whoever trains is told, whoever reads a finished run need not be.
    """
    if settings.adapter is None:
        return {}
    paths = [Path(settings.adapter).expanduser() / name for name in (CONFIG, TENSORS)]
    found = [sha256(path) if path.is_file() else None for path in paths]
    return {f"train.adapter {settings.adapter}": digest(found)[:16]}


def located(name: str) -> Path:
    """The adapter's folder. Raises ModelError if it or one of its files is not there."""
    folder = Path(name).expanduser()
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"train.adapter: {folder} is no PEFT adapter (no {CONFIG}); want a folder such as runs/NAME/adapter"
        )
    if not (folder / TENSORS).is_file():
        raise ModelError(f"train.adapter: {folder} has no {TENSORS}; a .bin is not read: save it again as safetensors")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises ModelError if it is no LoRA."""
    config = read_json(folder / CONFIG)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA" or not {"r", "lora_alpha", "lora_dropout"} <= config.keys():
        raise ModelError(f"train.adapter: {folder} is an adapter of type '{kind}'; want LoRA")
    require_sound(config, folder / CONFIG)
    return dict(config)


def modules(folder: Path) -> tuple[str, ...]:
    """Whole names of the layers that have an update. Raises ModelError if none has."""
    names = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in _names(folder) if ".lora_" in name}
    if not names:
        raise ModelError(f"{folder / TENSORS}: holds no low-rank update")
    return tuple(sorted(names))


def _targets(folder: Path) -> tuple[str, ...]:
    """Last parts of those names: the configuration may hold a pattern in their place."""
    return tuple(sorted({name.rpartition(".")[2] for name in modules(folder)}))


def _names(folder: Path) -> list[str]:
    """Names of the tensors. Raises ModelError if the file is damaged."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra.named("train.adapter", "train") from error
    try:
        with safe_open(folder / TENSORS, framework="np") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise ModelError(f"{folder / TENSORS}: not a whole safetensors file ({first_line(error)})") from error
