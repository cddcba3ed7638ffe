"""Base and LoRA adapter → one model folder in Hugging Face's layout.

In: a base folder and a PEFT folder. Out: W + scale·B·A (arXiv:2106.09685, section 4.1) computed in fp32 and rounded
once to the base's own type; sharded as the base is, its tokenizer carrying the recipe's chat template, and
`bedside.json` with the prompt section. If the base was in NF4 while it was trained, W is what its 4 bits stand for.
Shards are written from front to back, a few rows at a time, whatever the model's size.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.export import nf4
from bedside.export.adapter import Update, updates
from bedside.export.pieces import Rows, in_pieces
from bedside.export.tensors import Tensors, require_finite, stored_as
from bedside.files import disk_errors, replacing, write_json
from bedside.models.folder import INDEX
from bedside.progress import Advance, bar
from bedside.recipe import PromptSection
from bedside.runtime.choose import PROMPT_FILE
from bedside.runtime.tokenizer import load_tokenizer

CONFIG = "config.json"
COPIED = (INDEX, "generation_config.json", CONFIG)
"""The configuration comes last: a folder without it is no model, so that none is ever half there."""
ROWS = 8
"""Rows that are multiplied together at least: torch's product of one row is another than that row of a product."""
COPY_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class Merged:
    """The weights that differ from the base's file. `in_4_bits` are those that training saw in NF4, in `precision`."""

    base: Tensors
    updates: Mapping[str, Update]
    in_4_bits: frozenset[str]
    precision: str

    @classmethod
    def of(cls, base: Path, adapter: Path | None, nf4_precision: str | None) -> Self:
        """See `merge`; without an adapter the base as training saw it."""
        weights = Tensors.of_model(base)
        nf4.refuse_packed(base, weights)
        in_4_bits = nf4.weights_of(base, weights) if nf4_precision else frozenset[str]()
        changes = updates(adapter, weights) if adapter else {}
        return cls(weights, changes, in_4_bits, nf4_precision or "float32")

    @property
    def names(self) -> set[str]:
        """The weights that are in here."""
        return self.updates.keys() | self.in_4_bits

    def values(self, name: str) -> Rows:
        """The merged values of a weight. Raises ModelError, naming it, where they are not finite."""
        if name in self.in_4_bits:
            seen = nf4.seen_in_training(self.base.read(name), self.precision)
            base: Rows = seen.__getitem__
        else:
            base = partial(self.base.read, name)
        if name not in self.updates:
            return base
        delta = self.updates[name].delta()

        def changed(rows: slice) -> NDArray[np.float32]:
            values = base(rows) + delta(rows)
            require_finite(values, name, self.base.entries[name].file)
            return values

        return changed


def merge(base: Path, adapter: Path, target: Path, section: PromptSection, nf4_precision: str | None = None) -> None:
    """Writes the merged model to `target`.

    `nf4_precision` is the type ("bfloat16") in which a base in NF4 was trained; None if it was not in NF4. Raises
    ModelError, naming the tensor, if adapter and base do not fit.
    """
    merged = Merged.of(base, adapter, nf4_precision)
    tokenizer = load_tokenizer(base, section)
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG).unlink(missing_ok=True)
        with bar("merge", len(merged.names), "tensors") as advance:
            for file in merged.base.files:
                with replacing(target / file.name) as unfinished:
                    _write_shard(file, unfinished, merged, advance)
        tokenizer.save_pretrained(target)
        write_json(target / PROMPT_FILE, section.model_dump(mode="json"))
        for path in (base / name for name in COPIED if (base / name).is_file()):
            shutil.copyfile(path, target / path.name)


def _write_shard(source: Path, target: Path, merged: Merged, advance: Advance) -> None:
    """Writes a shard's bytes, with what is merged in the place of the base's: same type and shape, so same size."""
    places = ((name, merged.base.entries[name]) for name in merged.names)
    inside = sorted((entry.start, name, entry) for name, entry in places if entry.file == source)
    with source.open("rb") as read, target.open("wb") as written:
        for _, name, entry in inside:
            _copy(read, written, entry.start - read.tell())
            _write(in_pieces(entry.shape, _stored(merged.values(name), entry.dtype), block=ROWS), written)
            read.seek(entry.start + entry.size)
            advance(1, "")
        _copy(read, written, source.stat().st_size - read.tell())


def _stored(values: Rows, dtype: str) -> Any:
    return lambda rows: stored_as(dtype, values(rows))


def _write(pieces: Iterable[NDArray[Any]], file: IO[bytes]) -> None:
    for piece in pieces:
        file.write(piece.data)


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count:
        copied = source.read(min(count, COPY_BYTES))
        if not copied:
            raise ModelError(f"{source.name}: ends too early; it was changed while it was read")
        target.write(copied)
        count -= len(copied)
