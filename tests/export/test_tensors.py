import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bedside.errors import ModelError
from bedside.export.tensors import Tensors, stored_as

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_is_read_as_safetensors_reads_it(tmp_path: Path, dtype: str) -> None:
    file = tmp_path / "model.safetensors"
    saved = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(DTYPES[dtype])
    save_file({"first": torch.zeros(2), "wanted": saved}, file)
    assert np.array_equal(Tensors([file]).read("wanted"), saved.float().numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 7), slice(6, 7), slice(7, 7), slice(5, 99)])
def test_some_rows_are_read_alone(tmp_path: Path, dtype: str, rows: slice) -> None:
    file = tmp_path / "model.safetensors"
    saved = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(0)).to(DTYPES[dtype])
    save_file({"first": torch.zeros(2), "wanted": saved}, file)
    assert np.array_equal(Tensors([file]).read("wanted", rows), saved[rows].float().numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_rounded_as_torch_rounds_them(tmp_path: Path, dtype: str) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    expected = values.to(DTYPES[dtype])
    assert stored_as(dtype, values.numpy()).tobytes() == expected.view(torch.uint8).numpy().tobytes()


def test_a_sharded_model_is_found_by_its_index(tmp_path: Path, tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    tensors = Tensors.of_model(tmp_path)
    assert len(tensors.files) > 1
    assert tensors.entries.keys() == load_file(tiny_llama / "model.safetensors").keys()


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    save_file({"layer": torch.tensor([1.0, float("nan")])}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="'layer' holds values that are not finite"):
        Tensors([tmp_path / "a.safetensors"]).read("layer")


def test_a_type_that_is_no_plain_float_is_named(tmp_path: Path) -> None:
    save_file({"packed": torch.zeros(4, dtype=torch.uint8)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="'packed' is stored as U8"):
        Tensors([tmp_path / "a.safetensors"]).read("packed")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, None])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        Tensors([file])


def test_a_file_that_was_cut_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"layer": torch.zeros(64)}, file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="ends too early"):
        Tensors([file])


def written(path: Path, header: Any, data: int = 16, length: int | None = None) -> Path:
    """A safetensors file of any header, and `data` bytes of zeros."""
    stored = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(stored) if length is None else length).to_bytes(8, "little") + stored + b"\0" * data)
    return path


def tensor(first: Any = 0, last: Any = 16, shape: Any = (4,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    "header",
    [
        [],
        5,
        {"a": 5},
        {"a": {}},
        {"a": tensor(shape=[-1])},
        {"a": tensor(shape=[-2, -2])},
        {"a": tensor(shape=[5])},
        {"a": tensor(shape=[2.0, 2.0])},
        {"a": tensor(shape="four")},
        {"a": tensor(shape=[1 << 40, 1 << 40])},
        {"a": tensor(shape=[10**4000] * 9000)},
        {"a": tensor(dtype=5)},
        {"a": tensor(dtype="F64")},
        {"a": tensor(first=-16, last=0)},
        {"a": tensor(first=16, last=0)},
        {"a": tensor(first="0")},
        {"a": tensor(0, 16), "b": tensor(0, 16)},
        {"a": tensor(0, 16), "b": tensor(8, 24)},
        {"a": tensor(4, 20)},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}},
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], "shape": [4]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "a": {}}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda header: str(header)[:60],
)
def test_a_header_that_does_not_hold_is_refused(tmp_path: Path, header: Any) -> None:
    with pytest.raises(ModelError, match=r"a\.safetensors: not a safetensors file"):
        Tensors([written(tmp_path / "a.safetensors", header)])


@pytest.mark.parametrize("length", [2**64 - 1, 1 << 63, 1 << 40, 0])
def test_a_header_of_any_length_takes_no_more_than_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match="not a safetensors file"):
        Tensors([written(tmp_path / "a.safetensors", b"{" * 100, length=length)])


def test_tensors_beyond_the_end_are_told(tmp_path: Path) -> None:
    far = {"a": tensor(0, 4 << 40, shape=[1 << 40])}
    with pytest.raises(ModelError, match="ends too early"):
        Tensors([written(tmp_path / "a.safetensors", far)])


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bool, torch.uint8, torch.int64, torch.float8_e4m3fn, torch.complex64]
)
def test_every_type_has_its_size(tmp_path: Path, dtype: torch.dtype) -> None:
    saved = {
        "a": torch.zeros(3, 5, dtype=dtype),
        "scalar": torch.tensor(1, dtype=torch.int32),
        "none": torch.zeros(0, 4),
    }
    save_file(saved, tmp_path / "a.safetensors")
    found = Tensors([tmp_path / "a.safetensors"]).entries
    assert {name: entry.shape for name, entry in found.items()} == {name: tuple(t.shape) for name, t in saved.items()}
