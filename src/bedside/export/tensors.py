"""Safetensors files read by tensors or by rows of them, so that a model never has to fit into memory.

In: one or more `*.safetensors` files. Out: fp32 arrays, and where each tensor's bytes lie.
Format: 8 bytes of header length, a JSON header, then the bytes (https://github.com/huggingface/safetensors#format).
"""

import json
import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.models.folder import shards

LONGEST_HEADER = 32 << 20
"""Bytes of a header; one of 100,000 tensors has 12 million."""
AXES, LONGEST_AXIS = 16, 1 << 48
STORED_AS: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor's place: `size` bytes of `file`, from byte `start` on."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class Tensors:
    """The tensors of some safetensors files, by name."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.entries: dict[str, Entry] = {}
        for file in self.files:
            self.entries |= _entries(file)

    @classmethod
    def of_model(cls, folder: Path) -> Self:
        """The weights of a model folder: the shards of its index, or its one file. Raises ModelError if it has none."""
        return cls([folder / name for name in shards(folder)])

    def read(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A tensor's values, or those of some rows that follow each other.

        Raises ModelError if it is stored in a type that is no plain float, or is not finite.
        """
        entry = self.entries[name]
        if entry.dtype not in STORED_AS:
            raise ModelError(
                f"{entry.file}: '{name}' is stored as {entry.dtype}; use the model's F32, F16 or BF16 weights"
            )
        stored = np.dtype(STORED_AS[entry.dtype])
        first, last, _ = rows.indices(entry.shape[0])
        row = _count(entry.shape[1:])
        start = entry.start + first * row * stored.itemsize
        found = np.fromfile(entry.file, stored, offset=start, count=(last - first) * row)
        values = _from_bf16(found) if entry.dtype == "BF16" else found.astype(np.float32, copy=False)
        require_finite(values, name, entry.file)
        return values.reshape(last - first, *entry.shape[1:])


def require_finite(values: NDArray[np.float32], name: str, file: Path) -> None:
    """Raises ModelError if a weight is infinite or not a number, which is what a diverged training leaves."""
    if not np.isfinite(values).all():
        raise ModelError(f"{file}: '{name}' holds values that are not finite; train again with a lower train.lr")


def stored_as(dtype: str, values: NDArray[np.float32]) -> NDArray[Any]:
    """Values as a file of `dtype` stores them, rounded to the nearest (ties to even); of BF16 the bits."""
    if dtype == "F32":
        return values
    rounded = torch.from_numpy(values).to(torch.bfloat16 if dtype == "BF16" else torch.float16)
    return rounded.view(torch.uint16).numpy().view(STORED_AS[dtype])


def _entries(file: Path) -> dict[str, Entry]:
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(min(length, size, LONGEST_HEADER)), object_pairs_hook=_once)
        entries = {name: _entry(file, 8 + length, fields) for name, fields in header.items() if name != "__metadata__"}
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file}: not a safetensors file") from error
    at = 8 + length
    for entry in sorted(entries.values(), key=lambda entry: entry.start):
        if entry.start != at:
            raise ModelError(f"{file}: not a safetensors file: its tensors overlap, or leave bytes between them")
        at += entry.size
    if at > size:
        raise ModelError(f"{file}: ends too early; it was not copied or downloaded whole")
    return entries


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the header. Raises ValueError for a name that stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _entry(file: Path, data_start: int, fields: dict[str, Any]) -> Entry:
    """Raises ValueError, TypeError or KeyError if the fields are none of a tensor, or its shape is not its size."""
    first, last = map(operator.index, fields["data_offsets"])
    shape = tuple(map(operator.index, fields["shape"]))
    dtype = fields["dtype"]
    bits = next(int(digits) for digits in re.findall(r"\d+", dtype)[:1] or [8])  # BOOL is stored in bytes
    if not 0 <= first <= last or len(shape) > AXES or not all(0 <= axis < LONGEST_AXIS for axis in shape):
        raise ValueError("a tensor of no size")
    if math.prod(shape) * bits != (last - first) * 8:
        raise ValueError("a tensor's shape is not its size")
    return Entry(file, dtype, shape, data_start + first, last - first)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
