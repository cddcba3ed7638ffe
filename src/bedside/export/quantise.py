"""Which quantisation each tensor of a file gets, and the quantising itself.

In: fp32 rows. Out: the bytes that llama.cpp reads. F32 to Q8_0 go through the gguf library; the K-quants exist only
in ggml's own C code, which is called in xllamacpp's shared object. The mixtures are llama.cpp's (src/llama-quant.cpp,
without its exceptions for mixtures of experts and for 80 layers).
"""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from numpy.typing import NDArray

from bedside.errors import MissingExtra, ModelError
from bedside.recipe import Quantisation

MOSTLY: dict[Quantisation, tuple[Kind, LlamaFileType]] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q6_k": (Kind.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "q5_k_m": (Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "q4_k_m": (Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "q4_0": (Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""What most tensors of a file become, and the number that says so in the file."""
FLOATS = (Kind.F32, Kind.F16, Kind.BF16)
NARROWER = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}
"""Blocks of 32 instead of 256, for rows that are no multiple of 256."""
IN_C = (Kind.Q4_K, Kind.Q5_K, Kind.Q6_K)


def kind_of(name: str, shape: tuple[int, ...], quantisation: Quantisation, layers: int, tied: bool) -> Kind:
    """The type of the tensor that GGUF calls `name`. Vectors stay F32, as llama.cpp computes them in it."""
    if len(shape) == 1:
        return Kind.F32
    most = MOSTLY[quantisation][0]
    return most if most in FLOATS else _fitting(_preferred(name, most, quantisation, layers, tied), shape[-1])


def quantise(values: NDArray[np.float32], kind: Kind) -> NDArray[np.uint8]:
    """The bytes of each row: shape [..., bytes a row]. Rows must be a multiple of the kind's block."""
    if kind in IN_C:
        return _quantise_in_c(np.ascontiguousarray(values, np.float32), kind)
    stored = gguf.quants.quantize(np.ascontiguousarray(values, np.float32), kind)
    return np.ascontiguousarray(stored).view(np.uint8)


def size_of(shape: tuple[int, ...], kind: Kind) -> int:
    """Bytes of a tensor."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // block * size


def _preferred(name: str, most: Kind, quantisation: Quantisation, layers: int, tied: bool) -> Kind:
    """What the mixture gives the tensor if its rows were of any length."""
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return most if most == Kind.Q8_0 else Kind.Q6_K
    sensitive = name.endswith(("attn_v.weight", "ffn_down.weight"))
    if quantisation.endswith("_k_m") and sensitive and _gets_more_bits(int(name.split(".")[1]), layers):
        return Kind.Q6_K
    return most


def _gets_more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(kind: Kind, columns: int) -> Kind:
    if columns % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = NARROWER.get(kind, kind)
    return Kind.F16 if columns % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _quantise_in_c(values: NDArray[np.float32], kind: Kind) -> NDArray[np.uint8]:
    columns = values.shape[-1]
    rows = values.size // columns
    out = np.empty(gguf.quant_shape_to_byte_shape(values.shape, kind), np.uint8)
    written = _ggml().ggml_quantize_chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if written != out.nbytes:
        raise ModelError(f"llama.cpp wrote {written} bytes as {kind.name}, expected {out.nbytes}; export q8_0 instead")
    return out


@cache
def _ggml() -> Any:
    """ggml's C functions, which xllamacpp's extension exports; none of its Python code is run."""
    spec = importlib.util.find_spec("xllamacpp")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    libraries = [file for folder in folders for file in sorted(Path(folder).glob("xllamacpp*.*")) if _is_library(file)]
    if not libraries:
        raise MissingExtra.named("a K-quantisation (q6_k, q5_k_m, q4_k_m, q4_0)", "export")
    library = ctypes.CDLL(str(libraries[0]))
    if not hasattr(library, "ggml_quantize_chunk"):
        raise ModelError(f"{libraries[0].name} does not export ggml_quantize_chunk; export q8_0 instead")
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library


def _is_library(file: Path) -> bool:
    return file.suffix in (".so", ".pyd", ".dylib")
