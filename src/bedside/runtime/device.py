"""Where a model is computed and in which type, chosen by what the hardware really does."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Device:
    """A device, the type of frozen weights on it, and why."""

    name: str
    dtype: torch.dtype
    reason: str


def choose(precision: Precision = "auto") -> Device:
    """CUDA before CPU. "auto" is bf16 where the hardware multiplies in it; elsewhere bf16 is emulated and slower."""
    name = "cuda" if torch.cuda.is_available() else "cpu"
    if precision != "auto":
        return Device(name, DTYPES[precision], "as the recipe says")
    if name == "cuda":
        native = torch.cuda.get_device_capability() >= (8, 0)
    else:
        able = torch.cpu.get_capabilities()
        native = any(able.get(feature) for feature in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16"))
    reason = "the hardware computes in bf16" if native else "the hardware has no fast bf16"
    return Device(name, torch.bfloat16 if native else torch.float32, reason)


def free_memory_bytes(device: Device) -> int:
    """What could be allocated on the device now without swapping; a very large number where the system does not say."""
    if device.name == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return sys.maxsize
    lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def use_all_cores() -> None:
    """Lets torch use every core that this process may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
