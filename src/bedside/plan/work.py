"""Floating-point operations of a training, and a rough time from one matrix product.

The time is a lower kind of knowledge than the counts: `rough_seconds` applies to the rate of that product the share
that training reached where it was measured. `calibrate` runs the real step instead.
"""

import math
import time

from bedside.plan.setup import Setup

SHARE = {"fused": 0.5, "peft": 0.3}
"""Share of the rate of large fp32 products that training reaches on a CPU (benchmarks/plan.py)."""
BF16_GAIN = 2.2
"""How much faster products are in bf16 on a CPU that has it: 360 to 440 GFLOP/s against 150 to 200."""
SIZE, TRIALS = 1024, 5


def flops_a_token(setup: Setup) -> float:
    """Forward and backward of the frozen layers (no gradient of their weights), the updates, attention and the head."""
    shape, lengths = setup.shape, setup.lengths
    passes = 6 if setup.recompute else 4
    attention = passes * 2 * shape.query * lengths.whole / 2 * shape.layers
    head = 4 * shape.vocabulary * shape.hidden * lengths.completion / lengths.whole
    return passes * shape.linear_parameters + 6 * setup.trainable + attention + head


def rough_seconds(setup: Setup, tokens: float, gemm_rate: float) -> float:
    """Seconds for so many tokens at a rate of fp32 products in operations a second."""
    gain = BF16_GAIN if setup.precision == "bf16" else 1.0
    share = SHARE["fused" if setup.fused else "peft"]
    return tokens * setup.computed * flops_a_token(setup) / (gemm_rate * gain * share)


def gemm_rate() -> float:
    """Operations a second of the best of a few fp32 matrix products on all cores; takes a fraction of a second."""
    import numpy as np

    left = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    seconds = math.inf
    for _ in range(TRIALS):
        started = time.perf_counter()
        left @ left
        seconds = min(seconds, time.perf_counter() - started)
    return 2 * SIZE**3 / seconds
