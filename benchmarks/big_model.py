"""QLoRA of Llama-8B on its real shapes, without its weights: memory by phase beside what `bedside plan` estimates.

    python benchmarks/big_model.py [--layers 32] [--vocabulary 128256] [--tokens 512] [--optimizer adamw]

The model is random, built a matrix at a time: made in fp32, quantised to NF4 with double quantisation, dropped. It
then takes two optimiser steps of one row each, by the functions of the training loop, LoRA of rank 16 on seven layers,
activations computed again. Peaks are those of the process (VmHWM), counted afresh in each phase. Linux alone.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from bedside.fused.allocator import return_freed_memory
from bedside.fused.packs import Row
from bedside.models.shapes import facts, shape_of
from bedside.plan import memory
from bedside.plan.setup import Lengths, Setup
from bedside.recipe import TrainSection
from bedside.runtime.device import Device, choose, use_all_cores
from bedside.runtime.hf import keep_layout
from bedside.train import loop, lora
from bedside.train.learner import Learner
from bedside.train.optimizer import Updater
from bedside.train.world import World

MODEL = "deepseek-ai/deepseek-r1-distill-llama-8b"
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SHARE_ASKED = 0.25
"""Of a row's tokens, those that are the prompt's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--optimizer", choices=("adamw", "adamw_8bit"), default="adamw")
    arguments = parser.parse_args()
    use_all_cores()
    torch.manual_seed(0)
    return_freed_memory()  # as training does where activations are computed again
    config = facts()[MODEL] | {"num_hidden_layers": arguments.layers, "vocab_size": arguments.vocabulary}
    settings = TrainSection(rank=16, alpha=16, optimizer=arguments.optimizer, batch_size=1, accumulation=1)
    where = choose()
    print(f"{where.in_words}; {torch.get_num_threads()} threads", flush=True)
    with measured("build in NF4"):
        model = built(LlamaConfig(**config), where)
    with measured("attach LoRA"):
        tuned = lora.attach(model, settings, seed=1)
        learner = Learner(tuned, 0, settings, arguments.tokens, recompute=True)
        updater = Updater([parameter for _, parameter in learner.trained], settings, learner.dtype, World())
    print("{:,} of {:,} parameters are trained; {}".format(*lora.count(tuned), learner.in_words), flush=True)
    asked = int(SHARE_ASKED * arguments.tokens)
    for number in (1, 2):
        row = random_row(number, arguments.tokens, asked, arguments.vocabulary)
        with measured(f"step {number}"):
            learner.train()
            loss = loop.accumulate(learner, learner.batches([row]), row.trained, World(), updater.backward)
            norm = updater.step(settings.lr)
        print(f"step {number}: loss {loss:.4f}, gradient {norm:.4f}", flush=True)
    tell_plan(config, settings, where, Lengths(arguments.tokens, asked, arguments.tokens - asked))


@contextmanager
def measured(phase: str) -> Iterator[None]:
    """Prints the seconds of a phase, its peak and what stays."""
    CLEAR.write_text("5", encoding="ascii")  # the peak counts from here on (man 5 proc)
    started = time.perf_counter()
    yield
    peak, stays = (gib_of(field) for field in ("VmHWM", "VmRSS"))
    print(
        f"{phase:<14} {time.perf_counter() - started:8.1f} s  peak {peak:6.2f} GiB  stays {stays:6.2f} GiB", flush=True
    )


def gib_of(field: str) -> float:
    """A field of this process's status, in GiB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
    return int(lines[field].split()[0]) / 2**20


def built(config: LlamaConfig, where: Device) -> PreTrainedModel:
    """A random model with the layers' matrices in NF4, the rest in the device's type, as `hf.load_model` loads one."""
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config).to(where.dtype)
    model.model.rotary_emb = LlamaRotaryEmbedding(config)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and module is not model.lm_head:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, in_four_bits(module, where))
        elif isinstance(module, nn.Linear | nn.Embedding):
            module.weight = nn.Parameter(torch.empty(module.weight.shape, dtype=where.dtype).normal_(std=0.02))
        elif hasattr(module, "variance_epsilon"):
            module.weight = nn.Parameter(torch.ones(module.weight.shape, dtype=where.dtype))
    model.is_loaded_in_4bit = True  # by which peft knows how to put its update on it
    keep_layout(model)
    result: PreTrainedModel = model.requires_grad_(False)
    return result


def in_four_bits(linear: nn.Linear, where: Device) -> Linear4bit:
    """A random matrix of a layer's shape, quantised; the numbers that it came from are dropped."""
    outputs, inputs = linear.weight.shape
    layer = Linear4bit(inputs, outputs, bias=False, compute_dtype=where.dtype, quant_type="nf4", device="meta")
    values = torch.empty(outputs, inputs).normal_(std=0.02)
    layer.weight = Params4bit(values, requires_grad=False, quant_type="nf4", compress_statistics=True).to(where.name)
    return layer


def random_row(seed: int, tokens: int, prompt: int, vocabulary: int) -> Row:
    """A row of random tokens of which all but the first `prompt` are trained."""
    ids = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed))
    return Row(str(seed), tuple(ids.tolist()), prompt)


def tell_plan(config: dict[str, Any], settings: TrainSection, where: Device, lengths: Lengths) -> None:
    """Prints what `bedside plan` would have estimated for the steps."""
    setup = Setup(
        shape=shape_of(config, MODEL),
        quantise="nf4",
        train=settings,
        device="cuda" if where.name == "cuda" else "cpu",
        precision=where.precision,
        max_length=lengths.longest,
        lengths=lengths,
        stored_bytes=2,
        rows=2,
        recompute=True,
        validates=False,
        cores=torch.get_num_threads(),
    )
    parts = {name: size / memory.GIB for name, size in memory.parts(setup).items() if name != "file"}
    told = ", ".join(f"{name} {size:.2f}" for name, size in parts.items() if size >= 0.005)
    print(f"plan           {sum(parts.values()):.2f} GiB while it trains: {told}")


if __name__ == "__main__":
    main()
