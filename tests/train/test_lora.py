"""What is trained."""

import importlib.util
from pathlib import Path
from typing import Literal

import pytest
import torch
from peft import PeftModel

from bedside.errors import MissingExtra, ModelError
from bedside.fused.packs import Row
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model, quiet_peft
from bedside.train import lora
from bedside.train.checkpoint import save_adapter
from bedside.train.learner import Learner
from bedside.train.loop import accumulate, mean_loss, train
from bedside.train.world import World

Quantise = Literal["none", "nf4"]
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


def rows_of(count: int) -> list[Row]:
    return [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(12 + i)), 4) for i in range(count)]


def learner_of(
    folder: Path, settings: TrainSection, quantise: Quantise = "none", recompute: bool = False, device: Device = CPU
) -> Learner:
    model = lora.attach(load_model(folder, device, quantise=quantise), settings, 1)
    learner = Learner(model, 2, settings, max_length=64, recompute=recompute).train()
    with torch.no_grad():
        for name, parameter in learner.trained:
            if "lora_B" in name:  # at zero, most gradients are zero, too
                parameter.fill_(0.02)
    return learner


def loss_and_gradient(learner: Learner) -> tuple[float, torch.Tensor]:
    for _, parameter in learner.trained:
        parameter.grad = None
    torch.manual_seed(0)
    rows = rows_of(4)
    loss = accumulate(learner, learner.batches(rows), sum(row.trained for row in rows), World())
    return loss, torch.cat([parameter.grad.flatten() for _, parameter in learner.trained])


def bytes_kept(learner: Learner) -> int:
    """What autograd keeps of one batch, the model's own tensors left out."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in learner.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = learner(next(learner.batches(rows_of(1))))
    assert loss.requires_grad
    return sum(size for place, size in kept.items() if place not in own)


@pytest.mark.parametrize(("step", "quantise"), [("fused", "none"), ("peft", "none"), ("peft", "nf4")])
def test_computing_activations_again_keeps_less_and_gives_the_same_gradient(
    tiny_llama: Path, step: str, quantise: Quantise
):
    if quantise == "nf4":
        pytest.importorskip("bitsandbytes")
    settings = TrainSection(rank=4, dropout=0.2, step=step)
    kept, again = (learner_of(tiny_llama, settings, quantise, recompute) for recompute in (False, True))
    assert kept.path == again.path == step
    assert "computed again" in again.in_words
    assert "computed again" not in kept.in_words
    whole, repeated = loss_and_gradient(kept), loss_and_gradient(again)
    assert whole[1].abs().sum() > 0
    assert whole[0] == repeated[0]
    assert torch.equal(whole[1], repeated[1])
    assert bytes_kept(again) < 0.6 * bytes_kept(kept)


def test_a_base_in_four_bits_trains_its_update_in_fp32_into_a_plain_adapter(tiny_llama: Path, tmp_path: Path):
    pytest.importorskip("bitsandbytes")
    settings = TrainSection(rank=4, lr=1e-2, warmup=0, accumulation=4, max_steps=12)
    learner = Learner(lora.attach(load_model(tiny_llama, CPU, quantise="nf4"), settings, 1), 2, settings, 64)
    linear = learner.model.base_model.model.model.layers[0].mlp.up_proj.base_layer
    assert linear.weight.dtype == torch.uint8
    assert linear.weight.quant_state.nested, "the scales are quantised, too"
    assert learner.path == "peft"
    assert {parameter.dtype for _, parameter in learner.trained} == {torch.float32}
    metrics = train(learner, rows_of(8), [], settings, 1, tmp_path)
    assert metrics[-1].loss < metrics[0].loss - 0.5
    save_adapter(tmp_path, learner.model, "tiny")
    with quiet_peft():
        loaded = PeftModel.from_pretrained(load_model(tiny_llama, CPU, quantise="nf4"), str(tmp_path)).eval()
        on_whole_base = PeftModel.from_pretrained(load_model(tiny_llama, CPU), str(tmp_path)).eval()
    ids = torch.tensor([rows_of(1)[0].ids])
    with torch.no_grad():
        torch.testing.assert_close(loaded(input_ids=ids).logits, learner.model.eval()(input_ids=ids).logits)
        assert on_whole_base(input_ids=ids).logits.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_stands_beside_the_four_bits_stays_in_the_devices_type(tiny_llama: Path, dtype: torch.dtype):
    pytest.importorskip("bitsandbytes")
    learner = learner_of(tiny_llama, TrainSection(rank=4), "nf4", device=Device("cpu", dtype, "test"))
    assert learner.dtype == dtype
    assert learner.model.get_base_model().model.embed_tokens.weight.dtype == dtype
    loss, gradient = loss_and_gradient(learner)
    assert 0 < loss < 20
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_four_bits_pass_gradients_on_after_a_validation_where_bitsandbytes_would_pack_them_for_inference(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
):
    modules = pytest.importorskip("bitsandbytes.nn.modules")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)
    learner = learner_of(tiny_llama, TrainSection(rank=4), "nf4")
    before = loss_and_gradient(learner)
    mean_loss(learner, rows_of(2), rows_of(2), World())
    learner.train()
    after = loss_and_gradient(learner)
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])


def test_four_bits_without_bitsandbytes_name_the_line_that_installs_it(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name))
    with pytest.raises(MissingExtra, match=r"model.quantise = 'nf4'.*bedside\[train\]"):
        load_model(tiny_llama, CPU, quantise="nf4")
