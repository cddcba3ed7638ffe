"""Two processes on the CPU do what one does, go on from where one stopped, and end together."""

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from bedside import recipe_file
from bedside.fused.packs import Row
from bedside.train.loop import dropout_seed
from bedside.train.shares import deal, why_not
from bedside.train.world import World, joined

from ..verbs.conftest import write_recipe, write_rows
from . import job

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
SETTINGS = {
    "rank": 4,
    "alpha": 8,
    "lr": 1e-2,
    "warmup": 2,
    "accumulation": 3,  # an odd number: one process has more rows than the other
    "max_steps": 6,
    "checkpoint_every": 2,
    "validate_every": 2,
}
WAYS = {
    "ddp, fused step": {**SETTINGS, "step": "fused"},
    "ddp, peft step": {**SETTINGS, "step": "peft", "batch_size": 2},
    "fsdp, peft step": {**SETTINGS, "strategy": "fsdp"},
    "fsdp, recomputed": {**SETTINGS, "strategy": "fsdp", "checkpointing": "on"},
}


@dataclass(frozen=True)
class Ended:
    """What processes left: their exit statuses, and what each wrote to stdout and stderr."""

    statuses: list[int | None]
    out: list[str]
    err: list[str]

    @property
    def told(self) -> list[str]:
        return [line for text in self.err for line in text.splitlines() if line.startswith("bedside: ")]


def launch(folder: Path, *calls: job.Call, size: int = 2) -> Ended:
    """Makes the calls in processes that know of each other; a hang fails the test. They fork from one that has torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.job", "bedside.train.processes"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [context.Process(target=job.process, args=(rank, size, port, folder, calls)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
        process.kill()
        process.join()
    texts = {name: [(folder / f"{name}{rank}").read_text() for rank in range(size)] for name in ("out", "err")}
    return Ended([process.exitcode for process in processes], **texts)


def cut(whole: Path, target: Path) -> Path:
    """A copy of a training as it was after its fourth step."""
    shutil.copytree(whole, target)
    shutil.rmtree(target / "checkpoints" / "step-0000006")
    (target / "adapter_model.safetensors").unlink()
    return target


@pytest.fixture(scope="module")
def trained(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each way: a training by one process, by two, and by each from where the other's fourth step ended."""
    folder = tmp_path_factory.mktemp("world")
    calls = []
    for way, settings in WAYS.items():
        one, two = folder / f"{way}, one", folder / f"{way}, two"
        job.train(World(), tiny_llama, one, settings)
        calls.append(("train", tiny_llama, two, settings))
        calls.append(("train", tiny_llama, cut(one, folder / f"{way}, one then two"), settings))
    ended = launch(folder, *calls)
    assert ended.statuses == [0, 0], "\n".join(ended.err)
    for way, settings in WAYS.items():
        back = cut(folder / f"{way}, two", folder / f"{way}, two then one")
        job.train(World(), tiny_llama, back, settings)
    return folder


@pytest.mark.parametrize("processes", ["two", "one then two", "two then one"])
@pytest.mark.parametrize("way", WAYS)
def test_as_many_processes_as_you_like_train_the_same_adapter(trained: Path, way: str, processes: str):
    alone, many = trained / f"{way}, one", trained / f"{way}, {processes}"
    expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (alone, many))
    assert expected.keys() == found.keys()
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) < 1e-5
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (alone, many)]
    for one, two in zip(*([json.loads(line) for line in text] for text in lines), strict=True):
        assert (two["step"], two["lr"], two["tokens"]) == (one["step"], one["lr"], one["tokens"])
        for figure in ("loss", "grad_norm", "validation_loss"):
            assert two[figure] == pytest.approx(one[figure], abs=1e-5)


@pytest.mark.parametrize(
    ("call", "told", "statuses"),
    [
        (("mistake_in_one", 0), "bedside: no such base on this machine", [2, 1]),
        (("mistake_in_one", 1), "bedside: process 1 of 2 on {host}: no such base on this machine", [1, 2]),
        (("mistake_in_all",), "step 3: the loss is nan", [2, 2]),
        (("killed", 1), "bedside: another process is gone without a word", [2, -9]),
        (("bug_in_one", 1), "bedside: process 1 of 2 on {host}: 'a bug'", [1, 1]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_an_error_in_one_process_ends_all_and_is_told_once(
    tmp_path: Path, call: tuple[object, ...], told: str, statuses: list[int]
):
    ended = launch(tmp_path, call)
    assert len(ended.told) == 1
    assert told.format(host=socket.gethostname()) in ended.told[0]
    assert ended.statuses == statuses
    assert sum("Traceback" in text for text in ended.err) == (call[0] == "bug_in_one")
    assert ended.out == ["", ""]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all_after_the_same_step_with_a_checkpoint(
    tiny_llama: Path, tmp_path: Path, rank: int
):
    ended = launch(tmp_path, ("train", tiny_llama, tmp_path / "run", WAYS["ddp, fused step"], (rank, 3)))
    assert ended.statuses == [130, 130]
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == [
        "step-0000002",
        "step-0000003",
    ]
    assert not any("Traceback" in text for text in ended.err)


def test_only_the_first_process_speaks(tmp_path: Path):
    ended = launch(tmp_path, ("noise",), ("noise",))
    assert ended.statuses == [0, 0]
    assert ended.out == ["on stdout\non stdout\ndone\n", ""]
    assert [text.count("on stderr") for text in ended.err] == [2, 0]


def test_the_others_leave_with_the_status_of_a_command_that_fails_before_it_calls_them(tmp_path: Path):
    ended = launch(tmp_path, ("no such function",))
    assert ended.statuses == [1, 1]
    assert [text.count("KeyError") for text in ended.err] == [1, 0]


@pytest.mark.slow
def test_torchrun_trains_through_the_command_line(tiny_llama: Path, tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl")
    write_recipe(tmp_path / "tiny.toml", tiny_llama, tmp_path / "rows.jsonl")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bedside"]
    command = [*torchrun, "train", "tiny.toml", "--runs", "runs", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert (result["processes"], result["steps"], result["step"]) == (2, 4, "fused")
    assert ended.stderr.count("train: 4/4 steps") == 1
    stages = tmp_path / "runs" / "tiny"
    assert {path.name for path in stages.iterdir()} == {".lock", "recipe.toml", "data", "adapter"}
    assert len((stages / "adapter" / "metrics.jsonl").read_text().splitlines()) == 4


def test_the_configuration_for_two_machines_is_one_that_accelerate_and_bedside_read():
    machines = load_config_from_file(str(ROOT / "docs" / "two-machines.yaml"))
    assert (machines.num_machines, machines.num_processes, machines.mixed_precision) == (2, 16, "no")
    found = recipe_file.load(str(ROOT / "docs" / "two-machines.toml"))
    assert found.train.strategy == "fsdp"
    assert why_not(found, machines.num_processes, found.train.validate_rows) is None


@given(lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=40), size=st.integers(1, 8))
def test_rows_are_dealt_evenly_and_each_once(lengths: list[int], size: int):
    rows = [Row(str(i), (0,) * length, 0) for i, length in enumerate(lengths)]
    hands = deal(rows, size)
    assert sorted((row.id for hand in hands for row in hand), key=int) == [row.id for row in rows]
    assert all([int(row.id) for row in hand] == sorted(int(row.id) for row in hand) for hand in hands)
    counts = [len(hand) for hand in hands]
    assert max(counts) - min(counts) <= 1
    tokens = [sum(len(row.ids) for row in hand) for hand in hands]
    assert max(tokens) - min(tokens) <= max(lengths)


@pytest.mark.parametrize(
    ("overrides", "size", "validation_rows", "reason"),
    [
        ([], 8, 0, None),
        ([], 9, 0, "8 rows a step for 9 processes; raise train.accumulation"),
        (["train.strategy=fsdp"], 8, 8, None),
        (["train.strategy=fsdp"], 4, 3, "3 validation rows for 4 processes"),
        (["train.strategy=ddp"], 4, 3, None),
        (["train.strategy=fsdp", "model.quantise=nf4", "export.adapter=no"], 2, 0, "cannot share out 4-bit weights"),
        (["train.strategy=ddp", "model.quantise=nf4", "export.adapter=no"], 2, 0, None),
        (["train.strategy=fsdp", "train.optimizer=adamw_8bit"], 2, 0, "cannot share out 8-bit moments"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_with_what_to_change(
    overrides: list[str], size: int, validation_rows: int, reason: str | None
):
    settings = ["train.batch_size=2", "train.accumulation=4", *overrides]
    found = why_not(recipe_file.load("starter", settings), size, validation_rows)
    assert found is None if reason is None else reason in str(found)


def test_dropout_differs_from_step_to_step_and_from_process_to_process():
    seeds = [dropout_seed(seed, step, rank) for seed in (7, 8) for step in range(3) for rank in range(2)]
    assert len(set(seeds)) == len(seeds)


def test_one_process_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = joined()
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert world.together(lambda same, value: (same is world, value), 3) == (True, 3)
