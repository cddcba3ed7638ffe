"""A PEFT adapter folder that training goes on from: what it is and what it brings, read without torch.

    require_fit(settings, shape)    # ModelError for one that cannot be gone on from, before anything is spent
    brought(settings)               # the recipe's settings with the adapter's rank, alpha, dropout and targets
    identify(settings)              # digest of both files, for the stage's key

Format: `adapter_config.json` and `adapter_model.safetensors` as `PeftModel.save_pretrained` writes them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bedside.errors import MissingExtra, ModelError, first_line
from bedside.files import digest, read_json, sha256
from bedside.models.peft_config import PLAIN, require_sound, uneven
from bedside.models.shapes import Shape
from bedside.recipe import TrainSection

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
STORED_AS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}
"""How numpy reads the types that an adapter may have."""
CHOICES = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Settings that leave out layers of those that `target_modules` names."""
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
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


def uneven_update(settings: TrainSection) -> str | None:
    """Why its update is none that the fused step takes; None if it is one, or if training starts afresh."""
    if settings.adapter is None:
        return None
    folder = located(settings.adapter)
    return uneven(read_config(folder), modules(folder))


def require_fit(settings: TrainSection, shape: Shape | None) -> None:
    """Raises ModelError for an adapter that is damaged, or was made for a base of another shape than this one.

    Where the base's shape is not known yet, the adapter is held against the base itself when training loads it.
    """
    if settings.adapter is None:
        return
    folder = located(settings.adapter)
    config = read_config(folder)
    modules(folder)
    require_finite(folder)
    for name, found, wanted in _misfits(config, _shapes(folder), shape) if shape else ():
        raise misfit(folder, name, found, wanted)


def misfit(folder: Path, name: str, found: Sequence[int] | None, wanted: Sequence[int] | None) -> ModelError:
    """The error for a tensor that the adapter or the base lacks, or that has another shape."""
    shapes = [str(list(shape)) if shape is not None else "none" for shape in (found, wanted)]
    told = f"its {name} is {shapes[0]}, the base needs {shapes[1]}"
    return ModelError(f"train.adapter: {folder} was made for another model: {told}")


def require_finite(folder: Path) -> None:
    """Raises ModelError, naming the tensor, if one of its numbers is none."""
    import numpy as np

    path = folder / TENSORS
    for name, values in _tensors(path):
        if not np.isfinite(values).all():
            told = "values that are not finite (NaN or infinity): the training that wrote it diverged"
            raise ModelError(f"{path}: {name!r} holds {told}; go on from another adapter")


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
    """The adapter's configuration. Raises ModelError if it is no LoRA, or one that changes the base's own weights."""
    config = read_json(folder / CONFIG)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA" or not {"r", "lora_alpha", "lora_dropout"} <= config.keys():
        raise ModelError(f"train.adapter: {folder} is an adapter of type '{kind}'; want LoRA")
    require_sound(config, folder / CONFIG)
    begun = config.get("init_lora_weights")
    if begun not in PLAIN["init_lora_weights"]:
        raise ModelError(
            f"train.adapter: {folder} began as '{begun}', which changes the base's own weights; save it as plain LoRA"
            " (peft: path_initial_model_for_weight_conversion)"
        )
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
    return list(_shapes(folder))


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the tensors. Raises ModelError if the file is damaged."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtra.named("train.adapter", "train") from error
    try:
        with safe_open(folder / TENSORS, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{folder / TENSORS}: not a whole safetensors file ({first_line(error)})") from error


def _tensors(path: Path) -> "Iterator[tuple[str, NDArray[Any]]]":
    """Name and numbers of each tensor of a file that `_shapes` has read; bf16 as the fp32 that it is the half of."""
    import numpy as np

    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in STORED_AS:
            raise ModelError(f"{path}: {name!r} is stored as {entry['dtype']}; want {', '.join(STORED_AS)}")
        first, last = entry["data_offsets"]
        stored = np.dtype(STORED_AS[entry["dtype"]])
        values = np.fromfile(path, stored, count=(last - first) // stored.itemsize, offset=start + first)
        yield name, np.left_shift(values, 16, dtype=np.uint32).view(np.float32) if stored.kind == "u" else values


def _misfits(
    config: Mapping[str, Any], found: Mapping[str, tuple[int, ...]], shape: Shape
) -> Iterator[tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]]:
    """Name, shape and wanted shape of the factors that do not fit the linear layers of the decoder.

    Other tensors, and layers that a choice or pattern of the configuration leaves out, are not looked at.
    """
    wanted: dict[str, tuple[int, ...]] = {}
    given = config.get("target_modules")
    targets = [str(target) for target in given] if isinstance(given, list) else []
    named = targets and shape.linear.keys() >= set(targets) and not any(config.get(name) for name in CHOICES)
    for layer, (name, (inputs, outputs)) in product(range(shape.layers), shape.linear.items()):
        module = f"{PREFIX}model.layers.{layer}.{'mlp' if name in FEED_FORWARD else 'self_attn'}.{name}"
        a, b = (f"{module}.lora_{factor}.weight" for factor in "AB")
        if name in targets if named else a in found or b in found:
            rank = found[a][0] if config.get("rank_pattern") and found.get(a) else config["r"]
            wanted |= {a: (rank, inputs), b: (outputs, rank)}
    factors = {name for name in found if name.endswith((".lora_A.weight", ".lora_B.weight"))}
    known = {name for name in factors if name.startswith(f"{PREFIX}model.layers.")}
    for name in sorted(wanted.keys() | known):
        if found.get(name) != wanted.get(name):
            yield name, found.get(name), wanted.get(name)
