"""Kills a training with `kill -9` at random instants of its whole life, and compares what it ends with.

    python benchmarks/kill.py [--kills 50] [--seed 1]

A tiny random Llama is trained by `bedside train` on the starter rows, with validation and the best update kept: with
AdamW and dropout, and with AdamW's 8-bit kin in two lanes side by side, by turns. Each run is killed, in one of three
cases twice, and the same command given again until it is done. Adapter, metrics and figures must then be those of a run
that nobody disturbed, to the byte; figures of time aside. Half of the instants are drawn evenly over the run's time,
the others evenly over what a run does, so that short phases are hit, too. Exit status 1 if one run differs.

Each life is a fork of this process, which has imported torch once; it computes nothing itself, for threads are lost in
a fork.
"""

import argparse
import functools
import inspect
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tiny import make_model

WAYS = {"adamw": ("train.dropout=0.1",), "adamw_8bit": ("train.dropout=0", "train.batch_size=2")}
"""Optimisers, and how each trains: with dropout in one lane, or without it in two."""
OF_TIME = ("seconds", "tokens_per_s", "peak_memory_gib")
POLL_S = 0.0005
RECIPE = """
name = "kill"
[model]
base = "{model}"
max_length = 512
[data]
source = "starter"
limit = 80
[prompt]
reasoning = "none"
[train]
rank = 64            # bitsandbytes keeps smaller tensors in 32 bits
lr = 1e-2
accumulation = 2
max_steps = 12
checkpoint_every = 2
validate_every = 3
validate_rows = 4
[evaluate]
tasks = ["likelihood"]
"""


@dataclass(frozen=True)
class Mark:
    """What a run began to do, in which step, and when."""

    time_s: float
    phase: str
    step: int


@dataclass(frozen=True)
class Instant:
    """So many seconds after a run's `mark`-th mark."""

    mark: int
    delay_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", TOKENIZERS_PARALLELISM="false")
    import_all()
    draw, started = random.Random(arguments.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        reap(fork(lambda: prepare(place), place / "prepare.log"), place / "prepare.log")
        whole = {optimizer: undisturbed(place, optimizer) for optimizer in WAYS}
        done = same = 0
        while done < arguments.kills:
            optimizer = list(WAYS)[done % len(WAYS)]
            expected, marks = whole[optimizer]
            runs = fresh(place, "killed")
            hits = kill_until_done(runs, optimizer, instants(marks, draw, evenly_in_time=done % 4 < 2))
            if hits:  # else it was done before its time had come
                difference = differing(outcome(runs), expected)
                done, same = done + 1, same + (not difference)
                print(f"{done:3} {optimizer:<10} {'; '.join(hits):<72} {difference or 'identical'}", flush=True)
            shutil.rmtree(runs)
    print(f"{same} of {done} identical ({time.monotonic() - started:.0f} s)")
    return same < done


def import_all() -> None:
    """What each life would else spend seconds on."""
    import bitsandbytes
    import peft
    import torch
    import transformers.models.llama.modeling_llama

    from bedside import cli
    from bedside.train import loop
    from bedside.verbs import lint, train

    del bitsandbytes, peft, torch, transformers, cli, loop, lint, train


def prepare(place: Path) -> int:
    """Model, recipe and the data stage, which all runs share."""
    from bedside import cli

    make_model(place / "model")
    (place / "kill.toml").write_text(RECIPE.format(model=place / "model"), encoding="utf-8")
    return cli.run(["data", str(place / "kill.toml"), "--runs", str(place / "data")])


def undisturbed(place: Path, optimizer: str) -> tuple[dict[str, Any], list[Mark]]:
    """What a whole run ends with, and its marks."""
    runs = fresh(place, f"whole-{optimizer}")
    reap(life(runs, optimizer), runs / "log")
    return outcome(runs), marks_of(runs)


def fresh(place: Path, name: str) -> Path:
    """A folder of runs in which only the data stage is done."""
    shutil.copytree(place / "data", place / name)
    return place / name


def life(runs: Path, optimizer: str) -> int:
    """Starts the command anew; returns the process."""
    (runs / "marks").unlink(missing_ok=True)
    command = ["train", str(runs.parent / "kill.toml"), f"train.optimizer={optimizer}", *WAYS[optimizer]]
    threads = 2 if "train.dropout=0" in WAYS[optimizer] else 1
    return fork(lambda: observed([*command, "--runs", str(runs)], runs / "marks", threads), runs / "log")


def fork(work: Callable[[], int], log: Path) -> int:
    """Runs work in a child, whose words go to a file; returns its process id."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        status = work()
    except BaseException:  # noqa: BLE001 — whatever it is, this process must not go on as the parent would
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def observed(command: list[str], path: Path, threads: int) -> int:
    """Runs a command on so many cores, and writes a line to `path` whenever it begins or ends something."""
    import torch

    from bedside import cli
    from bedside.runs import Run
    from bedside.runtime import hf
    from bedside.train import checkpoint, journal, loop

    hf.use_all_cores = lambda: torch.set_num_threads(threads)
    marks = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    step, phases = 0, ["elsewhere"]

    def mark() -> None:
        os.write(marks, f"{time.monotonic()} {step} {phases[-1]}\n".encode())

    def tell(owner: Any, name: str, phase: str) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def outer(*args: Any, **options: Any) -> Any:
            nonlocal step
            phases.append(phase)
            mark()
            try:
                result = inner(*args, **options)
            finally:
                phases.pop()
            if phase in ("restore", "journal"):
                step = result.step if phase == "restore" else args[1].step
            mark()
            return result

        is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
        setattr(owner, name, staticmethod(outer) if is_static else outer)

    mark()
    tell(hf, "load_model", "loading the model")
    tell(checkpoint.Checkpoints, "restore", "restore")
    tell(loop, "train", "the loop")
    tell(loop, "accumulate", "forward and backward")
    tell(loop.Updater, "step", "the update")
    tell(loop, "mean_loss", "validation")
    tell(journal.Journal, "add", "journal")
    tell(checkpoint.Checkpoints, "save", "writing a checkpoint")
    tell(checkpoint, "save_adapter", "writing the adapter")
    tell(shutil, "rmtree", "tidying up")
    tell(Run, "_seal", "sealing the stage")
    tell(Run, "_rename", "renaming the stage")
    return cli.run(command)


def marks_of(runs: Path) -> list[Mark]:
    """The whole lines: the last may be read while it is being written."""
    path = runs / "marks"
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n") if path.exists() else ("", "", "")
    lines = whole.splitlines()
    return [Mark(float(moment), phase, int(step)) for moment, step, phase in (line.split(" ", 2) for line in lines)]


def instants(marks: list[Mark], draw: random.Random, evenly_in_time: bool) -> list[Instant]:
    """When to kill: always the first life, and in one of three cases the second."""
    spans = [later.time_s - mark.time_s for mark, later in pairwise(marks)]

    def in_time() -> Instant:
        [number] = draw.choices(range(len(spans)), spans)
        return Instant(number, draw.uniform(0, spans[number]))

    def in_phases() -> Instant:
        phase = draw.choice(sorted({mark.phase for mark in marks[:-1]}))
        number = draw.choice([number for number, mark in enumerate(marks[:-1]) if mark.phase == phase])
        return Instant(number, draw.uniform(0, spans[number]))

    again = [in_time()] if draw.random() < 1 / 3 else []
    return [in_time() if evenly_in_time else in_phases(), *again]


def kill_until_done(runs: Path, optimizer: str, planned: list[Instant]) -> list[str]:
    """Kills a life at each instant, lets the last one end; tells where each was hit, and whence the last one began."""
    hits = []
    for instant in planned:
        process = life(runs, optimizer)
        if kill_at(process, runs, instant):
            last = marks_of(runs)[-1]
            hits.append(f"{last.phase} after step {last.step}")
    reap(life(runs, optimizer), runs / "log")
    begun = [later.step for mark, later in pairwise(marks_of(runs)) if mark.phase == "restore"]
    return [*hits, f"on from {begun[0]}" if begun else "trained already"] if hits else []


def kill_at(process: int, runs: Path, instant: Instant) -> bool:
    """Whether the process was still alive at the instant."""
    while len(marks_of(runs)) <= instant.mark:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(POLL_S)
    time.sleep(instant.delay_s)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def reap(process: int, log: Path) -> None:
    """Waits for a life that nobody ends; if it fails, its words are shown."""
    _, status = os.waitpid(process, 0)
    if status:
        sys.exit(f"{log.read_text(encoding='utf-8')}\nended with status {os.waitstatus_to_exitcode(status)}")


def outcome(runs: Path) -> dict[str, Any]:
    """All that a finished adapter stage holds but figures of time, by name."""
    folder = runs / "kill" / "adapter"
    metrics = (json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    figures = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    return {
        "files": sorted(path.name for path in folder.iterdir()),
        "adapter": (folder / "adapter_model.safetensors").read_bytes(),
        "adapter_config": (folder / "adapter_config.json").read_bytes(),
        "metrics": [{name: value for name, value in row.items() if name not in OF_TIME} for row in metrics],
        "train.json": {name: value for name, value in figures.items() if name not in OF_TIME},
        "damaged checkpoints": "damaged" in (runs / "log").read_text(encoding="utf-8"),
    }


def differing(found: dict[str, Any], expected: dict[str, Any]) -> str:
    names = [name for name in expected if found[name] != expected[name]]
    return f"DIFFERENT: {', '.join(names)}" if names else ""


if __name__ == "__main__":
    sys.exit(main())
