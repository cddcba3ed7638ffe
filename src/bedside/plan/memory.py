"""Memory of a training run by part, in bytes: when it is loaded and when it trains, of which the larger is its peak."""

from collections.abc import Mapping

from bedside.plan import activations
from bedside.plan.setup import WIDTH, Setup

GIB = 2**30
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits a weight: 4, a byte of scale for 64 of them, 4 bytes for 256 scales (double quantisation, arXiv:2305.14314)."""
FRAMEWORK = {"cpu": 0.50 * GIB, "cuda": 0.5 * GIB}
"""Python with torch, transformers, peft and a tokenizer, as measured on a CPU; on a card its context, not measured."""
TOKEN_OBJECT = 36
"""Bytes of a token of a row that waits to be trained: a Python int and the pointer to it."""
BLOCK_8_BIT, SMALLEST_8_BIT = 256, 4096
"""bitsandbytes keeps one fp32 scale for 256 moments, and tensors with fewer numbers than the second in fp32."""


def parts(setup: Setup) -> dict[str, float]:
    """Bytes of each part while it trains; "loading" is what loading needs beyond their sum, mostly nothing."""
    trainable = setup.trainable
    training = {
        "weights": weights(setup),
        "adapter": 4.0 * trainable * (2 if setup.validates else 1),
        "gradients": 4.0 * trainable,
        "optimizer": moments(setup),
        "activations": float(activations.kept(setup)),
        "working": float(activations.working(setup)),
        "rows": TOKEN_OBJECT * setup.rows * setup.lengths.whole if setup.device == "cpu" else 0.0,
        "framework": FRAMEWORK[setup.device],
    }
    return {**training, "loading": max(0.0, _while_loading(setup) - sum(training.values()))}


def needed(setup: Setup) -> float:
    """Bytes that must be free: the peak without the pages of the base's file, which the system takes back at need."""
    found = parts(setup)
    return total(found) - found["loading"]


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


def _while_loading(setup: Setup) -> float:
    """Peak of loading on a CPU: the file's pages stay in memory until its last tensor is converted."""
    if setup.device != "cpu":
        return 0.0
    same = setup.quantise == "none" and setup.stored_bytes == WIDTH[setup.precision]
    file = 0 if same else setup.shape.parameters * setup.stored_bytes
    return FRAMEWORK["cpu"] + file + weights(setup)
