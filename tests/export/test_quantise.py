import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from bedside.errors import MissingExtra, ModelError
from bedside.export.quantise import kind_of, quantise, size_of
from bedside.recipe import Quantisation

RELATIVE_ERROR = {
    Kind.F32: 0.0,
    Kind.F16: 3e-4,
    Kind.BF16: 3e-3,
    Kind.Q8_0: 8e-3,
    Kind.Q6_K: 0.03,
    Kind.Q5_K: 0.06,
    Kind.Q5_1: 0.06,
    Kind.Q5_0: 0.06,
    Kind.Q4_K: 0.11,
    Kind.Q4_0: 0.11,
}
"""Root mean square error over the root mean square of normally distributed values."""


@pytest.fixture
def values() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(16, 512)).astype(np.float32)


@pytest.mark.parametrize("kind", RELATIVE_ERROR)
def test_bytes_give_the_values_back_within_the_error_of_the_format(values: NDArray[np.float32], kind: Kind) -> None:
    stored = quantise(values, kind)
    assert stored.dtype == np.uint8
    assert stored.nbytes == size_of(values.shape, kind)
    error = _dequantise(stored, kind).reshape(values.shape) - values
    assert float(np.sqrt((error**2).mean() / (values**2).mean())) <= RELATIVE_ERROR[kind]


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q5_1, Kind.Q5_0, Kind.Q4_0])
def test_bytes_are_those_of_the_gguf_library(values: NDArray[np.float32], kind: Kind) -> None:
    expected = np.ascontiguousarray(gguf.quants.quantize(values, kind)).view(np.uint8)
    assert np.array_equal(quantise(values, kind), expected)


def test_without_llama_cpp_blocks_of_32_have_the_same_bytes_and_k_quants_are_refused(
    values: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = quantise(values, Kind.Q8_0)
    monkeypatch.setattr("bedside.export.quantise._ggml", lambda: None)
    assert np.array_equal(quantise(values, Kind.Q8_0), expected)
    with pytest.raises(ModelError, match="hides ggml_quantize_chunk here; export q8_0"):
        quantise(values, Kind.Q4_K)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="q4_k_m"):
        quantise(values, Kind.Q4_K)


@pytest.mark.parametrize("kind", [Kind.Q6_K, Kind.Q5_K, Kind.Q4_K, Kind.Q5_1, Kind.Q5_0, Kind.Q4_0])
def test_columns_that_matter_more_are_rounded_less(values: NDArray[np.float32], kind: Kind) -> None:
    importance = np.ones(values.shape[-1], np.float32)
    importance[::7] = 1000
    plain, weighted = (
        float(
            (((_dequantise(quantise(values, kind, how), kind).reshape(values.shape) - values) ** 2) @ importance).sum()
        )
        for how in (None, importance)
    )
    assert weighted < 0.9 * plain


def test_an_importance_of_another_width_is_refused(values: NDArray[np.float32]) -> None:
    with pytest.raises(ModelError, match=r"\(256,\) numbers for rows of 512"):
        quantise(values, Kind.Q4_K, np.ones(256, np.float32))


def _dequantise(stored: NDArray[np.uint8], kind: Kind) -> NDArray[np.float32]:
    if kind in (Kind.F32, Kind.F16):
        return stored.view(np.float32 if kind == Kind.F32 else np.float16).astype(np.float32)
    return np.asarray(gguf.quants.dequantize(stored, kind), np.float32)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q6_K, Kind.Q4_K])
def test_zeros_stay_zeros(kind: Kind) -> None:
    assert not _dequantise(quantise(np.zeros((2, 256), np.float32), kind), kind).any()


# Golden values: what llama.cpp's llama-quantize chooses for a Llama of 32 layers (src/llama-quant.cpp).
@pytest.mark.parametrize(
    ("name", "shape", "quantisation", "tied", "expected"),
    [
        ("blk.0.attn_norm.weight", (4096,), "q4_k_m", False, Kind.F32),
        ("blk.0.attn_norm.weight", (4096,), "bf16", False, Kind.F32),
        ("token_embd.weight", (128256, 4096), "q4_k_m", False, Kind.Q4_K),
        ("token_embd.weight", (128256, 4096), "q4_k_m", True, Kind.Q6_K),
        ("output.weight", (128256, 4096), "q4_k_m", False, Kind.Q6_K),
        ("output.weight", (128256, 4096), "q4_0", False, Kind.Q6_K),
        ("output.weight", (128256, 4096), "q8_0", False, Kind.Q8_0),
        ("output.weight", (128256, 4096), "f16", False, Kind.F16),
        ("blk.0.attn_v.weight", (1024, 4096), "q4_k_m", False, Kind.Q6_K),
        ("blk.4.attn_v.weight", (1024, 4096), "q4_k_m", False, Kind.Q4_K),
        ("blk.6.attn_v.weight", (1024, 4096), "q5_k_m", False, Kind.Q6_K),
        ("blk.7.ffn_down.weight", (4096, 14336), "q5_k_m", False, Kind.Q5_K),
        ("blk.28.ffn_down.weight", (4096, 14336), "q4_k_m", False, Kind.Q6_K),
        ("blk.28.ffn_up.weight", (14336, 4096), "q4_k_m", False, Kind.Q4_K),
        ("blk.28.ffn_down.weight", (4096, 14336), "q6_k", False, Kind.Q6_K),
        # Rows of SmolLM2, 576 long, are no multiple of 256.
        ("blk.10.attn_q.weight", (576, 576), "q4_k_m", True, Kind.Q5_0),
        ("blk.10.attn_q.weight", (576, 576), "q5_k_m", True, Kind.Q5_1),
        ("blk.0.attn_v.weight", (192, 576), "q4_k_m", True, Kind.Q8_0),
        ("token_embd.weight", (49152, 576), "q4_k_m", True, Kind.Q8_0),
        # Rows of no multiple of 32 fit no block at all.
        ("blk.0.attn_q.weight", (40, 40), "q8_0", False, Kind.F16),
    ],
)
def test_each_tensor_gets_what_llama_cpp_gives_it(
    name: str, shape: tuple[int, ...], quantisation: Quantisation, tied: bool, expected: Kind
) -> None:
    assert kind_of(name, shape, quantisation, 32, tied) == expected
