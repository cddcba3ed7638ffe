"""Whether the merged weights are base + adapter, once.

In: base, adapter and merged folder. Out: the factor with which each update stands in the merged weights, by least
squares: 1 where it was merged, 0 where it was not, 2 where it was merged twice.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.export.adapter import Update, updates
from bedside.export.merge import Merged
from bedside.export.readings import Fault, Finding
from bedside.export.tensors import Tensors
from bedside.files import digest

SAMPLED = 24
"""Weights that are looked at, drawn by the hash of their names: every so many in order can be all of one kind."""
TOLERANCE = 0.05


def differences(base: Path, adapter: Path, merged: Path, nf4_precision: str | None) -> Iterator[Finding]:
    """A finding if the merged weights do not hold the adapter once; `nf4_precision` is that of `merge`."""
    weights = Tensors.of_model(base)
    found = factors(Merged.of(base, None, nf4_precision), updates(adapter, weights), Tensors.of_model(merged))
    wrong = {name: factor for name, factor in found.items() if abs(factor - 1) > TOLERANCE}
    if wrong:
        name, factor = max(wrong.items(), key=lambda one: abs(one[1] - 1))
        told = f"{len(wrong)} of {len(found)} weights looked at; {name} holds the update {factor:.2f} times"
        yield Finding(_name(factor), merged.name, told)


def factors(base: Merged, changes: Mapping[str, Update], merged: Tensors) -> dict[str, float]:
    """{weight: how often its update stands in the merged weight}; updates of nothing are left out."""
    found = {}
    for name in sorted(changes, key=digest)[:SAMPLED]:
        before = base.values(name)(slice(None))
        # What merging leaves of an update in the file's type: rounding may swallow much of a small one.
        wanted = (_rounded(before + changes[name].delta()(slice(None)), merged.entries[name].dtype) - before).ravel()
        size = float(np.dot(wanted, wanted))
        if size > 0:
            found[name] = float(np.dot((merged.read(name) - before).ravel(), wanted)) / size
    return found


def _rounded(values: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    kind = {"F16": torch.float16, "BF16": torch.bfloat16}.get(dtype, torch.float32)
    rounded: NDArray[np.float32] = torch.from_numpy(values).to(kind).float().numpy()
    return rounded


def _name(factor: float) -> Fault:
    if abs(factor) < TOLERANCE:
        return "adapter-not-merged"
    return "adapter-scaled-twice" if abs(factor - 2) < 2 * TOLERANCE else "adapter-differs"
