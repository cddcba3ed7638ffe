"""The loss, its gradient, the schedule, and a resume that ends with the same bytes."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from bedside.errors import RunError
from bedside.recipe import TrainSection
from bedside.runtime.device import Device
from bedside.runtime.hf import load_model, quiet_peft
from bedside.train import checkpoint, loop, lora
from bedside.train.batch import Row, batches

CPU = Device("cpu", torch.float32, "test")
ROWS = [Row(str(i), tuple((i * 7 + j * 3) % 300 + 3 for j in range(8 + i)), 3 + i % 3) for i in range(12)]
SETTINGS = TrainSection(
    rank=4, alpha=8, dropout=0.1, lr=1e-2, warmup=2, accumulation=3, max_steps=6, checkpoint_every=2
)


def model_of(folder: Path, settings: TrainSection = SETTINGS) -> PeftModel:
    return lora.attach(load_model(folder, CPU), settings, seed=7)


def run(folder: Path, target: Path, settings: TrainSection = SETTINGS) -> tuple[PeftModel, list[loop.StepMetrics]]:
    target.mkdir(exist_ok=True)
    model = model_of(folder, settings)
    metrics = loop.train(model, ROWS, settings, 7, 2, target)
    checkpoint.save_adapter(target, model, "tiny")
    return model, metrics


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_the_loss_is_the_mean_over_all_trained_tokens_of_the_step(tiny_llama: Path):
    model = model_of(tiny_llama).eval()
    losses = []
    for row in ROWS[:4]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
        losses += [-float(logits[i - 1, row.ids[i]]) for i in range(row.prompt, len(row.ids))]
    with torch.no_grad():
        loss = sum(loop.summed_loss(model, batch).item() for batch in batches(ROWS[:4], 1, pad=2))
    assert loss / sum(row.trained for row in ROWS[:4]) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradient_does_not_depend_on_how_rows_are_cut_into_batches(tiny_llama: Path, size: int):
    def gradient(batch_size: int) -> tuple[float, torch.Tensor]:
        model = model_of(tiny_llama).eval()
        for _, parameter in lora.trainable(model):
            torch.nn.init.constant_(parameter, 0.01)
        loss = loop.accumulate(model, list(batches(ROWS[:8], batch_size, pad=2)))
        return loss, torch.cat([p.grad.flatten() for _, p in lora.trainable(model)])

    whole, pieces = gradient(8), gradient(size)
    assert pieces[0] == pytest.approx(whole[0], abs=1e-5)
    torch.testing.assert_close(pieces[1], whole[1], rtol=1e-4, atol=1e-6)


def test_training_lowers_the_loss_and_only_touches_the_update(tiny_llama: Path, tmp_path: Path):
    settings = SETTINGS.model_copy(update={"max_steps": 30, "dropout": 0.0})
    before = load_model(tiny_llama, CPU).state_dict()
    model, metrics = run(tiny_llama, tmp_path / "a", settings)
    assert metrics[-1].loss < metrics[0].loss - 0.5
    after = {name.replace(".base_layer", ""): value for name, value in model.base_model.model.state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_same_recipe_and_seed_give_the_same_bytes(tiny_llama: Path, tmp_path: Path):
    run(tiny_llama, tmp_path / "a")
    run(tiny_llama, tmp_path / "b")
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b")
    configs = [(tmp_path / name / "adapter_config.json").read_bytes() for name in "ab"]
    assert configs[0] == configs[1]


def test_adapter_loads_with_peft_and_speaks_the_same(tiny_llama: Path, tmp_path: Path):
    model, _ = run(tiny_llama, tmp_path / "a")
    with quiet_peft():
        loaded = PeftModel.from_pretrained(load_model(tiny_llama, CPU), str(tmp_path / "a"))
    ids = torch.tensor([ROWS[3].ids])
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_metrics_have_a_line_a_step_with_rate_norm_and_tokens(tiny_llama: Path, tmp_path: Path):
    run(tiny_llama, tmp_path / "a")
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["grad_norm"] > 0 and line["lr"] > 0 for line in lines)
    assert lines[-1]["tokens"] == sum(len(row.ids) for step in range(6) for row in loop.step_rows(ROWS, step, 3, 7))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_an_interrupted_run_ends_with_the_bytes_of_one_that_was_not(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
):
    if optimizer == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    settings = SETTINGS.model_copy(update={"optimizer": optimizer})
    run(tiny_llama, tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        steps = iter(range(4))
        real = loop.accumulate

        def stops_in_step_four(*args):
            if next(steps) == 3:
                raise KeyboardInterrupt
            return real(*args)

        patch.setattr(loop, "accumulate", stops_in_step_four)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_llama, tmp_path / "cut", settings)
    assert not (tmp_path / "cut" / "adapter_model.safetensors").exists()
    _, metrics = run(tiny_llama, tmp_path / "cut", settings)
    assert adapter_bytes(tmp_path / "cut") == adapter_bytes(tmp_path / "whole")
    assert [m.step for m in metrics] == [1, 2, 3, 4, 5, 6]


def test_a_damaged_checkpoint_is_passed_over_and_said(tiny_llama: Path, tmp_path: Path, capsys):
    run(tiny_llama, tmp_path / "a")
    newest = tmp_path / "a" / "checkpoints" / "step-0000006"
    weights = (newest / "weights.safetensors").read_bytes()
    (newest / "weights.safetensors").write_bytes(weights[:100])
    model = model_of(tiny_llama)
    optimizer = loop.make_optimizer([p for _, p in lora.trainable(model)], SETTINGS)
    assert checkpoint.restore(tmp_path / "a" / "checkpoints", model, optimizer).step == 0
    assert "damaged checkpoint" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_checkpoint(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    losses = iter([1.0, 1.0, math.nan])
    real = loop.accumulate
    monkeypatch.setattr(loop, "accumulate", lambda *args: (real(*args), next(losses))[1])
    with pytest.raises(RunError, match=r"step 3: the loss is nan; lower train\.lr"):
        run(tiny_llama, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-0000002"]


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: torch.tensor(math.inf))
    with pytest.raises(RunError, match="step 1: the gradient is inf"):
        run(tiny_llama, tmp_path / "a")


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("constant", [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_warm_up_and_fall(schedule: str, expected: list[float]):
    settings = TrainSection(lr=1.0, warmup=2, schedule=schedule)
    assert [loop.learning_rate(step, 6, settings) for step in range(6)] == pytest.approx(expected)


def test_more_warm_up_than_steps_still_reaches_the_peak():
    settings = TrainSection(lr=1.0, warmup=100)
    assert loop.learning_rate(2, 3, settings) == 1.0


@pytest.mark.parametrize(
    ("change", "steps"), [({"max_steps": 7}, 7), ({"epochs": 1}, 4), ({"epochs": 2.5}, 10), ({"accumulation": 100}, 1)]
)
def test_steps_follow_from_epochs_unless_given(change: dict, steps: int):
    settings = TrainSection(batch_size=1, accumulation=3).model_copy(update=change)
    assert loop.total_steps(settings, 12) == steps


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_loop import run, loop
real = loop.accumulate
def slow(*args):
    time.sleep(0.3)
    return real(*args)
loop.accumulate = slow
run(Path({model!r}), Path({target!r}))
"""


def test_kill_9_while_training_then_again_ends_with_the_same_bytes(tiny_llama: Path, tmp_path: Path):
    run(tiny_llama, tmp_path / "whole")
    target = tmp_path / "killed"
    code = KILLED.format(tests=str(Path(__file__).parent), model=str(tiny_llama), target=str(target))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (target / "checkpoints" / "step-0000002").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (target / "adapter_model.safetensors").exists(), "it was killed too late to prove anything"
    run(tiny_llama, target)
    assert adapter_bytes(target) == adapter_bytes(tmp_path / "whole")
