"""What this machine has, found without torch and yet as torch finds it."""

import os
from pathlib import Path

import pytest

from bedside.runtime import device, hardware


def a_card(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program on the path that answers as nvidia-smi does."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(hardware, "_torch_is_for_cpus", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(("capability", "precision"), [("7.5", "fp16"), ("8.0", "bf16"), ("12.0", "bf16")])
def test_a_card_tells_its_memory_and_decides_the_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str, precision: str
) -> None:
    a_card(tmp_path, f'echo "Tesla T4, {capability}, 15000"', monkeypatch)
    assert hardware.look() == hardware.Machine("cuda", "Tesla T4", 15_000 * 2**20, precision, hardware.cores())


def test_the_card_that_this_process_may_see_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_card(tmp_path, 'echo "$*, 8.0, 100"', monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert hardware.look().name.endswith("-i 1")


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_card_that_is_hidden_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    a_card(tmp_path, 'echo "Tesla T4, 7.5, 15000"', monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.look().device == "cpu"


@pytest.mark.parametrize("says", ["exit 9", "echo", 'echo "No devices were found"'])
def test_a_driver_that_answers_otherwise_means_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    a_card(tmp_path, says, monkeypatch)
    assert hardware.look().device == "cpu"


@pytest.mark.parametrize(
    ("cpuinfo", "precision"),
    [
        ("processor : 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512_bf16\n", "bf16"),
        ("processor : 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512_bf16\n", "fp32"),
        ("processor : 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", "bf16"),
        ("processor : 0\nFeatures\t: fp asimd bf16\n", "bf16"),
        ("processor : 0\nflags\t\t: fpu avx2 avx512f\n", "fp32"),
        ("", "fp32"),
    ],
)
def test_a_cpu_computes_in_bf16_only_where_it_is_faster_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, precision: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.look().precision == precision


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("100000000 100000", None)]
)
def test_a_container_has_the_cores_that_its_share_of_time_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int | None
) -> None:
    whole = hardware.cores()
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    assert hardware.cores() == (expected or whole)


def test_a_container_has_no_more_memory_than_it_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("4000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 2000000\n")
    assert hardware.free_memory_bytes() == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.free_memory_bytes() > 4_000_000


def test_a_system_that_does_not_say_has_room_for_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "none")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.look().free_bytes > 2**60


def test_planning_and_training_choose_alike_on_this_machine() -> None:
    import torch

    words = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
    chosen, seen = device.choose(), hardware.look()
    assert (chosen.name, words[chosen.dtype]) == (seen.device, seen.precision)
    assert seen.free_bytes == pytest.approx(device.free_memory_bytes(chosen), rel=0.2)
