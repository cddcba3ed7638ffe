"""Bedside's training step beside TRL's SFTTrainer: the same model, update, rows and order, taking turns in one run.

    python benchmarks/train.py [--rounds 3] [--steps 2] [--length 528] [--growth [--fallback FOLDER]]

Every variant of every round is a process of its own, so that its peak memory is its own. A process makes one step to
warm up and then `--steps` that count. Rows are those of the starter set in its prompt, 8 a step; with `--length` their
texts are cut anew into rows of so many tokens. Tokens are real ones, padding is not counted. The best of a variant's
rounds is taken: others may use the machine, and only slow it down.

`--growth` shows instead how the time of a step grows with rows, with length and with the size of the model.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROWS_PER_STEP = 8
SEED = 42
OURS = "Bedside, 1024 tokens at once"
"""A recipe's default: `model.max_length` of 1024, `train.batch_size` of 1."""
EMULATED = 0.5
"""Where bf16 products reach less than this share of fp32's rate, the variants in bf16 are left out, and said to be."""
VARIANTS: dict[str, dict[str, Any]] = {
    "Bedside, 2048 tokens at once": {"tokens": 2048},
    "Bedside, 1536 tokens at once": {"tokens": 1536},
    "Bedside, 1024 tokens at once": {"tokens": 1024},
    "TRL fp32, 2 × 4": {"dtype": "float32"},
    "TRL fp32, packing 2048": {"dtype": "float32", "packing": True},
    "TRL bf16 autocast, 2 × 4": {"dtype": "float32", "autocast": True},
    "TRL bf16 weights, 2 × 4": {"dtype": "bfloat16"},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: real tokens a second of the steps that count, peak resident GiB, mean loss of each step."""

    tokens_per_s: float
    peak_gib: float
    losses: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--length", type=int, default=0, help="tokens of every row; 0 takes the rows as they are")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--fallback", default="", help="with --growth: a model folder of another architecture")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(json.loads(arguments.worker))))
    elif arguments.growth:
        growth(arguments.fallback)
    else:
        compare(arguments.rounds, arguments.steps, arguments.length)


def compare(rounds: int, steps: int, length: int) -> None:
    """The table of variants, with the ratios that count and the share of the machine's own GEMM rate."""
    rates = [run({"variant": "gemm"})]
    names = [name for name in VARIANTS if "bf16" not in name or rates[0]["bfloat16"] > EMULATED * rates[0]["float32"]]
    if len(names) < len(VARIANTS):
        print("bf16 is emulated here, many times slower than fp32: its variants are left out\n")
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            found[name].append(Measured(**run({"variant": name, "steps": steps, "length": length})))
            last = found[name][-1]
            print(f"round {number + 1}: {name}: {last.tokens_per_s:.0f} tokens/s", file=sys.stderr, flush=True)
        rates.append(run({"variant": "gemm"}))
    facts = run({"variant": "facts", "steps": steps, "length": length})
    print_table(found, rates, facts)


def print_table(found: dict[str, list[Measured]], rates: Sequence[dict[str, float]], facts: dict[str, Any]) -> None:
    best = {name: max(runs, key=lambda run: run.tokens_per_s) for name, runs in found.items()}
    ours = best[OURS]
    print(
        f"{facts['rows']} rows a step of {facts['mean_length']:.0f} tokens on average, {facts['trained']:.0%} trained"
    )
    print("| variant | tokens/s, best | rounds | against it | peak GiB | our peak | last loss |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name, one in best.items():
        every = " ".join(f"{run.tokens_per_s:.0f}" for run in found[name])
        speed, memory = ours.tokens_per_s / one.tokens_per_s, ours.peak_gib / one.peak_gib
        print(
            f"| {name} | {one.tokens_per_s:.0f} | {every} | {speed:.2f} × | {one.peak_gib:.2f} | {memory:.2f} × |"
            f" {one.losses[-1]:.4f} |"
        )
    peers = {name: one for name, one in best.items() if name.startswith("TRL")}
    peer = max(peers, key=lambda name: peers[name].tokens_per_s)
    pairs = [a.tokens_per_s / b.tokens_per_s for a, b in zip(found[OURS], found[peer], strict=False)]
    print(
        f"\nTRL's best: {peer}. Ratio round by round: {' '.join(f'{p:.2f}' for p in pairs)};"
        f" median {statistics.median(pairs):.2f}"
    )
    apart = abs(ours.losses[-1] / peers["TRL fp32, 2 × 4"].losses[-1] - 1)
    print(f"Loss after the same rows: {apart:.3%} from that of TRL in fp32")
    gemm = max(rate[facts["dtype"]] for rate in rates)
    needed = facts["flop_per_token"] * facts["computed"]
    limit = gemm * 1e9 / needed
    print(
        f"GEMM at these shapes: {', '.join(f'{max(r[d] for r in rates):.0f} GFLOP/s in {d}' for d in rates[0])}."
        f" Beginnings that rows have in common leave {facts['computed']:.0%} of the tokens to be computed:"
        f" {needed / 1e6:.0f} MFLOP a token, at most {limit:.0f} tokens/s in {facts['dtype']};"
        f" Bedside reaches {ours.tokens_per_s / limit:.2f} of that"
    )


def growth(fallback: str) -> None:
    """Seconds a step against rows, length and model size; each figure is the best of three."""
    print("| what grows | from | to | seconds a step | times |\n| --- | --- | --- | --- | --- |")
    other = {f"{Path(fallback).name}, by transformers and peft": {"rows": 4, "length": 256, "base": fallback}}
    sizes = {**GROWTH["model, 4 × 256"], **(other if fallback else {})}
    for what, changes in {**GROWTH, "model, 4 × 256": sizes}.items():
        runs = [run({"variant": "grow", "steps": 3, **change}) for change in changes.values()]
        seconds = [one["seconds"] for one in runs]
        names = list(changes)
        print(
            f"| {what} | {names[0]} | {' '.join(names[1:])} | {' '.join(f'{s:.2f}' for s in seconds)} |"
            f" {' '.join(f'{b / a:.2f} ×' for a, b in pairwise(seconds))} |",
            flush=True,
        )


GROWTH: dict[str, dict[str, dict[str, Any]]] = {
    "rows of 256 tokens": {
        "4": {"rows": 4, "length": 256},
        "8": {"rows": 8, "length": 256},
        "16": {"rows": 16, "length": 256},
    },
    "length of 2 rows": {str(n): {"rows": 2, "length": n} for n in (256, 512, 1024, 2048)},
    "model, 4 × 256": {
        "2 layers": {"rows": 4, "length": 256, "layers": 2},
        "30 layers (135M)": {"rows": 4, "length": 256},
    },
}


def run(task: dict[str, Any]) -> dict[str, Any]:
    """A task in a process of its own."""
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# What follows runs in the processes.


def work(task: dict[str, Any]) -> dict[str, Any]:
    match task["variant"]:
        case "gemm":
            return gemm_rates()
        case "facts":
            return facts(task["steps"], task["length"])
        case "grow":
            return grow(task)
        case str(name) if name.startswith("Bedside"):
            return bedside(task["steps"], task["length"], **VARIANTS[name])
        case name:
            return trl(task["steps"], task["length"], **VARIANTS[name])


def gemm_rates() -> dict[str, float]:
    """GFLOP/s of the matrix products of this model, forward and backward shapes, weighted by their share.

    The faster of two ways: all cores on one product, and a product on each core.
    """
    import torch

    from bedside.fused.lanes import each
    from bedside.runtime.device import use_all_cores

    use_all_cores()
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        apart = sum(each(lambda _, dtype=dtype: gemm_rate(dtype), range(torch.get_num_threads())))
        rates[str(dtype).removeprefix("torch.")] = max(gemm_rate(dtype), apart)
    return rates


def gemm_rate(dtype: Any) -> float:
    import torch

    shapes = [(960, 576), (576, 576), (3072, 576), (576, 1536)]
    work_done = seconds = 0.0
    for out, into in shapes:
        x, weight, dy = (torch.randn(s, dtype=dtype) for s in ((1024, into), (out, into), (1024, out)))
        flop = 2 * 2 * 1024 * out * into
        pair = best_of(lambda x=x, w=weight, dy=dy: (torch.nn.functional.linear(x, w), dy @ w), 0.4)
        work_done, seconds = work_done + flop, seconds + pair
    return work_done / seconds / 1e9


def best_of(function: Callable[[], object], budget_s: float) -> float:
    """Shortest time of a call, in seconds, among as many as the budget has room for."""
    function()
    shortest, end = math.inf, time.monotonic() + budget_s
    while time.monotonic() < end:
        started = time.monotonic()
        function()
        shortest = min(shortest, time.monotonic() - started)
    return shortest


def starter_rows(steps: int, length: int) -> tuple[Any, Any, list[Any], Any]:
    """Base, tokenizer, the rows of a warm-up step and of `steps` more in their order, and the recipe."""
    from bedside.data import sources
    from bedside.models import locate
    from bedside.recipe_file import load
    from bedside.runtime.tokenizer import load_tokenizer
    from bedside.train import batch

    recipe = load("starter", ["train.schedule='constant'", "train.warmup=0", "train.lr=2e-4"])
    base = locate.resolve(recipe.model)
    tokenizer = load_tokenizer(base.folder, recipe.prompt)
    rows = batch.encode(list(sources.read(recipe.data)), recipe.prompt, tokenizer, recipe.model.max_length).rows
    if length:
        rows = of_length(rows, length)
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"max_length": length})})
    chosen = [row for step in range(steps + 1) for row in batch.step_rows(rows, step, ROWS_PER_STEP, SEED)]
    return base, tokenizer, chosen, recipe


def of_length(rows: Sequence[Any], length: int) -> list[Any]:
    """The rows' texts one after another, cut anew into rows of so many tokens, a fifth of each the prompt."""
    from bedside.fused.packs import Row

    stream = [token for row in rows for token in row.ids]
    starts = range(0, len(stream) - length + 1, length)
    return [Row(str(start), tuple(stream[start : start + length]), length // 5) for start in starts]


def bedside(steps: int, length: int, tokens: int) -> dict[str, Any]:
    from bedside.runtime import device, hf
    from bedside.train import lora
    from bedside.train.learner import Learner

    base, tokenizer, rows, recipe = starter_rows(steps, length)
    where = device.choose()
    settings = recipe.train.model_copy(update={"batch_size": 1, "accumulation": ROWS_PER_STEP})
    model = lora.attach(hf.load_model(base.folder, where), settings, SEED)
    learner = Learner(model, int(tokenizer.pad_token_id), settings, tokens)
    return timed_steps(learner, settings, [rows[i : i + ROWS_PER_STEP] for i in range(0, len(rows), ROWS_PER_STEP)])


def timed_steps(learner: Any, settings: Any, steps: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The steps of the training loop, the first one not counted."""
    from bedside.train import loop
    from bedside.train.optimizer import Updater
    from bedside.train.world import World
    from bedside.verbs.train import peak_memory_gib

    world = World()
    updater = Updater([p for _, p in learner.trained], settings, learner.dtype, world)
    learner.train()
    losses, seconds = [], []
    for rows in steps:
        started = time.monotonic()
        trained = sum(row.trained for row in rows)
        losses.append(loop.accumulate(learner, learner.batches(rows), trained, world, updater.backward))
        updater.step(settings.lr)
        seconds.append(time.monotonic() - started)
    tokens = sum(len(row.ids) for rows in steps[1:] for row in rows)
    return {"tokens_per_s": tokens / sum(seconds[1:]), "peak_gib": peak_memory_gib(), "losses": losses}


def trl(steps: int, length: int, dtype: str, *, autocast: bool = False, packing: bool = False) -> dict[str, Any]:
    """SFTTrainer on rows that are tokenised and labelled already, in the order given, without checkpointing."""
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from bedside.runtime import device, hf
    from bedside.train import lora
    from bedside.verbs.train import peak_memory_gib

    base, tokenizer, rows, recipe = starter_rows(steps, length)
    where = device.Device("cpu", getattr(torch, dtype), "as the variant says")
    model = lora.attach(hf.load_model(base.folder, where), recipe.train, SEED)
    hidden = [[-100] * row.prompt + list(row.ids[row.prompt :]) for row in rows]
    data = Dataset.from_dict({"input_ids": [list(row.ids) for row in rows], "labels": hidden})
    ends: list[float] = []

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, per_device_train_batch_size=1 if packing else 2,
            gradient_accumulation_steps=1 if packing else ROWS_PER_STEP // 2, packing=packing,
            max_length=2048 if packing else recipe.model.max_length, learning_rate=recipe.train.lr,
            lr_scheduler_type="constant", max_grad_norm=recipe.train.clip, weight_decay=0.0, num_train_epochs=1,
            bf16=autocast, gradient_checkpointing=False, logging_steps=1, save_strategy="no", report_to=[],
            disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, seed=SEED,
        )  # fmt: skip
        trainer = InOrder(model, config, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()])
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    counted = (
        sum(len(row.ids) for row in rows) * (len(ends) - 1) / len(ends)
        if packing
        else sum(len(row.ids) for row in rows[ROWS_PER_STEP:])
    )
    return {"tokens_per_s": counted / (ends[-1] - ends[0]), "peak_gib": peak_memory_gib(), "losses": losses}


def facts(steps: int, length: int) -> dict[str, Any]:
    """Floating-point operations that a token needs: weights twice over each way, the update three times, its logits."""
    import torch

    from bedside.fused.packs import in_lanes
    from bedside.runtime import device

    device.use_all_cores()
    base, _, rows, recipe = starter_rows(steps, length)
    config = base.config
    rows = rows[ROWS_PER_STEP:]
    at_once = VARIANTS[OURS]["tokens"]
    by_step = (rows[i : i + ROWS_PER_STEP] for i in range(0, len(rows), ROWS_PER_STEP))
    batches = (b for of_step in by_step for b in in_lanes(of_step, at_once, share=True, cores=torch.get_num_threads()))
    computed = sum(len(pack.ids_T) for one in batches for lane in one for pack in lane)
    wide, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    head = config.get("head_dim") or wide // config["num_attention_heads"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    products = [(wide, query), (wide, key), (wide, key), (query, wide), (wide, inner), (wide, inner), (inner, wide)]
    frozen = sum(a * b for a, b in products) * layers
    update = sum(recipe.train.rank * (a + b) for a, b in products) * layers
    tokens, trained = sum(len(row.ids) for row in rows), sum(row.trained for row in rows)
    past = sum(len(row.ids) ** 2 / 2 for row in rows) / tokens  # mean number of tokens that a token looks back on
    attention = 2 * 2 * query * past * layers
    flop = 4 * frozen + 6 * update + 3 * attention + 4 * wide * config["vocab_size"] * trained / tokens
    return {
        "rows": ROWS_PER_STEP, "mean_length": tokens / len(rows), "trained": trained / tokens, "flop_per_token": flop,
        "computed": computed / tokens,
        "dtype": str(device.choose().dtype).removeprefix("torch."),
    }  # fmt: skip


def grow(task: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step on made-up rows, the shortest of some; `layers` cuts the model down."""
    from bedside.fused.packs import Row
    from bedside.models import locate
    from bedside.recipe import ModelSection, TrainSection
    from bedside.runtime import device, hf
    from bedside.train import lora
    from bedside.train.learner import Learner

    model = hf.load_model(locate.resolve(ModelSection(base=task.get("base", "embedded"))).folder, device.choose())
    if "layers" in task:
        del model.model.layers[task["layers"] :]
        model.config.num_hidden_layers = task["layers"]
    settings = TrainSection(accumulation=task["rows"])
    length = task["length"]
    learner = Learner(lora.attach(model, settings, SEED), 2, settings, max(1024, 2 * length))
    rows = [
        Row(str(i), tuple((i * 31 + j * 7) % 40_000 + 5 for j in range(length)), length // 2)
        for i in range(task["rows"])
    ]
    times = [timed_steps(learner, settings, [rows, rows])["tokens_per_s"] for _ in range(task["steps"])]
    return {"seconds": length * len(rows) / max(times), "path": learner.path}


if __name__ == "__main__":
    main()
