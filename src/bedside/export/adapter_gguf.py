"""A PEFT LoRA folder → an adapter file that llama.cpp adds to a base model's own GGUF file.

In: the adapter's folder and its base's. Out: a GGUF file of a few megabytes, two factors for each weight that changes.
llama.cpp adds alpha / rank · B · A, with one alpha for all weights (`src/llama-adapter.h`): that of the first weight is
written, and where another's scale asks for a different one, the quotient is multiplied into its B. Rows of B stand in
llama.cpp's order, as those of the weight do. Layout: llama.cpp, `convert_lora_to_gguf.py`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from bedside.errors import ModelError
from bedside.export import architecture
from bedside.export.adapter import Update, updates
from bedside.export.convert import write_gguf
from bedside.export.tensors import Tensors, require_finite
from bedside.files import replacing, write_json
from bedside.models.folder import INDEX
from bedside.recipe import PromptSection, Quantisation
from bedside.runtime.choose import PROMPT_FILE
from bedside.runtime.tokenizer import load_tokenizer

AdapterType = Literal["f32", "f16"]
STORED: dict[AdapterType, type[np.floating]] = {"f32": np.float32, "f16": np.float16}


def write_adapter_gguf(adapter: Path, base: Path, target: Path, name: str, stored_as: AdapterType = "f16") -> None:
    """Writes `target`; `name` is what the file calls itself.

    Raises ModelError, by name, for what is no plain low-rank update of weights that the base's GGUF file holds.
    """
    model = architecture.read(base)
    weights = Tensors.of_model(base)
    changes = updates(adapter, weights)
    if not changes:
        raise ModelError(f"{adapter}: the adapter changes no weight of the base")
    names = model.gguf_names(changes)
    lost = next((weight for weight in changes if weight not in names), None)
    if lost is not None:
        raise ModelError(f"{adapter}: '{lost}' is not stored in the base's GGUF file; export the merged model")
    alpha = _alpha(next(iter(changes.values())))
    if alpha == 0:
        raise ModelError(f"{adapter}: lora_alpha is 0, which llama.cpp takes for none and adds the update whole")
    with replacing(target) as partial:
        writer = gguf.GGUFWriter(partial, model.family.name)
        try:
            writer.add_type(gguf.GGUFType.ADAPTER)
            writer.add_name(name)
            writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
            writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
            _write_factors(writer, model, changes, names, alpha, STORED[stored_as])
        finally:
            writer.close()


def write_base_gguf(base: Path, target: Path, quantisation: Quantisation, name: str, section: PromptSection) -> None:
    """Writes the base's own weights with the prompt that was trained, so that with the adapter it is asked alike."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in (base / "config.json", base / INDEX, *Tensors.of_model(base).files):
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        load_tokenizer(base, section).save_pretrained(folder)
        write_json(folder / PROMPT_FILE, section.model_dump(mode="json"))
        write_gguf(folder, target, quantisation, name)


def _alpha(change: Update) -> float:
    """What llama.cpp divides by the rank to arrive at the scale: PEFT's alpha, times √rank for rank-stabilised LoRA."""
    return float(change.scale * change.tensors.entries[change.a].shape[0])


def _write_factors(
    writer: gguf.GGUFWriter,
    model: architecture.Architecture,
    changes: dict[str, Update],
    names: dict[str, str],
    alpha: float,
    stored: type[np.floating],
) -> None:
    """Announces every factor, then writes them in the same order."""
    for weight, change in changes.items():
        for factor, tensor in (("a", change.a), ("b", change.b)):
            shape = change.tensors.entries[tensor].shape
            size = int(np.prod(shape)) * np.dtype(stored).itemsize
            writer.add_tensor_info(f"{names[weight]}.lora_{factor}", shape, np.dtype(stored), size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for weight, change in changes.items():
        for values in _factors(model, weight, change, alpha):
            with np.errstate(over="ignore"):
                narrowed = values.astype(stored)
            require_finite(narrowed, weight, change.tensors.files[0])
            writer.write_tensor_data(narrowed)
    writer.flush()


def _factors(
    model: architecture.Architecture, weight: str, change: Update, alpha: float
) -> Iterator[NDArray[np.float32]]:
    """A of shape [rank, columns], then B of shape [rows, rank], its rows in llama.cpp's order."""
    yield change.tensors.read(change.a)
    yield np.float32(_alpha(change) / alpha) * model.arrange(weight, change.tensors.read(change.b))
