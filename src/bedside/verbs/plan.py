"""`bedside plan`: parameters, memory by part, disk, tokens, steps and time of a run, before anything is spent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedside.files import read_json
from bedside.models import known as bases
from bedside.plan import estimate, work
from bedside.plan import rows as lengths
from bedside.plan.setup import Setup
from bedside.runs import CODE, Run
from bedside.runtime import hardware
from bedside.train import adapter

NOT_OF_ROWS = {
    "recipe 'model'",
    "recipe 'prompt'",
    "recipe 'name'",
    "recipe 'evaluate.tasks'",
    "recipe 'evaluate.choice_from'",
    "tokenizer and plots",
    CODE,
}
"""Inputs of the data stage that may have changed without making its counts another run's."""


def plan(name: str, overrides: Sequence[str], calibrate: bool, runs: Path) -> dict[str, Any]:
    """What `--json` prints. Without `calibrate` neither torch nor transformers is loaded."""
    from bedside.verbs.run import prepare_run

    run = prepare_run(name, overrides, runs)
    base = bases.find(run.recipe.model)
    adapter.require_fit(run.recipe.train, base.shape)
    machine = hardware.look()
    rows = _counted(run) or lengths.estimated(run.recipe)
    setup = estimate.setup_of(run.recipe, base, machine, rows)
    speed = _measured(setup) if calibrate else _rough(setup)
    return estimate.estimate(run.recipe, base, machine, rows, setup, speed, runs)


def _counted(run: Run) -> lengths.Rows | None:
    """What the run's data stage counted, unless other rows or another seed are asked for now."""
    from bedside.verbs import data

    if not (run.path / "data" / "manifest.json").is_file():
        return None
    if not set(run.changed(data.stage(run.recipe))) <= NOT_OF_ROWS:
        return None
    return lengths.from_stats(read_json(run.folder("data") / "stats.json"), run.recipe.model.max_length)


def _measured(setup: Setup) -> estimate.Speed:
    from bedside.plan.calibrate import seconds_a_token

    return estimate.Speed(seconds_a_token(setup), "measured with the real step on a few random layers")


def _rough(setup: Setup) -> estimate.Speed | None:
    """From a matrix product of a moment; nothing is known of a card that way."""
    if setup.device != "cpu":
        return None
    seconds = work.rough_seconds(setup, 1, work.gemm_rate())
    return estimate.Speed(seconds, "rough: from one matrix product; --calibrate measures the real step in 10 s")


def in_words(result: dict[str, Any]) -> str:
    """A table for a person: what is trained, memory and disk by part, how long, whether it fits, what to change."""
    size = f"{result['trainable_parameters']:,} of {result['total_parameters']:,} parameters"
    lines = [
        f"{result['recipe']}: {result['base']} ({result['shape_source']}), {result['precision']} on {result['device']}",
        f"trained   {size} ({result['trainable_percent']:.2f} %), {_step(result)}",
        f"rows      {_number(result['rows'])}; {result['rows_source']}",
        f"steps     {_number(result['steps'])}, {_number(result['train_tokens'])} tokens",
        f"time      {_clock(result['seconds_estimate'])} ({result['seconds_source']})",
        "",
        *_table("memory", result["memory"], result["memory_gib"]),
        *_table("disk", result["disk"], result["disk_gib"]),
        "",
        _verdict(result),
        *(f"  - {line}" for line in result["advice"]),
    ]
    return "\n".join(lines)


def _step(result: dict[str, Any]) -> str:
    by_peft = f"step through transformers and peft: {result['step_reason']}"
    step = "fused step" if result["step"] == "fused" else by_peft
    return f"{step}; activations computed again" if result["checkpointing"] else step


def _table(what: str, parts: dict[str, float], total: float) -> list[str]:
    said = {"file": "file of the base, which the system takes back at need"}
    shown = [(said.get(name, name), size) for name, size in parts.items() if size >= 0.0005]
    return [f"{what:<9} {total:9.2f} GiB", *(f"          {size:9.2f}  {name}" for name, size in shown)]


def _verdict(result: dict[str, Any]) -> str:
    memory = f"{result['needed_gib']:.2f} GiB of memory needed, {result['free_memory_gib']:.1f} free"
    disk = f"{result['disk_gib']:.1f} GiB of disk, {result['free_disk_gib']:.0f} free"
    return f"{'Fits' if result['fits'] else 'DOES NOT FIT'}: {memory}; {disk}"


def _number(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
