"""`bedside doctor`: what is installed, what this machine has, and the line that mends each lack."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bedside.errors import BedsideError
from bedside.extras import extras
from bedside.models.locate import INSTALL_EMBEDDED, cache_folder, embedded_gguf

NEEDED_DISK_GIB = 5
NEEDED_MEMORY_GIB = 6


def result() -> dict[str, Any]:
    """What `--json` prints; `ok` is false if the demo could not run here."""
    checks = [
        _python(),
        *(_extra(name) for name in extras()),
        _embedded(),
        _disk(),
        _memory(),
        _accelerator(),
    ]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def in_words(result: dict[str, Any]) -> str:
    """One line a check, with the mending line beneath."""
    lines = []
    for check in result["checks"]:
        lines.append(f"{'ok  ' if check['ok'] else 'LACK'}  {check['name']:<14} {check['detail']}")
        if check["fix"]:
            lines.append(f"      {'':<14} mend: {check['fix']}")
    return "\n".join(lines)


def _check(name: str, ok: bool, detail: str, fix: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "fix": "" if ok else fix}


def _python() -> dict[str, Any]:
    return _check("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer")


def _extra(name: str) -> dict[str, Any]:
    found, missing = [], []
    for package in extras()[name]:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    detail = f"missing: {', '.join(missing)}" if missing else ", ".join(found)
    return _check(f"[{name}]", not missing, detail, f"pip install 'bedside[{name}]'")


def _embedded() -> dict[str, Any]:
    try:
        path = embedded_gguf()
    except BedsideError:
        return _check("embedded model", False, "not installed", INSTALL_EMBEDDED)
    return _check("embedded model", True, f"{path.name}, {path.stat().st_size / 2**20:.0f} MiB")


def _disk() -> dict[str, Any]:
    folder = next(p for p in [cache_folder(), *cache_folder().parents] if p.exists())
    free = shutil.disk_usage(folder).free / 2**30
    fix = f"free {NEEDED_DISK_GIB} GiB, or set BEDSIDE_CACHE to another disk"
    return _check("disk", free >= NEEDED_DISK_GIB, f"{free:.0f} GiB free at {folder}", fix)


def _memory() -> dict[str, Any]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    fix = f"the demo needs {NEEDED_MEMORY_GIB} GiB; lower model.max_length"
    return _check("memory", total >= NEEDED_MEMORY_GIB, f"{total:.0f} GiB, {os.cpu_count()} cores", fix)


def _accelerator() -> dict[str, Any]:
    """No card is no lack: everything runs on a CPU."""
    try:
        import torch
    except ImportError:
        return _check("accelerator", True, "unknown without torch")
    if not torch.cuda.is_available():
        return _check("accelerator", True, "none; training and serving use the CPU")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return _check("accelerator", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
