import ctypes
import os
import subprocess
import sys

import pytest
import torch

from bedside.fused import allocator

RESIDENT = """
import sys
from pathlib import Path
from bedside.fused import allocator

def resident_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
"""
HOLES = """
if sys.argv[1] == "True":
    allocator.return_freed_memory()
for _ in range(2):
    block = bytearray(b"x") * 2**24
    del block  # glibc takes its size for the limit from now on
before = resident_kib()
blocks, kept = [], []
for _ in range(8):
    blocks.append(bytearray(b"x") * 2**24)
    kept.append(bytearray(b"x") * 2**16)
del blocks
print(resident_kib() - before)
"""
SMALL_HOLES = """
before = resident_kib()
blocks, kept = [], []
for _ in range(2048):
    blocks.append(bytearray(b"x") * 2**16)
    kept.append(bytearray(b"x") * 2**10)
del blocks
if sys.argv[1] == "True":
    allocator.trim_heap()
print(resident_kib() - before)
"""
PRODUCTS = """
import torch

if sys.argv[1] == "True":
    allocator.keep_few_products(1)
weight = torch.ones(256, 256, dtype=torch.bfloat16)

def multiply(lengths):
    for tokens in lengths:
        torch.nn.functional.linear(torch.ones(tokens, 256, dtype=torch.bfloat16), weight)

multiply(range(100, 200))
before = resident_kib()
multiply(range(200, 500))
print(resident_kib() - before)
"""


def stays_mib(what: str, prevented: bool) -> float:
    """What a program leaves in memory, with and without what prevents it."""
    command = [sys.executable, "-c", RESIDENT + what, str(prevented)]
    own = {name: value for name, value in os.environ.items() if name not in allocator.PRODUCT_CACHES}
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout) / 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_blocks_between_others_go_back_to_the_system_when_they_are_freed() -> None:
    assert stays_mib(HOLES, False) > 64
    assert stays_mib(HOLES, True) < 16


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_pages_of_small_blocks_between_others_go_back_when_that_is_asked_for() -> None:
    assert stays_mib(SMALL_HOLES, False) > 64
    assert stays_mib(SMALL_HOLES, True) < 24


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="the processor has no bf16 of AVX-512")
def test_products_of_many_lengths_leave_no_memory_behind() -> None:
    assert stays_mib(PRODUCTS, False) > 64
    assert stays_mib(PRODUCTS, True) < 32


def test_a_cache_that_the_user_has_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = allocator.PRODUCT_CACHES
    environment = {first: "7"}
    monkeypatch.setattr(os, "environ", environment)
    allocator.keep_few_products(3)
    assert environment == {first: "7", second: str(3 * allocator.PRODUCTS)}


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library that has nothing of the name."""

        def __getattr__(self, name: str) -> object:
            asked.append(name)
            raise AttributeError(name)

    asked: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Other())
    allocator.return_freed_memory()
    allocator.trim_heap()
    assert asked == ["mallopt", "malloc_trim"]
