"""What `adapter_config.json` of a PEFT LoRA may say, so that its update is one scale times B · A on the base's weights.

obstacle(config)             # ("use_dora", True), or None: it can be merged
uneven(config, modules)      # why its layers' updates cannot be stacked, or None
require_sound(config, path)  # ModelError for what would import code, loop for ever or take all memory
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bedside.errors import ModelError

PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "alpha_pattern": ({}, None),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
    "alora_invocation_tokens": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "use_bdlora": (False, None),
    "monteclora_config": (None,),
    "kasa_config": (None,),
}
"""Settings whose other values change more than that; some ways to begin (PiSSA, OLoRA, …) change the base itself.
An aLoRA acts after its invocation tokens only (arXiv:2504.12397), which no merged weight can."""


UNEVEN = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters", "rank_pattern",
    "alpha_pattern", "use_qalora", "use_bdlora", "alora_invocation_tokens", "velora_config",
    "monteclora_config", "kasa_config",
)  # fmt: skip
"""Settings that make an update more than B · A, train more than updates, or scale them differently from layer to layer
(peft 0.21, `LoraConfig`)."""
MOST_RANK = 1 << 14
UNSAFE = ("megatron_config", "layer_replication", "corda_config", "lora_ga_config", "arrow_config")
"""Settings by which peft imports a module that they name, or builds as many layers as they say."""
PATTERNS = ("rank_pattern", "alpha_pattern", "layers_pattern", "modules_to_save")
PLAIN_NAME = re.compile(r"\^?[\w.]+", re.ASCII)


def require_sound(config: Mapping[str, Any], path: Path) -> None:
    """Raises ModelError, naming the setting, for a value that no adapter of a language model has."""
    bounds = {"r": (1, MOST_RANK), "lora_alpha": (-1e6, 1e6), "lora_dropout": (0, 1)}
    for name, (least, most) in bounds.items():
        value = config.get(name, least)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not least <= value <= most or (name == "r" and not isinstance(value, int)):
            raise ModelError(f"{path}: {name} = {str(value)[:40]!r}; want a number from {least:g} to {most:g}")
    for name in UNSAFE:
        if config.get(name):
            raise ModelError(f"{path}: {name} is set, which is not read from a file; save it as plain LoRA")
    for name in PATTERNS:
        given = config.get(name) or []
        keys = [given] if isinstance(given, str) else given if isinstance(given, (list, dict)) else [None]
        if not all(isinstance(key, str) and PLAIN_NAME.fullmatch(key) for key in keys):
            raise ModelError(f"{path}: {name} has a pattern; want names of layers")  # a pattern may take for ever
    if isinstance(config.get("rank_pattern"), dict):
        for value in config["rank_pattern"].values():
            require_sound({"r": value}, path)


def obstacle(config: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The first setting, with its value, for which the update cannot be merged; None if it can."""
    found = ((name, config.get(name, plain[0])) for name, plain in PLAIN.items())
    return next(((name, value) for name, value in found if value not in PLAIN[name]), None)


def uneven(config: Mapping[str, Any], modules: Iterable[str]) -> str | None:
    """Why the updates of `modules`, by their whole names, cannot be stacked with one scale; None if they can."""
    found = next((name for name in UNEVEN if config.get(name)), None)
    if found:
        return f"the update has {found}"
    outside = next((name for name in modules if ".layers." not in f".{name}"), None)
    return outside and f"'{outside}' has an update and is none of the decoder's layers"
