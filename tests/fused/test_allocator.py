import ctypes
import subprocess
import sys

import pytest

from bedside.fused import allocator

HOLES = """
import sys
from pathlib import Path
from bedside.fused import allocator

def resident_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

if sys.argv[1] == "True":
    allocator.return_freed_memory()
for _ in range(2):
    block = bytearray(b"x") * 2**22
    del block  # glibc takes its size for the limit from now on
before = resident_kib()
blocks, kept = [], []
for _ in range(32):
    blocks.append(bytearray(b"x") * 2**22)
    kept.append(bytearray(b"x") * 2**16)
del blocks
print(resident_kib() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_blocks_between_others_go_back_to_the_system_when_they_are_freed() -> None:
    def stays_mib(returned: bool) -> float:
        command = [sys.executable, "-c", HOLES, str(returned)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024

    assert stays_mib(False) > 64
    assert stays_mib(True) < 16


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library that has nothing of the name."""

        def __getattr__(self, name: str) -> object:
            asked.append(name)
            raise AttributeError(name)

    asked: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Other())
    allocator.return_freed_memory()
    assert asked == ["mallopt"]
