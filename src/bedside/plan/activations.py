"""What autograd keeps between the passes, and what a pass works with: bytes, term by term.

Each path has its terms, as its code saves them; `tests/plan/test_activations.py` compares them with what autograd
really keeps. `b` is the bytes of a number of the base.
"""

from collections.abc import Sequence

from bedside.plan.setup import Setup

FP32 = 4
STACKED = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Layers that read the same input."""
FUSED_CHUNK = 128
"""Tokens whose logits the fused step holds at once in each lane (`fused.room.CHUNK`)."""


def kept(setup: Setup) -> int:
    """Bytes kept from the forward to the backward pass of a batch."""
    each = sum(layer(setup).values())
    layers = setup.shape.layers
    if setup.recompute:  # the input of each layer, and all of the one that is computed again
        between = setup.tokens * setup.shape.hidden * setup.width
        return round(layers * between + setup.tokens * each)
    return round(layers * setup.tokens * each)


def layer(setup: Setup) -> dict[str, float]:
    """Bytes a token that one decoder layer keeps, by what they are for."""
    return _fused(setup) if setup.fused else _peft(setup)


def _fused(setup: Setup) -> dict[str, float]:
    """`fused.step`: inputs of the four products (norms and silu are computed again), q, k, v in fp32, and A n."""
    shape, b = setup.shape, setup.width
    inputs = {"attention": shape.hidden, "out": shape.query, "gate, up": shape.hidden, "down": 2 * shape.intermediate}
    terms = {f"input of {name}": float(b * width) for name, width in inputs.items()}
    terms["q, k, v"] = FP32 * (shape.query + 2 * shape.key)
    terms["updates"] = b * setup.train.rank * len(setup.updates)
    if setup.train.dropout:
        terms["dropout"] = b * sum(shape.linear[group[0]][0] for group in STACKED if _tuned(setup, group))
    return terms


def _peft(setup: Setup) -> dict[str, float]:
    """transformers and peft: norms in fp32, SDPA's q, k, v and output, gate, silu, up, and every update's own input.

    Where the base is narrower than fp32, or dropout stands before the update, each update keeps an input of its own.
    """
    shape, b, rank = setup.shape, setup.width, setup.train.rank
    padded = setup.train.batch_size > 1
    keys = shape.query if padded else shape.key  # with a mask, the keys are repeated for every query head
    terms: dict[str, float] = {
        "norms": 2 * FP32 * (shape.hidden + 1),
        "attention": b * (2 * shape.query + 2 * keys) + FP32 * shape.heads,
        "gate, silu, up": 3 * b * shape.intermediate,
        "updates": FP32 * rank * len(setup.updates),
    }
    if padded:
        terms["mask"] = b * setup.lengths.longest
    terms["inputs of updates"] = FP32 * _update_inputs(setup)
    if setup.train.dropout:
        mask = FP32 if setup.device == "cpu" else 1
        terms["dropout"] = mask * sum(inputs for inputs, _ in setup.updates)
    return terms


def _update_inputs(setup: Setup) -> int:
    """Widths of the inputs that the updates keep beside what is kept anyway."""
    if setup.train.dropout or setup.width != FP32:
        return sum(inputs for inputs, _ in setup.updates)
    own = [group for group in STACKED if group != ("o_proj",)]  # whose input is SDPA's output, which is kept anyway
    return sum(setup.shape.linear[group[0]][0] for group in own if _tuned(setup, group))


def _tuned(setup: Setup, group: Sequence[str]) -> bool:
    return bool(set(setup.train.targets) & set(group))


def working(setup: Setup) -> int:
    """Bytes that the largest single step of a pass works with, beside what is kept: the loss, or a layer backward.

    The fused step keeps its room for the loss.
    """
    return round(_loss(setup) + _backward(setup) if setup.fused else max(_loss(setup), _backward(setup)))


def _loss(setup: Setup) -> float:
    """Logits with their gradient: a chunk at a time in the fused step, of all answers at once in the other."""
    V, b = setup.shape.vocabulary, setup.width
    if setup.fused:
        chunk = min(FUSED_CHUNK * setup.lanes, setup.answers)
        return chunk * V * (FP32 + (b if b != FP32 else 0))
    copies = 3 * FP32 + (2 * b if b != FP32 else 0)
    return setup.answers * V * copies


def _backward(setup: Setup) -> float:
    """The feed-forward part of a layer: gate, up, what stands between them, and their gradients."""
    numbers = 7 * setup.shape.intermediate + 2 * setup.shape.hidden
    weights = max(inputs * outputs for inputs, outputs in setup.shape.linear.values()) if setup.quantise == "nf4" else 0
    return numbers * setup.tokens * setup.width + weights * setup.width
