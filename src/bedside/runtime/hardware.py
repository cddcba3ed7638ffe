"""What this machine would train on, found without loading torch: a card or the CPU, its memory, and its number types.

`runtime.device` decides by torch itself when training starts; the two must agree, which a test keeps.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,memory.free", "--format=csv,noheader,nounits")
CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
"""A container's own limits (cgroup v2, Documentation/admin-guide/cgroup-v2.rst)."""
BF16_FLAGS = {"amx_bf16", "bf16"}
"""Flags of a CPU that multiplies faster in bf16 than in fp32: of x86's tiles, and of Arm."""
AVX_BF16_FLAG = "avx512_bf16"
"""The same, but for Intel's: without tiles (a virtual machine may hide them) they reach half of fp32's speed."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where training would run; `precision` is what "auto" chooses there."""

    device: Literal["cpu", "cuda"]
    name: str
    free_bytes: int
    precision: Literal["bf16", "fp16", "fp32"]
    cores: int


def look() -> Machine:
    """The first card if torch could use it, else the CPU."""
    card = _card()
    if card is None:
        precision: Literal["bf16", "fp32"] = "bf16" if _cpu_is_faster_in_bf16() else "fp32"
        return Machine("cpu", f"CPU, {cores()} cores", free_memory_bytes(), precision, cores())
    name, capability, free = card
    native = tuple(int(part) for part in capability.split(".")) >= (8, 0)
    return Machine("cuda", name, int(free) * 2**20, "bf16" if native else "fp16", cores())


def cores() -> int:
    """Cores that this process may run on; in a container, as many as its share of time is worth."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (_told(CGROUP / "cpu.max") or "max 1").split()
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))


def free_memory_bytes() -> int:
    """What could be allocated now without swapping; a very large number where neither system nor container says."""
    free = sys.maxsize
    if MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = _told(CGROUP / "memory.max") or "max"
    return free if limit == "max" else max(0, min(free, int(limit) - _used_by_container()))


def _used_by_container() -> int:
    """Bytes without the pages of files that the system takes back at need."""
    kinds = dict(line.split() for line in _told(CGROUP / "memory.stat").splitlines())
    return int(_told(CGROUP / "memory.current") or 0) - int(kinds.get("inactive_file", 0))


def _told(path: Path) -> str:
    """A file of the system's; "" where there is none."""
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def _card() -> Sequence[str] | None:
    """Name, compute capability and free MiB of the first card that this process may see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1") or _torch_is_for_cpus() or shutil.which(QUERY[0]) is None:
        return None
    which = ("-i", visible.split(",")[0]) if visible else ()
    try:
        told = subprocess.run((*QUERY, *which), capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    fields = [field.strip() for field in told.partition("\n")[0].rsplit(",", 2)]
    return fields if len(fields) == 3 else None


def _torch_is_for_cpus() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _cpu_is_faster_in_bf16() -> bool:
    flags = set(_of_cpu("flags", "features"))
    return bool(BF16_FLAGS & flags) or (AVX_BF16_FLAG in flags and "GenuineIntel" not in _of_cpu("vendor_id"))


def _of_cpu(*names: str) -> list[str]:
    """The words of the first line of any such name that the system tells about its first processor."""
    if not CPUINFO.is_file():
        return []
    lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.lower().startswith(names)), "").partition(":")[2].split()
