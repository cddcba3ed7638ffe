"""What `adapter_config.json` of a PEFT LoRA may say, so that its update is one scale times B · A on the base's weights.

obstacle(config)    # ("use_dora", True), or None: it can be merged
"""

from collections.abc import Mapping
from typing import Any

PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "alpha_pattern": ({}, None),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),
}
"""Settings whose other values change more than that; some ways to begin (PiSSA, OLoRA, …) change the base itself."""


def obstacle(config: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The first setting, with its value, for which the update cannot be merged; None if it can."""
    found = ((name, config.get(name, plain[0])) for name, plain in PLAIN.items())
    return next(((name, value) for name, value in found if value not in PLAIN[name]), None)
