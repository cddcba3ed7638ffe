"""Bytes on disk that a whole run writes: what is fetched, checkpoints, adapter, merged model and exported files."""

from collections.abc import Sequence

from bedside.models.known import Known
from bedside.plan.memory import moments
from bedside.plan.setup import Setup
from bedside.recipe import Quantisation

CHECKPOINTS = 3
"""The two that are kept, and the one that is being written."""


def parts(
    known: Known, setup: Setup, quantisations: Sequence[Quantisation], with_base: bool = False
) -> dict[str, float]:
    """Bytes of each part. GGUF files are left out where the library that knows their types is not installed."""
    stored = float(known.shape.parameters * known.stored_bytes)
    adapter = 4.0 * setup.trainable
    files = {f"gguf {name}": gguf_bytes(known, name) for name in quantisations}
    if with_base:
        files["gguf base"] = gguf_bytes(known, quantisations[0])
    return {
        "base": 0.0 if known.here else stored,
        "adapter": adapter,
        "checkpoints": CHECKPOINTS * (adapter * (2 if setup.validates else 1) + moments(setup)),
        "merged": stored,
        **{name: size for name, size in files.items() if size is not None},
    }


def gguf_bytes(known: Known, quantisation: Quantisation) -> float | None:
    """Bytes of an exported file, by the very rules that quantise each tensor; None without the gguf library."""
    try:
        from bedside.export.quantise import kind_of, size_of
    except ModuleNotFoundError:
        return None
    shape = known.shape
    tensors = shape.tensors()
    return float(
        sum(size_of(size, kind_of(name, size, quantisation, shape.layers, shape.tied)) for name, size in tensors)
    )
