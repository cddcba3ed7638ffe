import os

import pytest
import torch

from bedside.runtime import device


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("precision", "able", "dtype", "slow"),
    [
        ("bf16", {"avx512_bf16": True}, torch.bfloat16, False),
        ("bf16", {"avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16, True),
        ("bf16", {}, torch.bfloat16, True),
        ("fp16", {"avx512_fp16": True}, torch.float16, False),
        ("fp16", {"avx512_bf16": True}, torch.float16, True),
        ("fp32", {}, torch.float32, False),
    ],
)
@pytest.mark.usefixtures("no_cuda")
def test_the_recipes_precision_is_taken_at_its_word_and_told_if_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, precision: device.Precision, able: dict[str, bool], dtype: torch.dtype, slow: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    found = device.choose(precision)
    assert (found.dtype, found.precision) == (dtype, precision)
    assert found.reason.startswith("as the recipe says")
    assert ("slow" in found.reason) is slow


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({}, torch.float32),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, torch.bfloat16),
        ({"avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.float32),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16),
        ({"arm_bf16": True}, torch.bfloat16),
    ],
)
@pytest.mark.usefixtures("no_cuda")
def test_bf16_is_chosen_where_the_processor_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    found = device.choose()
    assert (found.name, found.dtype) == ("cpu", dtype)
    assert "bf16" in found.reason


@pytest.mark.parametrize(
    ("capability", "dtype", "reason"),
    [
        ((7, 0), torch.float16, "the card has no bf16; training scales its loss"),
        ((7, 5), torch.float16, "the card has no bf16; training scales its loss"),
        ((8, 0), torch.bfloat16, "the hardware computes in bf16"),
        ((12, 0), torch.bfloat16, "the hardware computes in bf16"),
    ],
)
def test_a_card_comes_before_the_processor_and_takes_fp16_where_it_has_no_bf16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    found = device.choose()
    assert (found.name, found.dtype) == ("cuda", dtype)
    assert reason in found.in_words
    asked = device.choose("fp16")
    assert (asked.dtype, asked.reason) == (torch.float16, "as the recipe says")


def test_every_core_that_the_process_may_use_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    device.use_all_cores()
    assert asked == [3]
