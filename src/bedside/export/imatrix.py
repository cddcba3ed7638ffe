"""An importance matrix: how large the inputs of each linear layer are, column by column, on rows that were trained on.

A weight matters as much as what it is multiplied by, so a quantiser that knows the mean of each column's squared input
rounds the columns less that matter more. In: the merged model and token rows. Out: sums of squares under GGUF's names,
and a file that llama.cpp's own tools read. Source: llama.cpp, tools/imatrix/README.md; the file's format is that of
common/imatrix-loader.cpp at commit 0a32c5e. As there, embedding and head have none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import Keys
from numpy.typing import NDArray
from torch import Tensor

from bedside.export import architecture
from bedside.files import replacing
from bedside.runtime.device import choose
from bedside.runtime.hf import load_model

ROWS = 64
TOKENS = 16_384
"""At most; the mean of a square settles long before, and 135M parameters take half a minute on two cores."""


@dataclass(frozen=True, slots=True)
class Importance:
    """Sums of squared inputs, shape [columns] by the weight's name in GGUF, over `tokens` tokens of `rows` rows."""

    sums: Mapping[str, NDArray[np.float32]]
    tokens: int
    rows: int
    longest: int
    dataset: str

    def of(self, name: str) -> NDArray[np.float32] | None:
        """The mean squared input of each column of a weight; None if it has none, as the embedding."""
        return self.sums[name] / np.float32(self.tokens) if name in self.sums else None

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Tells a quantised file what it was made with, under the names of llama.cpp's tools/quantize."""
        writer.add_string("quantize.imatrix.dataset", self.dataset)
        writer.add_uint32("quantize.imatrix.entries_count", len(self.sums))
        writer.add_uint32("quantize.imatrix.chunks_count", self.rows)

    def write(self, path: Path) -> None:
        """Writes the file; a row is a chunk, and the longest one's tokens its size."""
        with replacing(path) as unfinished:
            writer = gguf.GGUFWriter(unfinished, "")
            writer.add_type(gguf.GGUFType.IMATRIX)
            writer.add_array(Keys.IMatrix.DATASETS, [self.dataset])
            writer.add_uint32(Keys.IMatrix.CHUNK_COUNT, self.rows)
            writer.add_uint32(Keys.IMatrix.CHUNK_SIZE, self.longest)
            for name, sums in sorted(self.sums.items()):
                writer.add_tensor(f"{name}.in_sum2", sums[None])
                writer.add_tensor(f"{name}.counts", np.full((1, 1), self.tokens, np.float32))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()


def measure(folder: Path, rows: Sequence[Sequence[int]], dataset: str) -> Importance:
    """Computes the first rows, up to `TOKENS` tokens, with the model of a folder, which has to fit into memory."""
    chosen = _first(rows)
    model = load_model(folder, choose()).eval()
    decoder = model.get_decoder()
    with torch.inference_mode(), _watched(model) as sums:
        for row in chosen:
            decoder(input_ids=torch.tensor([row], device=model.device), use_cache=False)
    names = architecture.read(folder).gguf_names(sums)
    return Importance(
        {names[name]: found.cpu().numpy().astype(np.float32) for name, found in sums.items()},
        tokens=sum(map(len, chosen)),
        rows=len(chosen),
        longest=max(map(len, chosen)),
        dataset=dataset,
    )


def _first(rows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The first of at most `ROWS` rows that have no more than `TOKENS` tokens together; one at least."""
    ends = np.cumsum([len(row) for row in rows[:ROWS]])
    return list(rows[: max(1, int((ends <= TOKENS).sum()))])


@contextmanager
def _watched(model: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    """Yields {weight: sum of its squared inputs, shape [columns]}, which grows with all that the model computes."""
    sums: dict[str, Tensor] = {}

    def add(name: str, inputs_BTC: Tensor) -> None:
        squares_C = inputs_BTC.double().square().flatten(0, -2).sum(0)
        sums[name] = sums[name] + squares_C if name in sums else squares_C

    def hook(name: str) -> Any:
        return lambda module, inputs: add(f"{name}.weight", inputs[0])

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in layers]
    try:
        yield sums
    finally:
        for one in hooks:
            one.remove()
