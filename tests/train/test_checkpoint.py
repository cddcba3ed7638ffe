"""A checkpoint is there whole or not at all, and one that is damaged costs no more than the steps since the one before."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bedside import files
from bedside.errors import RunError
from bedside.files import read_jsonl
from bedside.train import loop, snapshot
from bedside.train.journal import METRICS, StepMetrics
from bedside.train.snapshot import Position

from .conftest import SmallDisk, adapter_bytes, checkpoints_of, settings_of, train_into

Damage = Callable[[Path], object]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, path)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGES: dict[str, Damage] = {
    "truncated weights": lambda c: (c / "weights.safetensors").write_bytes(
        (c / "weights.safetensors").read_bytes()[:99]
    ),
    "truncated moments": lambda c: (c / "optimizer.safetensors").write_bytes(b""),
    "a flipped bit": lambda c: flip_a_bit(c / "optimizer.safetensors"),
    "a missing tensor": lambda c: drop_a_tensor(c / "weights.safetensors"),
    "a missing file": lambda c: (c / "best.safetensors").unlink(),
    "an empty state": lambda c: (c / "state.json").write_text(""),
    "a state of other keys": lambda c: change(c / "state.json", rng=1),
    "another step in the state": lambda c: change(c / "state.json", position={"step": 5}),
    "no hashes": lambda c: (c / "digests.json").unlink(),
    "hashes that are a list": lambda c: (c / "digests.json").write_text("[]"),
    "nothing at all": lambda c: (shutil.rmtree(c), c.mkdir()),
}


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of which the checkpoints of the steps 4 and 6 are there."""
    folder = tmp_path_factory.mktemp("whole")
    train_into(folder, tiny_llama)
    return folder


def test_the_newest_checkpoint_and_the_one_before_are_kept(whole: Path):
    assert names(whole) == ["step-0000004", "step-0000006"]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_it_is_said_in_one_line(
    whole: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
):
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    damage(tmp_path / "checkpoints" / "step-0000006")
    capsys.readouterr()
    assert checkpoints_of(tmp_path, tiny_llama).restore().step == 4
    [said] = capsys.readouterr().err.splitlines()
    assert "step-0000006: damaged checkpoint (" in said
    assert said.endswith("going back to the one before")


def test_a_run_whose_newest_checkpoint_is_truncated_ends_with_the_same_bytes(whole: Path, tiny_llama: Path, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    newest = tmp_path / "a" / "checkpoints" / "step-0000006" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:200])
    metrics = train_into(tmp_path / "a", tiny_llama)
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(whole)
    assert [m.step for m in metrics] == [1, 2, 3, 4, 5, 6]
    assert checkpoints_of(tmp_path / "a", tiny_llama).restore().step == 6, "the damaged one was not replaced"


@pytest.mark.parametrize(
    "changes",
    [{"rank": 8}, {"targets": ("q_proj",)}, {"optimizer": "adamw_8bit"}],
    ids=["rank", "targets", "optimizer"],
)
def test_checkpoints_of_another_training_are_passed_over_to_the_beginning(
    whole: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
):
    if "optimizer" in changes:
        pytest.importorskip("bitsandbytes")
    capsys.readouterr()
    assert checkpoints_of(whole, tiny_llama, settings_of(**changes)).restore() == Position()
    told = capsys.readouterr().err.splitlines()
    assert [line.rpartition("going back ")[2] for line in told] == ["to the one before", "to the beginning"]


def test_a_checkpoint_without_a_loss_scaler_is_none_of_a_training_with_one(whole: Path, tiny_llama: Path, capsys):
    assert checkpoints_of(whole, tiny_llama, dtype=torch.float16).restore() == Position()
    assert "it is of AdamW, not of AdamW with a scaler" in capsys.readouterr().err


def test_what_is_passed_over_stays_until_there_is_something_better(whole: Path, tiny_llama: Path, tmp_path: Path):
    shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "step-0000006" / "state.json").write_text("")
    checkpoints = checkpoints_of(tmp_path, tiny_llama)
    position = checkpoints.restore()
    assert names(tmp_path) == ["step-0000004", "step-0000006"]
    checkpoints.save(replace(position, step=5))
    assert names(tmp_path) == ["step-0000004", "step-0000005"]


def test_tokens_the_best_loss_and_how_long_it_was_waited_for_are_restored(tiny_llama: Path, tmp_path: Path):
    position = Position(step=4, tokens=123, seconds=1.5, best=2.25, best_step=2, waited=3)
    checkpoints_of(tmp_path, tiny_llama).save(position)
    assert checkpoints_of(tmp_path, tiny_llama).restore() == position


def test_the_metrics_of_a_step_that_was_skipped_and_of_one_that_was_validated_are_restored(
    tiny_llama: Path, tmp_path: Path
):
    steps = [StepMetrics(1, 2.5, 1e-4, None, 9, 1.0), StepMetrics(2, 1 / 3, 0.1 + 0.2, 0.5, 18, 2.125, 2.25)]
    checkpoints_of(tmp_path, tiny_llama).save(Position(step=2), steps)
    checkpoints = checkpoints_of(tmp_path, tiny_llama)
    checkpoints.restore()
    assert checkpoints.steps == steps


JOURNALS: dict[str, Damage] = {
    "a torn last line": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "a line of garbage": lambda path: path.write_bytes(path.read_bytes().replace(b'"step": 2', b"\xff[")),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "nothing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", JOURNALS.values(), ids=JOURNALS.keys())
def test_a_run_whose_journal_is_damaged_ends_with_the_same_bytes(
    whole: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
):
    shutil.copytree(whole, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "step-0000006")
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    damage(tmp_path / "a" / METRICS)
    train_into(tmp_path / "a", tiny_llama)
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(whole)
    written = [[*read_jsonl(folder / METRICS)] for folder in (tmp_path / "a", whole)]
    assert written[0][:4] == written[1][:4]
    assert [row["loss"] for _, row in written[0]] == [row["loss"] for _, row in written[1]]
    mended = [line for line in capsys.readouterr().err.splitlines() if "mended from the checkpoint" in line]
    assert len(mended) == (damage is not JOURNALS["a torn last line"])  # that one is computed again


@pytest.mark.parametrize(("losses", "best", "waited"), [([3.0, 2.0, 2.5, 2.0], 2.0, 2), ([3.0], 3.0, 0)])
def test_only_a_smaller_validation_loss_is_the_best(tiny_llama: Path, tmp_path: Path, losses, best: float, waited: int):
    checkpoints = checkpoints_of(tmp_path, tiny_llama)
    position = Position()
    for loss in losses:
        position = checkpoints.judge(replace(position, step=position.step + 1), loss, remember=True)
    assert (position.best, position.best_step, position.waited) == (best, losses.index(best) + 1, waited)


def test_the_best_weights_outlive_a_kill(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    losses = {2: 3.0, 4: 2.0, 6: 9.0}  # step 4 is the best, and only its checkpoint remembers it after the kill

    def validation(learner, mine, rows, world) -> float:
        return losses[next(steps)]

    monkeypatch.setattr(loop, "mean_loss", validation)
    settings = settings_of(validate_every=2, max_steps=6)
    steps = iter([2, 4, 6])
    train_into(tmp_path / "whole", tiny_llama, settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-0000006")
    (tmp_path / "cut" / "adapter_model.safetensors").unlink()
    steps = iter([6])
    train_into(tmp_path / "cut", tiny_llama, settings)
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")
    assert checkpoints_of(tmp_path / "whole", tiny_llama).restore().best_step == 4


def test_a_full_disk_is_told_and_leaves_the_checkpoint_before(small_disk: SmallDisk, tiny_llama: Path):
    checkpoints = checkpoints_of(small_disk.folder, tiny_llama)
    checkpoints.save(Position(step=2))
    small_disk.fill(leave=20_000)
    with pytest.raises(RunError, match="the disk is full; free some space and run the same command again"):
        checkpoints.save(Position(step=4))
    assert names(small_disk.folder) == ["step-0000002"]
    assert checkpoints_of(small_disk.folder, tiny_llama).restore().step == 2
    small_disk.free()
    checkpoints.save(Position(step=4))
    assert checkpoints_of(small_disk.folder, tiny_llama).restore().step == 4


@pytest.mark.parametrize("leave", [0, 4096, 40_000, 150_000])
def test_a_run_that_a_full_disk_stopped_goes_on_to_the_same_bytes(
    small_disk: SmallDisk, whole: Path, tiny_llama: Path, leave: int
):
    target = small_disk.folder / "run"
    filled = []

    def fill_after_three(step) -> None:
        if step.step == 3:
            filled.append(small_disk.fill(leave))

    with pytest.raises(RunError, match="the disk is full"):
        train_into(target, tiny_llama, watch=fill_after_three)
    assert filled
    assert set(names(target)) <= {"step-0000002", "step-0000004"}
    small_disk.free()
    metrics = train_into(target, tiny_llama)
    assert adapter_bytes(target) == adapter_bytes(whole)
    assert [m.step for m in metrics] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("writer", ["save_file", "write_json", "tree_digests"])
def test_what_was_being_written_when_the_power_went_is_no_checkpoint(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
):
    checkpoints = checkpoints_of(tmp_path, tiny_llama)
    checkpoints.save(Position(step=2))
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, writer, _stop)
        patch.setattr(files.shutil, "rmtree", lambda *args, **options: None)  # no tidying up after a power cut
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(Position(step=4))
    assert ".step-0000004.partial" in names(tmp_path)
    assert checkpoints_of(tmp_path, tiny_llama).restore().step == 2
    checkpoints.save(Position(step=4))
    assert names(tmp_path) == ["step-0000002", "step-0000004"]


def _stop(*args: object) -> None:
    raise KeyboardInterrupt
