"""Memory of a training run by part, in bytes, at its peak."""

from collections.abc import Mapping

from bedside.plan import activations
from bedside.plan.setup import Setup

GIB = 2**30
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits a weight: 4, a byte of scale for 64 of them, 4 bytes for 256 scales (double quantisation, arXiv:2305.14314)."""
FRAMEWORK = {"cpu": 0.52 * GIB, "cuda": 0.5 * GIB}
"""Python with torch, transformers, peft and a tokenizer, as measured on a CPU; on a card its context, not measured."""
HEAP = {"fused": 0.65, "peft": 0.4, "returned": 0.3}
"""Measured (benchmarks/plan.py): freed blocks below 32 MiB stay in a heap full of holes that later ones rarely fit.

Of the fused step it is what a pass works with beside its own blocks, as a share of all that it keeps.
"""
TOKEN_OBJECT = 36
"""Bytes of a token of a row that waits to be trained: a Python int and the pointer to it."""
BLOCK_8_BIT, SMALLEST_8_BIT = 256, 4096
"""bitsandbytes keeps one fp32 scale for 256 moments, and tensors with fewer numbers than the second in fp32."""


def parts(setup: Setup) -> dict[str, float]:
    """Bytes of each part at the peak; "file" is what the system takes back at need."""
    kept, working = activations.kept(setup), activations.working(setup)
    training = {
        "weights": weights(setup),
        "adapter": 4.0 * setup.trainable * (2 if setup.validates else 1),
        "gradients": 4.0 * setup.trainable * (1 if setup.lanes == 1 else 1 + setup.lanes),
        "optimizer": moments(setup),
        "activations": float(kept),
        "working": float(working),
        "heap": _heap_share(setup) * (kept + working),
        "rows": TOKEN_OBJECT * setup.rows * setup.lengths.whole if setup.device == "cpu" else 0.0,
        "framework": FRAMEWORK[setup.device],
    }
    return {**training, "file": _file_pages(setup, sum(training.values()))}


def needed(setup: Setup) -> float:
    """Bytes that must be free: the peak without the pages of the base's file, which the system takes back at need."""
    found = parts(setup)
    return total(found) - found["file"]


def total(parts: Mapping[str, float]) -> float:
    """The peak in bytes."""
    return sum(parts.values())


def weights(setup: Setup) -> float:
    """The frozen base: all of it in one type, or NF4 for the matrices of the layers and the rest unquantised."""
    shape = setup.shape
    if setup.quantise == "none":
        return float(shape.parameters * setup.width)
    rest = shape.parameters - shape.linear_parameters
    return shape.linear_parameters * NF4_BITS / 8 + rest * setup.width


def moments(setup: Setup) -> float:
    """The optimiser's two moments a parameter: fp32, or 8 bits with a scale a block."""
    if setup.train.optimizer == "adamw":
        return 8.0 * setup.trainable
    rank = setup.train.rank
    sizes = [rank * width for update in setup.updates for width in update]
    return setup.shape.layers * sum(2 * size * _bytes_of_moment(size) for size in sizes)


def _bytes_of_moment(size: int) -> float:
    return 1 + 4 / BLOCK_8_BIT if size >= SMALLEST_8_BIT else 4.0


def _heap_share(setup: Setup) -> float:
    """What glibc keeps of freed memory, as a share of what a step allocates; training returns it when it recomputes."""
    if setup.device != "cpu":
        return 0.0
    return HEAP["returned"] if setup.recompute else HEAP["fused" if setup.fused else "peft"]


def _file_pages(setup: Setup, training: float) -> float:
    """Pages of the base's file that are in memory beside all else at the peak, on a CPU.

    A file of the same type is used where it lies, but by the fused step, which copies it. A file that is copied or
    converted is in memory as a whole until that is done, which is the peak if training needs less.
    """
    used = setup.quantise == "none" and setup.stored_bytes == setup.width and not setup.fused
    if setup.device != "cpu" or used:
        return 0.0
    loading = FRAMEWORK["cpu"] + setup.shape.parameters * setup.stored_bytes + weights(setup)
    return max(0.0, loading - training)
