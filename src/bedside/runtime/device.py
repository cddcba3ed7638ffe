"""Where a model is computed and in which type, chosen by what the hardware really does."""

from dataclasses import dataclass
from typing import Literal

import torch

from bedside.fused.allocator import keep_few_products
from bedside.runtime import hardware

Precision = Literal["auto", "bf16", "fp16", "fp32"]
DTYPES: dict[Literal["bf16", "fp16", "fp32"], torch.dtype] = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}
CPU_FEATURES = {
    "bf16": ("amx_bf16", "bf16", "arm_bf16"),
    "fp16": ("amx_fp16", "avx512_fp16", "fp16_arith"),
}
"""torch's names for the instructions with which a processor multiplies fast in a type of 16 bits."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device, the type of frozen weights on it, and why."""

    name: str
    dtype: torch.dtype
    reason: str

    @property
    def precision(self) -> Literal["bf16", "fp16", "fp32"]:
        """The recipe's word for the type."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    @property
    def in_words(self) -> str:
        """Such as "float32 on cpu, the hardware has no fast bf16"."""
        return f"{str(self.dtype).removeprefix('torch.')} on {self.name}, {self.reason}"


def choose(precision: Precision = "auto") -> Device:
    """CUDA before CPU. "auto" is bf16 where the hardware is fast in it.

    Elsewhere bf16 is emulated, or slower than fp32: a card without it (compute capability below 8.0) takes fp16, a CPU
    fp32. Training scales its loss wherever the type is fp16.
    """
    name = "cuda" if torch.cuda.is_available() else "cpu"
    if precision != "auto":
        slow = precision != "fp32" and not _is_fast_in(precision, name)
        reason = "as the recipe says" + (f"; slow, since the hardware has no fast {precision}" if slow else "")
        return Device(name, DTYPES[precision], reason)
    if _is_fast_in("bf16", name):
        return Device(name, torch.bfloat16, "the hardware computes in bf16")
    if name == "cuda":
        return Device(name, torch.float16, "the card has no bf16; training scales its loss")
    return Device(name, torch.float32, "the hardware has no fast bf16")


def _is_fast_in(precision: Literal["bf16", "fp16"], name: str) -> bool:
    if name == "cuda":
        return precision == "fp16" or torch.cuda.get_device_capability() >= (8, 0)
    able = torch.cpu.get_capabilities()
    if precision == "bf16" and able.get("avx512_bf16") and "Intel" not in able.get("cpu_name", ""):
        return True
    return any(able.get(feature) for feature in CPU_FEATURES[precision])


def free_memory_bytes(device: Device) -> int:
    """What could be allocated on the device now without swapping; a very large number where the system does not say."""
    return int(torch.cuda.mem_get_info()[0]) if device.name == "cuda" else hardware.free_memory_bytes()


def use_all_cores() -> None:
    """Lets torch use every core that this process may run on, and keep no more for them than is used again."""
    cores = hardware.cores()
    torch.set_num_threads(cores)
    keep_few_products(cores)
