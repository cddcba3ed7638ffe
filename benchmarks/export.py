"""Merging and writing GGUF of a model of Llama-8B's shapes, beside the disk's own speed of copying the same bytes.

    python benchmarks/export.py [--layers 8] [--quantise f16 q8_0] [--folder FOLDER]

The base is made here: bf16 shards with an index, the real widths and vocabulary (128,256; a tiny tokenizer stands in
and is padded), fewer layers so that the disk suffices, and random numbers of which a block of 32 MiB comes again and
again. The adapter is of rank 16 on the seven targets. Each step is a process of its own whose peak is its own (VmHWM);
its clock starts when the libraries are loaded. Before and after each a plain copy of the base, in pieces and with fsync
as the steps end with one, tells the disk's speed. What is read was put out of the system's cache before. Linux alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import big_model
import numpy as np
import tiny

from bedside.models.shapes import facts

VOCABULARY, HIDDEN, FEED_FORWARD, KV = 128_256, 4096, 14_336, 1024
RANK = 16
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (FEED_FORWARD, HIDDEN),
    "mlp.up_proj": (FEED_FORWARD, HIDDEN),
    "mlp.down_proj": (HIDDEN, FEED_FORWARD),
}
Shapes = dict[str, tuple[int, ...]]
COPY_BYTES = 2**23


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--quantise", nargs="+", default=["f16"])
    parser.add_argument("--folder", type=Path, help="where to write; what is written is removed again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(json.loads(arguments.worker))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        measure(Path(name), arguments.layers, arguments.quantise)


def measure(home: Path, layers: int, quantisations: list[str]) -> None:
    """Makes the model, takes the steps and the copies by turns, and prints the table."""
    size = 2 * sum(int(np.prod(shape)) for shard in shards(layers) for shape in shard.values())
    if shutil.disk_usage(home).free < 3.2 * size:
        raise SystemExit(f"{home}: needs {3.2 * size / 1e9:.0f} GB of disk; ask for fewer --layers")
    run({"step": "make", "home": str(home), "layers": layers})
    print(f"{layers} layers of Llama-8B's shapes, {size / 2e9:.2f} billion parameters, {size / 1e9:.2f} GB in bf16\n")
    print("| step | GB read | GB written | seconds | MB/s | copy MB/s, before and after | of the copy's | peak GiB |")
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    before = copied(home / "base", home / "copy")
    for step in ("merge", *quantisations):
        source = home / ("base" if step == "merge" else "merged")
        read = evict(source)
        took = run({"step": step, "home": str(home)})
        written = sum(path.stat().st_size for path in (home / took["written"]).glob("*.*"))
        if step != "merge":
            shutil.rmtree(home / took["written"])
        after = copied(home / "base", home / "copy")
        rate, disk = (read + written) / 2 / took["seconds"], (before + after) / 2
        print(
            f"| {step} | {read / 1e9:.2f} | {written / 1e9:.2f} | {took['seconds']:.1f} | {rate / 1e6:.0f} |"
            f" {before / 1e6:.0f}, {after / 1e6:.0f} | {rate / disk:.2f} | {took['peak_gib']:.2f} |",
            flush=True,
        )
        before = after


def copied(source: Path, target: Path) -> float:
    """Bytes a second of a plain copy of a folder's weights."""
    evict(source)
    target.mkdir()
    buffer, size, started = memoryview(bytearray(COPY_BYTES)), 0, time.perf_counter()
    for path in source.glob("*.safetensors"):
        with path.open("rb", buffering=0) as read, (target / path.name).open("wb", buffering=0) as written:
            while count := read.readinto(buffer):
                size += written.write(buffer[:count])
            os.fsync(written.fileno())
    seconds = time.perf_counter() - started
    shutil.rmtree(target)
    return size / seconds


def evict(folder: Path) -> int:
    """Puts a folder's weights out of the system's cache; returns their bytes."""
    size = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size += path.stat().st_size
    return size


def run(task: dict[str, Any]) -> dict[str, Any]:
    """A task in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--worker", json.dumps(task)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# What follows runs in the processes.


def work(task: dict[str, Any]) -> dict[str, Any]:
    """A step: where it wrote, its seconds, and the process's peak."""
    from bedside.export.convert import write_gguf
    from bedside.export.merge import merge
    from bedside.recipe import PromptSection

    home, step = Path(task["home"]), task["step"]
    written, started = "merged", time.perf_counter()
    if step == "make":
        make(home, task["layers"])
    elif step == "merge":
        merge(home / "base", home / "adapter", home / written, PromptSection())
    else:
        written = "gguf"
        write_gguf(home / "merged", home / written / "model.gguf", step, "benchmark")
    return {"written": written, "seconds": time.perf_counter() - started, "peak_gib": big_model.gib_of("VmHWM")}


def make(home: Path, layers: int) -> None:
    """Writes the base and the adapter."""
    base, adapter = home / "base", home / "adapter"
    tiny.make_model(base)
    (base / "model.safetensors").unlink()
    named = {"architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-5}
    config = facts()[big_model.MODEL] | named | {"num_hidden_layers": layers}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    block = as_bf16(np.random.default_rng(1).normal(0, 0.02, 2**24).astype(np.float32))
    files = {f"model-{number:05}.safetensors": shapes for number, shapes in enumerate(shards(layers), 1)}
    for name, shapes in files.items():
        write_shard(base / name, shapes, "BF16", 2, block)
    weights = {tensor: name for name, shapes in files.items() for tensor in shapes}
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}), encoding="utf-8")
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK}
    (adapter / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    numbers = np.random.default_rng(2).normal(0, 0.01, 2**20).astype(np.float32).view(np.uint8)
    write_shard(adapter / "adapter_model.safetensors", dict(factors(layers)), "F32", 4, numbers)


def shards(layers: int) -> list[Shapes]:
    """The tensors of each file: the embedding, then each layer, then the rest."""
    middle: list[Shapes] = [
        {f"model.layers.{number}.{name}.weight": shape for name, shape in LINEAR.items()}
        | {
            f"model.layers.{number}.{norm}.weight": (HIDDEN,)
            for norm in ("input_layernorm", "post_attention_layernorm")
        }
        for number in range(layers)
    ]
    ends: Shapes = {"lm_head.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    return [{"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}, *middle, ends]


def factors(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number in range(layers):
        for name, (rows, columns) in LINEAR.items():
            module = f"base_model.model.model.layers.{number}.{name}"
            yield f"{module}.lora_A.weight", (RANK, columns)
            yield f"{module}.lora_B.weight", (rows, RANK)


def as_bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)


def write_shard(path: Path, shapes: Shapes, dtype: str, size: int, block: np.ndarray) -> None:
    """A safetensors file with the bytes of `block` over and over."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + size * int(np.prod(shape))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for first in range(0, end, len(block)):
            file.write(block[: end - first].data)


if __name__ == "__main__":
    main()
