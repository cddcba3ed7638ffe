"""Going on from an adapter that peft or Bedside has written."""

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from bedside import recipe_file
from bedside.errors import ModelError
from bedside.fused.packs import Row
from bedside.models import known
from bedside.models.locate import Base
from bedside.models.peft_config import UNEVEN, UNSAFE
from bedside.plan import recompute
from bedside.plan.setup import Setup
from bedside.recipe import ModelSection, TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model, quiet_peft
from bedside.train import adapter, lora
from bedside.train.checkpoint import save_adapter
from bedside.train.learner import Learner
from bedside.train.loop import mean_loss, train
from bedside.train.world import World

CPU = Device("cpu", torch.float32, "test")
ROWS = [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(10 + i)), 4) for i in range(8)]
FIRST = TrainSection(rank=6, alpha=9, targets=("q_proj", "down_proj"), lr=1e-2, warmup=0, accumulation=4, max_steps=6)


def learner_of(folder: Path, settings: TrainSection) -> Learner:
    return Learner(lora.attach(load_model(folder, CPU), settings, 1), 2, settings, max_length=64)


def planned(model: Path, folder: Path) -> Setup:
    """The setup of a training that goes on from an adapter, before there is a model."""
    recipe = recipe_file.load("starter", [f"model.base={model}", f"train.adapter={folder}"])
    return recompute.of_training(recipe, Base(model, "tiny", "").config, CPU, [(4, 6)])


def loss_of(learner: Learner) -> float:
    return mean_loss(learner, ROWS, ROWS, World())


def written_by_peft(folder: Path, model: Path, **options: Any) -> Path:
    """An adapter with random numbers in all of its tensors."""
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **options}
    )
    with quiet_peft():
        tuned = get_peft_model(load_model(model, CPU), config)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for _, parameter in lora.trainable(tuned):
            parameter.copy_(torch.rand_like(parameter) * 0.2 + 0.1)
    tuned.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An adapter of Bedside's own, and the loss of the learner that wrote it."""
    folder = tmp_path_factory.mktemp("runs") / "adapter"
    folder.mkdir()
    learner = learner_of(tiny_llama, FIRST)
    start = loss_of(learner)
    train(learner, ROWS, [], FIRST, 1, folder)
    save_adapter(folder, learner.model, "tiny")
    assert loss_of(learner) < start - 0.1
    return folder, loss_of(learner)


@pytest.fixture
def copy(trained: tuple[Path, float], tmp_path: Path) -> Path:
    """An adapter to damage."""
    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


def test_going_on_starts_at_the_adapters_loss_with_its_settings_and_says_so(
    tiny_llama: Path, tmp_path: Path, trained: tuple[Path, float], capsys: pytest.CaptureFixture[str]
):
    folder, loss = trained
    settings = TrainSection(rank=16, adapter=str(folder), lr=1e-2, warmup=0, accumulation=4, max_steps=6)
    learner = learner_of(tiny_llama, settings)
    assert "its own rank 6, alpha 9, dropout 0 on down_proj, q_proj, not the recipe's" in capsys.readouterr().err
    assert learner.path == "fused"
    assert loss_of(learner) == pytest.approx(loss, rel=1e-6)
    assert {parameter.dtype for _, parameter in learner.trained} == {torch.float32}
    train(learner, ROWS, [], settings, 1, tmp_path)
    after = loss_of(learner)
    assert after < loss - 0.1
    save_adapter(tmp_path, learner.model, "tiny")
    with quiet_peft():
        loaded = PeftModel.from_pretrained(load_model(tiny_llama, CPU), str(tmp_path))
    assert loss_of(Learner(loaded, 2, TrainSection(step="peft"), 64)) == pytest.approx(after, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, "fused"),
        ({"use_rslora": True}, "fused"),
        ({"target_modules": r".*\.(q|up)_proj"}, "fused"),
        ({"layers_to_transform": [1]}, "fused"),
        ({"rank_pattern": {"v_proj": 8}}, "peft"),
        ({"alpha_pattern": {"q_proj": 2}}, "peft"),
        ({"use_dora": True}, "peft"),
        ({"modules_to_save": ["norm"]}, "peft"),
        ({"bias": "lora_only"}, "fused"),
        ({"trainable_token_indices": [1, 2]}, "peft"),
    ],
)
def test_an_adapter_of_peft_has_the_loss_that_peft_gives_it_whatever_its_kind(
    tiny_llama: Path, tmp_path: Path, options: dict[str, Any], path: str
):
    folder = written_by_peft(tmp_path / "a", tiny_llama, **options)
    with quiet_peft():
        by_peft = PeftModel.from_pretrained(load_model(tiny_llama, CPU), str(folder))
    learner = learner_of(tiny_llama, TrainSection(adapter=str(folder)))
    assert learner.path == path
    assert planned(tiny_llama, folder).way == (learner.path, learner.reason)
    reference = loss_of(Learner(by_peft, 2, TrainSection(step="peft"), 64))
    assert loss_of(learner) == pytest.approx(reference, rel=1e-5)
    assert reference != pytest.approx(loss_of(learner_of(tiny_llama, TrainSection())), rel=1e-3)


SAME_STEP = {
    "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision",
    "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
"""Settings that say how an update began, where it stands or how large it is, and not how it is computed."""


def test_every_setting_of_pefts_lora_is_known_to_change_the_step_or_not_to():
    names = {field.name for field in fields(LoraConfig)}
    assert names - {*UNEVEN, *UNSAFE} == SAME_STEP
    assert set(UNEVEN) <= names


def test_an_adapter_in_bf16_is_trained_in_fp32(tiny_llama: Path, copy: Path):
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(copy / adapter.TENSORS).items()}
    save_file(tensors, copy / adapter.TENSORS)
    learner = learner_of(tiny_llama, TrainSection(adapter=str(copy)))
    assert {parameter.dtype for _, parameter in learner.trained} == {torch.float32}


def test_settings_in_force_are_the_adapters_where_there_is_one(tiny_llama: Path, tmp_path: Path, copy: Path):
    settings = TrainSection(rank=16, adapter=str(copy), lr=0.5)
    found = adapter.brought(settings)
    assert (found.rank, found.alpha, found.dropout, found.targets) == (6, 9.0, 0.0, ("down_proj", "q_proj"))
    assert (found.lr, found.adapter) == (0.5, None)
    assert adapter.brought(FIRST) is FIRST
    pattern = written_by_peft(tmp_path / "a", tiny_llama, target_modules=r".*\.(q|up)_proj")
    assert adapter.brought(TrainSection(adapter=str(pattern))).targets == ("q_proj", "up_proj")


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model_name_or_path": "https://example.org/model"},
        {"base_model_name_or_path": "../../../etc"},
        {"auto_mapping": {"base_model_class": "Evil", "parent_library": "evil"}},
        {"target_modules": "(([a-z.0-9_]+)+)+!", "megatron_core": "evil"},
        {"exclude_modules": "(([a-z.0-9_]+)+)+!"},
    ],
)
def test_where_an_adapter_says_it_comes_from_and_how_it_found_its_layers_is_not_followed(
    tiny_llama: Path, trained: tuple[Path, float], copy: Path, changes: dict[str, Any]
):
    _config(**changes)(copy)
    assert loss_of(learner_of(tiny_llama, TrainSection(adapter=str(copy)))) == pytest.approx(trained[1], rel=1e-6)


@pytest.mark.parametrize("begun", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_is_refused(tiny_llama: Path, tmp_path: Path, begun: str):
    """Merged into the base as it was, it would be another model than was trained."""
    folder = written_by_peft(tmp_path / "a", tiny_llama, init_lora_weights=begun)
    with pytest.raises(ModelError, match=f"began as '{begun}', which changes the base's own weights"):
        learner_of(tiny_llama, TrainSection(adapter=str(folder)))


@pytest.mark.parametrize(("options", "told"), [({}, False), ({"use_dora": True}, True)])
def test_what_cannot_be_exported_afterwards_is_told_before_it_is_trained(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], told: bool
):
    learner_of(tiny_llama, TrainSection(adapter=str(written_by_peft(tmp_path / "a", tiny_llama, **options))))
    assert ("use_dora it trains, but cannot be merged" in capsys.readouterr().err) is told


@pytest.mark.parametrize("name", [adapter.CONFIG, adapter.TENSORS])
def test_the_stage_is_made_again_when_either_file_changes(copy: Path, name: str):
    from bedside.verbs.train import stage

    plain = recipe_file.load("starter")
    tuned = recipe_file.load("starter", [f"train.adapter={copy}"])
    first = stage(tuned).outside
    assert set(first) - set(stage(plain).outside) == {f"train.adapter {copy}"}
    path = copy / name
    path.write_bytes(path.read_bytes() + b" ")
    changed = stage(tuned).outside
    path.unlink()
    gone = stage(tuned).outside
    assert len({found[f"train.adapter {copy}"] for found in (first, changed, gone)}) == 3


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _config(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        values = json.loads((folder / adapter.CONFIG).read_text())
        (folder / adapter.CONFIG).write_text(json.dumps({**values, **changes}))

    return change


def _tensors(change: Any) -> Any:
    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / adapter.TENSORS)), folder / adapter.TENSORS)

    return apply


def _one(number: float, dtype: torch.dtype = torch.float32) -> Any:
    """Puts a number in place of one of those of the last tensor."""

    def change(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors = {name: tensor.to(dtype) for name, tensor in found.items()}
        tensors[max(tensors)][1, 2] = number
        return tensors

    return _tensors(change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"is no PEFT adapter \(no adapter_config.json\); want a folder such as runs/NAME/adapter"),
        (_without(adapter.CONFIG), "is no PEFT adapter"),
        (_without(adapter.TENSORS), "has no adapter_model.safetensors; a .bin is not read"),
        (_config(peft_type="IA3"), "is an adapter of type 'IA3'; want LoRA"),
        (_config(peft_type=None), "is an adapter of type 'None'; want LoRA"),
        (_config(r=7), r"was made for another model: its .*lora_A.weight is \[6, \d+\], the base needs \[7, \d+\]"),
        (_config(r=0), r"adapter_config.json: r = '0'; want a number from 1 to 16384"),
        (_config(r=10**9), r"r = '1000000000'; want a number"),
        (_config(r="6"), r"r = '6'; want a number"),
        (_config(rank_pattern={"q_proj": 10**9}), r"r = '1000000000'; want a number"),
        (_config(lora_alpha=float("nan")), r"lora_alpha = 'nan'; want a number"),
        (_config(lora_alpha=float("inf")), r"lora_alpha = 'inf'; want a number"),
        (_config(lora_dropout=-1), r"lora_dropout = '-1'; want a number from 0 to 1"),
        (_config(megatron_config={"a": 1}, megatron_core="os"), "megatron_config is set, which is not read from a file"),
        (_config(layer_replication=[[0, 10**9]]), "layer_replication is set"),
        (_config(rank_pattern={"(.*)*x": 4}), "rank_pattern has a pattern; want names of layers"),
        (_config(modules_to_save="(a+)+$"), "modules_to_save has a pattern"),
        (_tensors(lambda found: {k: v * float("nan") for k, v in found.items()}), "holds values that are not finite"),
        (_one(float("inf")), r"adapter_model.safetensors: '.*layers.1.*q_proj.lora_B.weight' holds values that are not"),
        (_one(float("nan"), torch.bfloat16), r"'.*layers.1.*q_proj.lora_B.weight' holds values that are not finite"),
        (_tensors(lambda found: {k: v.int() for k, v in found.items()}), "is stored as I32; want F32, F16, BF16, F64"),
        (_tensors(lambda found: {k.replace("s.1.", "s.7."): v for k, v in found.items()}), "the base needs"),
        (_config(target_modules=["q_proj"]), r"its .*down_proj.lora_A.weight is \[6, 128\], the base needs none"),
        (_tensors(lambda found: dict(list(found.items())[1:])), r"lora_A.weight is none, the base needs \[6, 128\]"),
        (_tensors(lambda found: {k: v.repeat(2, 2) for k, v in found.items()}), r"is \[12, 256\], the base needs"),
        (lambda folder: (folder / adapter.TENSORS).write_bytes(b"1234567890"), "not a whole safetensors file"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit_is_told_in_a_line_before_there_is_a_model_and_when_it_is_put_on_one(
    tiny_llama: Path, copy: Path, damage: Any, message: str
):
    settings = TrainSection(adapter=str(copy))
    shape = known.find(ModelSection(base=str(tiny_llama))).shape
    adapter.require_fit(settings, shape)
    damage(copy)
    with pytest.raises(ModelError, match=message) as early:
        adapter.require_fit(settings, shape)
    with pytest.raises(ModelError, match=message) as late:
        learner_of(tiny_llama, settings)
    for caught in (early, late):
        assert "\n" not in str(caught.value)
        assert str(copy) in str(caught.value)


def test_layers_that_only_the_model_can_tell_of_are_told_when_it_is_there(tiny_llama: Path, copy: Path):
    _config(target_modules=["c_attn"])(copy)
    with pytest.raises(ModelError, match="cannot be put on this model"):
        learner_of(tiny_llama, TrainSection(adapter=str(copy)))


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": r".*\.(q|up)_proj"},
        {"layers_to_transform": [1]},
        {"rank_pattern": {"v_proj": 8}},
        {"use_dora": True},
        {"modules_to_save": ["norm"]},
        {"target_modules": ["self_attn.q_proj"]},
        {"exclude_modules": ["v_proj"]},
    ],
)
def test_an_adapter_that_training_takes_is_not_refused_beforehand(
    tiny_llama: Path, tmp_path: Path, options: dict[str, Any]
):
    settings = TrainSection(adapter=str(written_by_peft(tmp_path / "a", tiny_llama, **options)))
    adapter.require_fit(settings, known.find(ModelSection(base=str(tiny_llama))).shape)
    assert learner_of(tiny_llama, settings).trained
