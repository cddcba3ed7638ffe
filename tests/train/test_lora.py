"""What is trained."""

from pathlib import Path

import pytest
import torch

from bedside.errors import ModelError
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model
from bedside.train import lora

CPU = Device("cpu", torch.float32, "test")


def test_parameters_are_rank_times_in_plus_out_of_each_target(tiny_llama: Path):
    model = lora.attach(load_model(tiny_llama, CPU), TrainSection(rank=4, targets=("q_proj", "v_proj")), 1)
    trainable, total = lora.count(model)
    assert trainable == 2 * 4 * ((64 + 64) + (64 + 32))  # 2 layers; hidden 64; two key heads of 16
    assert total == trainable + load_model(tiny_llama, CPU).num_parameters()


def test_the_update_starts_at_zero_and_in_fp32(tiny_llama: Path):
    base = load_model(tiny_llama, Device("cpu", torch.bfloat16, "test"))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = base(input_ids=ids).logits
        model = lora.attach(base, TrainSection(rank=4), 1).eval()
        assert torch.equal(model(input_ids=ids).logits, before)
    assert {p.dtype for _, p in lora.trainable(model)} == {torch.float32}


@pytest.mark.parametrize("target", ["query_key_value", "self_attn", "input_layernorm", "embed_tokens", "lm_head"])
def test_a_target_that_is_no_linear_layer_is_named_with_those_there_are(tiny_llama: Path, target: str):
    with pytest.raises(ModelError, match=f"no linear layer '{target}'; it has: down_proj, .*v_proj"):
        lora.attach(load_model(tiny_llama, CPU), TrainSection(targets=(target,)), 1)


def test_the_seed_alone_decides_the_start(tiny_llama: Path):
    def first(seed: int) -> torch.Tensor:
        return lora.trainable(lora.attach(load_model(tiny_llama, CPU), TrainSection(rank=4), seed))[0][1]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_base_in_four_bits_trains_its_update_in_fp32(tiny_llama: Path):
    pytest.importorskip("bitsandbytes")
    from bedside.train.batch import Row, collate
    from bedside.train.loop import accumulate

    model = lora.attach(load_model(tiny_llama, CPU, quantise="nf4"), TrainSection(rank=4), 1)
    assert model.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    loss = accumulate(model.train(), [collate([Row("a", tuple(range(3, 20)), 5)], 2)])
    assert 0 < loss < 20
    gradients = [p.grad for name, p in lora.trainable(model) if "lora_B" in name]
    assert all(g is not None and g.dtype == torch.float32 and g.abs().sum() > 0 for g in gradients)
