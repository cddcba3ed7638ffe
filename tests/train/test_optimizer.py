"""Each optimiser trains, and its state, the loss scaler's with it, goes through a checkpoint without a changed bit."""

import math
from pathlib import Path

import pytest
import torch

from bedside.errors import MissingExtra
from bedside.fused.packs import Row
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model
from bedside.train import loop, lora
from bedside.train.checkpoint import Checkpoints, save_adapter
from bedside.train.learner import Learner
from bedside.train.optimizer import Updater, make_optimizer
from bedside.train.snapshot import Position
from bedside.train.world import World

ROWS = [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(8 + i)), 3 + i % 3) for i in range(8)]
SETTINGS = TrainSection(
    rank=128,  # at least 32 · 128 numbers a matrix: bitsandbytes keeps the moments of smaller ones in fp32
    alpha=128,
    dropout=0.1,
    lr=2e-3,
    warmup=0,
    accumulation=4,
    max_steps=8,
    checkpoint_every=1,
    schedule="constant",
)
EIGHT_BIT = ["adamw_8bit", "adamw_8bit_paged"]


def settings_of(**changes: object) -> TrainSection:
    return SETTINGS.model_copy(update=changes)


def learner_of(folder: Path, settings: TrainSection, dtype: torch.dtype = torch.float32) -> Learner:
    model = lora.attach(load_model(folder, Device("cpu", dtype, "test")), settings, seed=7)
    return Learner(model, 2, settings, max_length=64)


def updater_of(learner: Learner, settings: TrainSection) -> Updater:
    return Updater([parameter for _, parameter in learner.trained], settings, learner.dtype, World())


def take_steps(learner: Learner, updater: Updater, steps: range) -> list[float]:
    losses = []
    learner.train()
    for step in steps:
        torch.manual_seed(step)
        trained = sum(row.trained for row in ROWS)
        losses.append(loop.accumulate(learner, learner.batches(ROWS), trained, World(), updater.backward))
        updater.step(SETTINGS.lr)
    return losses


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("step-*/*"))}


@pytest.mark.parametrize("optimizer", ["adamw", *EIGHT_BIT])
def test_each_optimiser_lowers_the_loss(tiny_llama: Path, optimizer: str):
    if optimizer != "adamw":
        pytest.importorskip("bitsandbytes")
    settings = settings_of(optimizer=optimizer, dropout=0.0)
    learner = learner_of(tiny_llama, settings)
    losses = take_steps(learner, updater_of(learner, settings), range(8))
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("optimizer", EIGHT_BIT)
def test_moments_in_eight_bits_are_kept_in_eight_bits(tiny_llama: Path, optimizer: str):
    pytest.importorskip("bitsandbytes")
    settings = settings_of(optimizer=optimizer)
    learner = learner_of(tiny_llama, settings)
    updater = updater_of(learner, settings)
    take_steps(learner, updater, range(1))
    states = list(updater.optimizer.state.values())
    assert len(states) == len(updater.parameters)
    assert {state[moment].dtype for state in states for moment in ("state1", "state2")} == {torch.uint8}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("optimizer", ["adamw", *EIGHT_BIT])
def test_the_state_goes_through_a_checkpoint_without_a_changed_bit(
    tiny_llama: Path, tmp_path: Path, optimizer: str, dtype: torch.dtype
):
    if optimizer != "adamw":
        pytest.importorskip("bitsandbytes")
    settings = settings_of(optimizer=optimizer)
    whole = learner_of(tiny_llama, settings, dtype)
    updater = updater_of(whole, settings)
    take_steps(whole, updater, range(3))
    Checkpoints(tmp_path / "a", whole, updater, World()).save(Position(3))
    take_steps(whole, updater, range(3, 5))

    other = learner_of(tiny_llama, settings, dtype)
    restored = updater_of(other, settings)
    checkpoints = Checkpoints(tmp_path / "a", other, restored, World())
    assert checkpoints.restore().step == 3
    Checkpoints(tmp_path / "b", other, restored, World()).save(Position(3))
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    take_steps(other, restored, range(3, 5))
    assert all(torch.equal(p, q) for (_, p), (_, q) in zip(whole.trained, other.trained, strict=True))


@pytest.mark.parametrize("step", ["fused", "peft"])
def test_an_fp16_base_trains_with_a_scaled_loss_and_a_resume_ends_with_the_same_bytes(
    tiny_llama: Path, tmp_path: Path, step: str
):
    settings = settings_of(precision="fp16", step=step)

    def run(name: str, steps: int) -> list[float]:
        learner = learner_of(tiny_llama, settings, torch.float16)
        (tmp_path / name).mkdir(exist_ok=True)
        until = settings.model_copy(update={"max_steps": steps})
        metrics = loop.train(learner, ROWS, [], until, 7, tmp_path / name)
        save_adapter(tmp_path / name, learner.model, "tiny")
        return [entry.loss for entry in metrics]

    losses = run("whole", 8)
    assert losses[-1] < losses[0] - 0.3
    run("cut", 3)
    assert run("cut", 8) == losses
    adapters = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert adapters[0] == adapters[1]


def test_only_an_fp16_base_has_its_loss_scaled(tiny_llama: Path):
    scales = [
        updater_of(learner_of(tiny_llama, SETTINGS, dtype), SETTINGS).scale
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
    ]
    assert scales[:2] == [None, None]
    assert scales[2] is not None
    assert scales[2] > 1


def test_a_scaled_gradient_that_overflows_changes_nothing_but_the_scale_which_outlives_a_resume(
    tiny_llama: Path, tmp_path: Path
):
    learner = learner_of(tiny_llama, SETTINGS, torch.float16)
    updater = updater_of(learner, SETTINGS)
    take_steps(learner, updater, range(1))
    before, scale = [parameter.clone() for _, parameter in learner.trained], updater.scale
    for parameter in updater.parameters:
        parameter.grad = torch.full_like(parameter, math.inf)
    updater.backward(learner.trained[0][1].sum() * 0)  # the scaler must have scaled something
    assert not math.isfinite(updater.step(SETTINGS.lr))
    assert all(torch.equal(was, parameter) for was, (_, parameter) in zip(before, learner.trained, strict=True))
    assert updater.scale == scale / 2
    Checkpoints(tmp_path, learner, updater, World()).save(Position(2))
    fresh = learner_of(tiny_llama, SETTINGS, torch.float16)
    restored = updater_of(fresh, SETTINGS)
    Checkpoints(tmp_path, fresh, restored, World()).restore()
    assert restored.scaler.state_dict() == updater.scaler.state_dict()
    assert restored.scale == scale / 2


def test_paged_moments_on_a_cpu_are_told_to_be_plain_eight_bit_ones(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("bitsandbytes")
    parameter = torch.nn.Parameter(torch.ones(64, 64))
    made = make_optimizer([parameter], settings_of(optimizer="adamw_8bit_paged"))
    assert "nothing is paged on a CPU" in capsys.readouterr().err
    parameter.grad = torch.ones(64, 64)
    made.step()  # bitsandbytes' own optimiser would warn here, and warnings are errors
    assert not torch.equal(parameter, torch.ones(64, 64))


@pytest.mark.parametrize("optimizer", EIGHT_BIT)
def test_eight_bits_without_bitsandbytes_name_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(MissingExtra, match=rf"train.optimizer = '{optimizer}'.*bedside\[train\]"):
        make_optimizer([torch.nn.Parameter(torch.ones(2))], settings_of(optimizer=optimizer))
