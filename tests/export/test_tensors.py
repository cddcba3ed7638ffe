from pathlib import Path

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
