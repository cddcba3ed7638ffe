"""Which quantisation each tensor of a file gets, and the quantising itself.

In: fp32 rows, and how much each of their columns matters (export.imatrix). Out: the bytes that llama.cpp reads. Blocks
are made by ggml's own C code, which is called in xllamacpp's shared object and lets go of Python's lock; where it is
hidden, the gguf library makes the same bytes of all but the K-quants, more slowly. The mixtures are llama.cpp's
(src/llama-quant.cpp, without its exceptions for mixtures of experts, for 80 layers, and for the first layers of Q4_0
with an importance matrix, which get Q4_1 there).
"""

import ctypes
from functools import cache
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import LlamaFileType
from numpy.typing import NDArray

from bedside.errors import MissingExtra, ModelError
from bedside.recipe import Quantisation
from bedside.runtime.libllama import library_file

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
ONLY_IN_C = (Kind.Q4_K, Kind.Q5_K, Kind.Q6_K)


def kind_of(name: str, shape: tuple[int, ...], quantisation: Quantisation, layers: int, tied: bool) -> Kind:
    """The type of the tensor that GGUF calls `name`. Vectors stay F32, as llama.cpp computes them in it."""
    if len(shape) == 1:
        return Kind.F32
    most = MOSTLY[quantisation][0]
    return most if most in FLOATS else _fitting(_preferred(name, most, quantisation, layers, tied), shape[-1])


def quantise(
    values: NDArray[np.float32], kind: Kind, importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The bytes of each row: shape [..., bytes a row]. Rows must be a multiple of the kind's block.

    `importance` has a weight for the squared error of each column, shape [columns]; some kinds pass it over, as Q8_0.
    """
    values = np.ascontiguousarray(values, np.float32)
    if kind in FLOATS:
        from bedside.export.tensors import stored_as  # brings torch, which planning does without

        return stored_as(kind.name, values).view(np.uint8)
    if importance is None and kind not in ONLY_IN_C and _ggml() is None:
        return np.ascontiguousarray(gguf.quants.quantize(values, kind)).view(np.uint8)
    return _quantise_in_c(values, kind, importance)


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


def _quantise_in_c(
    values: NDArray[np.float32], kind: Kind, importance: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    ggml = _ggml()
    if ggml is None:
        raise _lacking()
    columns = values.shape[-1]
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    if weights is not None and weights.shape != (columns,):
        raise ModelError(f"the importance matrix has {weights.shape} numbers for rows of {columns}")
    out = np.empty(gguf.quant_shape_to_byte_shape(values.shape, kind), np.uint8)
    rows, pointer = values.size // columns, None if weights is None else weights.ctypes.data
    written = ggml.ggml_quantize_chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, pointer)
    if written != out.nbytes:
        raise ModelError(f"llama.cpp wrote {written} bytes as {kind.name}, expected {out.nbytes}; export f16 instead")
    return out


def _lacking() -> Exception:
    if library_file() is None:
        return MissingExtra.named("a K-quantisation (q6_k, q5_k_m, q4_k_m, q4_0)", "export")
    return ModelError("xllamacpp hides ggml_quantize_chunk here; export q8_0 without export.imatrix instead")


@cache
def _ggml() -> Any:
    """ggml's C functions, which xllamacpp's extension exports; None if it is not installed, or hides them.

    None of its Python code is run.
    """
    file = library_file()
    library: Any = ctypes.CDLL(str(file)) if file else None
    if not hasattr(library, "ggml_quantize_chunk"):
        return None
    function = library.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    return library
