"""`bedside plan`, as a person types it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bedside import cli
from bedside.recipe_file import SHIPPED
from bedside.runtime import hardware
from tests.verbs.conftest import Place, write_recipe, write_rows

GIB = 2**30
KEYS = {
    "trainable_parameters",
    "total_parameters",
    "trainable_percent",
    "memory_gib",
    "disk_gib",
    "train_tokens",
    "steps",
    "seconds_estimate",
    "fits",
    "advice",
}
LLAMA_8B, TINY_LLAMA, SMOLLM2 = (41_943_040, 8_072_204_288), (4_505_600, 1_104_553_984), (4_884_480, 139_399_488)
PUBLISHED = {
    "deepseek-r1-8b-medical-o1": (*LLAMA_8B, 60),
    "llama3-8b-pubmedqa": (*LLAMA_8B, 60),
    "tinyllama-flashcards": (*TINY_LLAMA, 3247),
    "smollm2-medical-o1": (*SMOLLM2, 20),
    "smollm2-pubmedqa": (*SMOLLM2, 30),
    "smollm2-flashcards": (1_843_200, 136_358_208, 40),
    "starter": (*SMOLLM2, 30),
}


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.run(["plan", *arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def a_machine(monkeypatch: pytest.MonkeyPatch, free_gib: float, device: str = "cpu", disk_gib: int = 500) -> None:
    machine = hardware.Machine(device, "test", round(free_gib * GIB), "bf16", 2)  # type: ignore[arg-type]
    monkeypatch.setattr(hardware, "look", lambda: machine)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=disk_gib * GIB))


@pytest.fixture
def own(place: Place, tmp_path: Path, tiny_llama: Path) -> Place:
    """A place of the test's own."""
    write_rows(tmp_path / "rows.jsonl")
    write_recipe(tmp_path / "tiny.toml", tiny_llama, tmp_path / "rows.jsonl")
    return Place(tmp_path, tmp_path / "tiny.toml", tmp_path / "runs")


def test_every_shipped_recipe_has_its_numbers_below() -> None:
    assert set(PUBLISHED) == {path.stem for path in SHIPPED.glob("*.toml")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_recipe_is_planned_offline(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = planned(capsys, name, "--runs", str(tmp_path))
    assert set(result) >= KEYS
    assert (result["trainable_parameters"], result["total_parameters"], result["steps"]) == PUBLISHED[name]
    assert result["memory_gib"] == pytest.approx(sum(result["memory"].values()), abs=0.01)
    assert result["disk_gib"] == pytest.approx(sum(result["disk"].values()), abs=0.01)
    assert list(tmp_path.iterdir()) == []  # nothing is made


def test_the_rows_that_the_data_stage_counted_are_taken(own: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = planned(capsys, str(own.recipe), "--runs", str(own.runs))
    assert "tokens estimated" in before["rows_source"]
    assert cli.run(own.command("data")) == 0
    after = planned(capsys, str(own.recipe), "--runs", str(own.runs))
    stats = json.loads((own.runs / "tiny" / "data" / "stats.json").read_text())
    assert (after["rows"], after["rows_source"]) == (stats["splits"]["train"], "the data stage")
    mean = stats["tokens"]["whole"]["mean"]
    assert after["train_tokens"] == pytest.approx(4 * 2 * mean, rel=0.05)  # 4 steps of 2 rows
    longer = planned(capsys, str(own.recipe), "model.max_length=512", "--runs", str(own.runs))
    assert longer["rows_source"] == "the data stage"
    fewer = planned(capsys, str(own.recipe), "data.limit=10", "--runs", str(own.runs))
    assert "tokens estimated" in fewer["rows_source"]


def test_what_does_not_fit_fits_with_what_is_advised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_machine(monkeypatch, 12, "cuda")
    recipe = ["deepseek-r1-8b-medical-o1", "model.quantise=none", "train.checkpointing=off", "--runs", str(tmp_path)]
    result = planned(capsys, *recipe)
    assert not result["fits"]
    assert result["advice"]
    settings = [line.partition(":")[0].replace(" = ", "=").replace("'", "") for line in result["advice"]]
    settings = [setting for part in settings for setting in part.split(" with ")]
    assert planned(capsys, *recipe, *settings)["fits"]


def test_recomputing_is_switched_on_by_itself_where_memory_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ["smollm2-medical-o1", "model.max_length=4096", "--runs", str(tmp_path)]
    a_machine(monkeypatch, 16)
    assert not planned(capsys, *recipe)["checkpointing"]
    a_machine(monkeypatch, 2)
    assert planned(capsys, *recipe)["checkpointing"]
    assert not planned(capsys, *recipe, "train.checkpointing=off")["fits"]


def test_a_base_that_is_exported_beside_its_adapter_takes_its_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ["tinyllama-flashcards", "--runs", str(tmp_path)]
    assert "gguf base" not in planned(capsys, *recipe)["disk"]
    disk = planned(capsys, *recipe, "export.adapter=with-base", "export.quantise=['q8_0']")["disk"]
    assert disk["gguf base"] == disk["gguf q8_0"] > 1


def test_a_full_disk_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_machine(monkeypatch, 64, disk_gib=1)
    result = planned(capsys, "tinyllama-flashcards", "--runs", str(tmp_path))
    assert not result["fits"]
    assert result["fits_by"] == {"memory": True, "disk": False}
    assert "1.0 GiB free; choose another with --runs" in " ".join(result["advice"])


@pytest.mark.parametrize(
    ("override", "warning"),
    [
        ("model.max_length=4096", "beyond the model's context of 2048 tokens"),
        ("data.path=someone/else", "steps and time need the number of rows"),
        ("train.warmup=5000", "train.warmup = 5000 takes all of the "),
    ],
)
def test_what_looks_wrong_is_told(
    override: str, warning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = planned(capsys, "tinyllama-flashcards", override, "--runs", str(tmp_path))
    assert warning in " ".join(result["advice"])


def test_the_time_of_a_card_is_not_guessed_from_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_machine(monkeypatch, 24, "cuda")
    result = planned(capsys, "starter", "--runs", str(tmp_path))
    assert result["seconds_estimate"] is None
    assert "--calibrate" in result["seconds_source"]


def test_a_person_reads_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "llama3-8b-pubmedqa", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "41,943,040 of 8,072,204,288 parameters (0.52 %)" in told
    assert "\nmemory " in told
    assert "\ndisk " in told


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.base=nobody/nothing", "its shape is not known here"),
        ("train.targets=['query']", "train.targets: the model has no linear layer 'query'"),
    ],
)
def test_a_mistake_is_one_line(override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "starter", override]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def write_adapter(folder: Path, width: int = 64, **settings: Any) -> Path:
    """An update of rank 3 on the queries of the tiny Llama's two layers."""
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "lora_dropout": 0.0, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "init_lora_weights": True, **settings}))
    factors = {"A": torch.zeros(3, width), "B": torch.zeros(64, 3)}
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {name.format(layer, factor): values.clone() for layer in range(2) for factor, values in factors.items()}
    save.save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_brings_its_own_rank_and_targets(own: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_adapter(own.folder / "adapter")
    result = planned(capsys, str(own.recipe), f"train.adapter={folder}", "--runs", str(own.runs))
    assert result["trainable_parameters"] == 2 * 3 * (64 + 64)
    assert (result["step"], result["step_reason"]) == ("fused", "")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "the update has use_dora"),
        ({"rank_pattern": {"q_proj": 3}}, "the update has rank_pattern"),
        ({"modules_to_save": ["norm"]}, "the update has modules_to_save"),
    ],
)
def test_an_update_that_the_fused_step_does_not_take_is_planned_through_peft(
    own: Place, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], reason: str
) -> None:
    override = f"train.adapter={write_adapter(own.folder / 'adapter', **settings)}"
    result = planned(capsys, str(own.recipe), override, "--runs", str(own.runs))
    assert (result["step"], result["step_reason"]) == ("peft", reason)
    assert cli.run(["plan", str(own.recipe), override, "--runs", str(own.runs)]) == 0
    assert f"step through transformers and peft: {reason}" in capsys.readouterr().out
    assert cli.run(["plan", str(own.recipe), override, "train.step=fused", "--runs", str(own.runs)]) == 2
    assert f"train.step = 'fused': {reason}; use 'auto'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["plan", "train", "run"])
@pytest.mark.parametrize(
    ("width", "settings", "message"),
    [
        (None, {}, "is no PEFT adapter"),
        (64, {"r": 10**9}, "r = '1000000000'; want a number from 1 to"),
        (64, {"megatron_config": {"a": 1}}, "megatron_config is set, which is not read from a file"),
        (64, {"init_lora_weights": "pissa"}, "began as 'pissa'"),
        (48, {}, "was made for another model: its base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is [3, 48]"),
    ],
)  # fmt: skip
def test_an_adapter_that_cannot_be_gone_on_from_is_told_before_rows_are_prepared(
    own: Place, capsys: pytest.CaptureFixture[str], verb: str, width: int | None, settings: dict, message: str
) -> None:
    folder = own.folder / "adapter"
    if width is not None:
        write_adapter(folder, width, **settings)
    assert cli.run([verb, str(own.recipe), f"train.adapter={folder}", "--runs", str(own.runs)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (own.runs / "tiny").exists()
