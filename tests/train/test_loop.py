"""The loss, its gradient, the schedule, and a resume that ends with the same bytes."""

import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from bedside.errors import CheckFailed, RunError
from bedside.recipe import TrainSection
from bedside.runtime import hardware
from bedside.runtime.hf import load_model, quiet_peft
from bedside.train import loop, schedule
from bedside.train.batch import batches, step_rows
from bedside.train.checkpoint import save_adapter
from bedside.train.learner import summed_loss
from bedside.train.world import World

from .conftest import CPU, ROWS, adapter_bytes, learner_of, settings_of, train_into, without_time


def test_the_loss_is_the_mean_over_all_trained_tokens_of_the_step(tiny_llama: Path):
    model = learner_of(tiny_llama).model.eval()
    losses = []
    for row in ROWS[:4]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
        losses += [-float(logits[i - 1, row.ids[i]]) for i in range(row.prompt, len(row.ids))]
    with torch.no_grad():
        loss = sum(summed_loss(model, batch).item() for batch in batches(ROWS[:4], 1, pad=2))
    assert loss / sum(row.trained for row in ROWS[:4]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("path", ["fused", "peft"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradient_does_not_depend_on_how_rows_are_cut_into_batches(tiny_llama: Path, size: int, path: str):
    def gradient(batch_size: int) -> tuple[float, torch.Tensor]:
        learner = learner_of(tiny_llama, settings_of(batch_size=batch_size, step=path)).eval()
        for _, parameter in learner.trained:
            torch.nn.init.constant_(parameter, 0.01)
        trained = sum(row.trained for row in ROWS[:8])
        loss = loop.accumulate(learner, learner.batches(ROWS[:8]), trained, World())
        return loss, torch.cat([p.grad.flatten() for _, p in learner.trained])

    whole, pieces = gradient(8), gradient(size)
    assert pieces[0] == pytest.approx(whole[0], abs=1e-5)
    torch.testing.assert_close(pieces[1], whole[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", ["fused", "peft"])
def test_batches_and_accumulation_of_one_product_train_alike(tiny_llama: Path, tmp_path: Path, path: str):
    def losses(batch_size: int, accumulation: int) -> list[float]:
        changes = {"batch_size": batch_size, "accumulation": accumulation, "step": path, "dropout": 0.0, "lr": 1e-3}
        metrics = train_into(tmp_path / str(batch_size), tiny_llama, settings_of(max_steps=5, **changes))
        return [value for step in metrics for value in (step.loss, step.validation_loss) if value is not None]

    whole = losses(8, 1)
    assert len(whole) == 6
    assert losses(4, 2) == pytest.approx(whole, abs=1e-5)
    assert losses(1, 8) == pytest.approx(whole, abs=1e-5)


def test_freed_memory_is_returned_every_ten_steps_and_at_the_end(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after: list[int] = []
    settings = settings_of(max_steps=12)
    monkeypatch.setattr(loop, "trim_heap", lambda: after.append(len(seen)))
    seen: list[int] = []
    loop.train(
        learner_of(tiny_llama, settings), ROWS, [], settings, 7, tmp_path, watch=lambda one: seen.append(one.step)
    )
    assert after == [10, 12]


def test_training_lowers_the_loss_and_only_touches_the_update(tiny_llama: Path, tmp_path: Path):
    settings = settings_of(max_steps=30, dropout=0.0, keep="last")
    before = load_model(tiny_llama, CPU).state_dict()
    learner = learner_of(tiny_llama, settings)
    metrics = loop.train(learner, ROWS, [], settings, 7, tmp_path)
    assert metrics[-1].loss < metrics[0].loss - 0.5
    trained = learner.model.base_model.model.state_dict()
    after = {name.replace(".base_layer", ""): value for name, value in trained.items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_same_recipe_and_seed_give_the_same_bytes(tiny_llama: Path, tmp_path: Path):
    train_into(tmp_path / "a", tiny_llama)
    train_into(tmp_path / "b", tiny_llama)
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b")
    configs = [(tmp_path / name / "adapter_config.json").read_bytes() for name in "ab"]
    assert configs[0] == configs[1]


def test_adapter_loads_with_peft_and_speaks_the_same(tiny_llama: Path, tmp_path: Path):
    learner = learner_of(tiny_llama)
    loop.train(learner, ROWS, [], settings_of(), 7, tmp_path)
    save_adapter(tmp_path, learner.model, "tiny")
    with quiet_peft():
        loaded = PeftModel.from_pretrained(load_model(tiny_llama, CPU), str(tmp_path))
    ids = torch.tensor([ROWS[3].ids])
    with torch.no_grad():
        told = [model.eval()(input_ids=ids).logits for model in (loaded, learner.model)]
    torch.testing.assert_close(*told)


def test_metrics_have_a_line_a_step_with_rate_norm_and_tokens(tiny_llama: Path, tmp_path: Path):
    train_into(tmp_path / "a", tiny_llama)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["grad_norm"] > 0 and line["lr"] > 0 for line in lines)
    assert lines[-1]["tokens"] == sum(len(row.ids) for step in range(6) for row in step_rows(ROWS, step, 3, 7))


def stop_in(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Makes the computation of a step, counted from the next one, raise what Ctrl-C does."""
    steps, real = iter(range(1, step + 1)), loop.accumulate

    def accumulate(*args: Any) -> float:
        if next(steps) == step:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "accumulate", accumulate)


def cut(target: Path, model: Path, settings: TrainSection, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train_into(target, model, settings)
    assert not (target / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(("path", "dropout"), [("fused", 0.1), ("fused", 0.0), ("peft", 0.1)])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_an_interrupted_run_ends_as_one_that_was_not(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, path: str, dropout: float
):
    """Without dropout, on two cores, the fused step computes in two lanes."""
    if optimizer == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    settings = settings_of(
        optimizer=optimizer, step=path, dropout=dropout, rank=64, validate_every=1
    )  # 64 · 64: 8 bits
    whole = train_into(tmp_path / "whole", tiny_llama, settings)
    cut(tmp_path / "cut", tiny_llama, settings, step=4)
    metrics = train_into(tmp_path / "cut", tiny_llama, settings)
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")
    assert without_time(metrics) == without_time(whole)


def test_a_run_that_lost_patience_loses_it_in_the_same_step_after_a_resume(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = [3.0, 2.0, 2.5, 2.1, 2.2, 1.0]
    monkeypatch.setattr(loop, "mean_loss", lambda *args: next(held))
    settings = settings_of(validate_every=1, patience=3, max_steps=6, checkpoint_every=1)
    held = iter(losses)
    whole = train_into(tmp_path / "whole", tiny_llama, settings)
    assert len(whole) == 5
    held = iter(losses)
    cut(tmp_path / "cut", tiny_llama, settings, step=4)
    held = iter(losses[3:])
    assert without_time(train_into(tmp_path / "cut", tiny_llama, settings)) == without_time(whole)
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")


def test_the_adapter_is_the_update_of_the_smallest_validation_loss_unless_the_last_is_asked_for(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "mean_loss", lambda *args: next(held))
    for name, keep, steps in (("best", "best", 4), ("last", "last", 4), ("two", "last", 2)):
        held = iter([3.0, 1.0, 2.0, 2.0])
        settings = settings_of(keep=keep, max_steps=steps, schedule="constant", warmup=0, validate_every=1)
        train_into(tmp_path / name, tiny_llama, settings)
    assert adapter_bytes(tmp_path / "best") == adapter_bytes(tmp_path / "two") != adapter_bytes(tmp_path / "last")


def losses_are(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Lets the steps have these losses; their gradients stay what they are."""
    told, real = iter(losses), loop.accumulate
    monkeypatch.setattr(loop, "accumulate", lambda *args: (real(*args), next(told))[1])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_the_step_its_rows_and_a_hint(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float
):
    losses_are(monkeypatch, 1.0, 1.0, loss)
    with pytest.raises(RunError) as caught:
        train_into(tmp_path / "a", tiny_llama)
    rows = ", ".join(row.id for row in step_rows(ROWS, 2, 3, 7))
    assert str(caught.value).startswith(f"step 3: the loss is {loss}; lower train.lr")
    assert f"its rows: {rows};" in str(caught.value)
    assert [path.name for path in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-0000002"]


def test_a_validation_loss_that_is_no_number_is_told_and_never_the_best(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(World, "total", lambda self, value: math.nan if value > 100 else value)  # 18 held-out tokens
    with pytest.raises(RunError, match="the loss on the validation rows is nan"):
        train_into(tmp_path / "a", tiny_llama, settings_of(validate_every=1))


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: torch.tensor(math.inf))
    learner = learner_of(tiny_llama)
    before = [parameter.detach().clone() for _, parameter in learner.trained]
    with pytest.raises(RunError, match="step 1: the gradient is inf"):
        loop.train(learner, ROWS, [], settings_of(), 7, tmp_path)
    assert all(torch.equal(p, old) for (_, p), old in zip(learner.trained, before, strict=True))


def test_an_explosion_stops_and_the_checkpoint_before_it_is_the_newest(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses_are(monkeypatch, 6.0, 5.0, 30.0, 31.0, 32.0)
    with pytest.raises(RunError, match=r"step 5: the loss explodes: 32\.00 nats a token"):
        train_into(tmp_path / "a", tiny_llama, settings_of(checkpoint_every=1))
    assert sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir()) == ["step-0000001", "step-0000002"]


def test_a_first_loss_worse_than_guessing_is_refused_where_that_is_asked_for(tiny_llama: Path, tmp_path: Path):
    with pytest.raises(CheckFailed, match=r"the first loss is .* lint\.allow = \['first-loss'\]"):
        train_into(tmp_path / "a", tiny_llama, refuse_first_loss=True)


def test_ctrl_c_finishes_the_step_and_the_run_goes_on_from_there(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    train_into(tmp_path / "whole", tiny_llama)

    def press(step: Any) -> None:
        if step.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_into(tmp_path / "cut", tiny_llama, watch=press)
    assert "stopping after this step, with a checkpoint" in capsys.readouterr().err
    assert (tmp_path / "cut" / "checkpoints" / "step-0000003").is_dir()
    assert len(train_into(tmp_path / "cut", tiny_llama)) == 6
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")


def test_training_in_a_thread_is_the_same(tiny_llama: Path, tmp_path: Path):
    train_into(tmp_path / "main", tiny_llama)
    thread = threading.Thread(target=train_into, args=(tmp_path / "thread", tiny_llama))
    thread.start()
    thread.join()
    assert adapter_bytes(tmp_path / "thread") == adapter_bytes(tmp_path / "main")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("constant", [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_warm_up_and_fall(shape: str, expected: list[float]):
    settings = TrainSection(lr=1.0, warmup=2, schedule=shape)
    assert [schedule.learning_rate(step, 6, settings) for step in range(6)] == pytest.approx(expected)


def test_more_warm_up_than_steps_still_reaches_the_peak():
    settings = TrainSection(lr=1.0, warmup=100)
    assert schedule.learning_rate(2, 3, settings) == 1.0


@pytest.mark.parametrize(("warmup", "told"), [(0, False), (4, False), (5, True), (6, True), (100, True)])
def test_a_learning_rate_that_only_rises_is_told(warmup: int, told: bool):
    settings = TrainSection(lr=1.0, warmup=warmup)
    rates = [schedule.learning_rate(step, 6, settings) for step in range(6)]
    assert (max(rates) == rates[-1]) == told
    assert (schedule.only_rises(settings, 6) is not None) == told
    assert schedule.only_rises(settings, 1) is None, "a single step has the full rate"
    assert schedule.only_rises(settings, 0) is None


@pytest.mark.parametrize(
    ("change", "steps"), [({"max_steps": 7}, 7), ({"epochs": 1}, 4), ({"epochs": 2.5}, 10), ({"accumulation": 100}, 1)]
)
def test_steps_follow_from_epochs_unless_given(change: dict, steps: int):
    settings = TrainSection(batch_size=1, accumulation=3).model_copy(update=change)
    assert schedule.total_steps(settings, 12) == steps
