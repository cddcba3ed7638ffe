from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.export import imatrix
from bedside.export.agreement import Agreement, Text, in_llama_cpp, in_transformers
from bedside.export.convert import write_gguf
from bedside.export.imatrix import measure
from bedside.recipe import Quantisation
from bedside.runtime.device import choose
from bedside.runtime.libllama import File

ROWS = [[int(i) for i in torch.randint(3, 390, (40,), generator=torch.Generator().manual_seed(n))] for n in range(6)]
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def test_it_is_the_mean_square_of_what_each_layer_is_given(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the hidden states that transformers itself returns, through the norm before the layer."""
    monkeypatch.setattr(imatrix, "choose", lambda: choose("fp32"))
    found = measure(tiny_llama, ROWS[:2], "two rows")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    with torch.inference_mode():
        entering = [model(torch.tensor([row]), output_hidden_states=True).hidden_states[1] for row in ROWS[:2]]
        inputs = model.model.layers[1].input_layernorm(torch.cat(entering, 1))
    expected = inputs.square().mean((0, 1)).numpy()
    for name in ("blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.1.attn_v.weight"):
        np.testing.assert_allclose(found.of(name), expected, rtol=1e-4)
    assert set(found.sums) == {f"blk.{layer}.{name}.weight" for layer in (0, 1) for name in LINEAR}
    assert found.of("token_embd.weight") is None
    assert (found.tokens, found.rows, found.longest) == (80, 2, 40)


def test_rows_are_taken_while_there_is_room_for_their_tokens(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imatrix, "TOKENS", 100)
    assert measure(tiny_llama, ROWS, "rows").rows == 2
    monkeypatch.setattr(imatrix, "TOKENS", 10)
    assert measure(tiny_llama, ROWS, "rows").rows == 1
    monkeypatch.setattr(imatrix, "ROWS", 3)
    monkeypatch.setattr(imatrix, "TOKENS", 1000)
    assert measure(tiny_llama, ROWS, "rows").rows == 3


def test_the_file_has_what_llama_cpp_reads(tiny_llama: Path, tmp_path: Path) -> None:
    """Names, types and shapes of common/imatrix-loader.cpp: [columns, 1] and [1, 1] in ggml's order."""
    found = measure(tiny_llama, ROWS[:2], "starter")
    found.write(tmp_path / "imatrix.gguf")
    reader = gguf.GGUFReader(tmp_path / "imatrix.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "imatrix"
    assert fields["imatrix.datasets"] == ["starter"]
    assert (fields["imatrix.chunk_count"], fields["imatrix.chunk_size"]) == (2, 40)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 * len(found.sums)
    for name, sums in found.sums.items():
        stored, counts = tensors[f"{name}.in_sum2"], tensors[f"{name}.counts"]
        assert {stored.tensor_type.name, counts.tensor_type.name} == {"F32"}
        assert list(stored.shape) == [len(sums), 1]
        assert list(counts.shape) == [1, 1]
        assert np.array_equal(stored.data.reshape(-1), sums)
        assert counts.data.item() == 80


@pytest.fixture
def uneven(tiny_llama: Path, save_llama: Any) -> Path:
    """A model in which one column in sixteen carries inputs that are thirty times as large as the others."""
    folder: Path = save_llama(AutoTokenizer.from_pretrained(tiny_llama), hidden_size=256, intermediate_size=512)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if name.endswith("layernorm.weight"):
            weight.data = torch.full_like(weight, 0.03)
            weight.data[::16] = 1.0
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("quantisation", ["q4_k_m", "q4_0", "q5_k_m"])
def test_with_it_the_quantised_model_says_more_nearly_the_same(
    uneven: Path, tmp_path: Path, quantisation: Quantisation
) -> None:
    importance = measure(uneven, ROWS, "rows")
    write_gguf(uneven, tmp_path / "plain.gguf", quantisation, "tiny")
    write_gguf(uneven, tmp_path / "weighted.gguf", quantisation, "tiny", importance)
    plain, weighted = (_divergence(uneven, tmp_path / name) for name in ("plain.gguf", "weighted.gguf"))
    assert weighted < 0.8 * plain
    fields = gguf.GGUFReader(tmp_path / "weighted.gguf").fields
    assert fields["quantize.imatrix.entries_count"].contents() == 14
    assert "quantize.imatrix.dataset" not in gguf.GGUFReader(tmp_path / "plain.gguf").fields


def _divergence(folder: Path, path: Path) -> float:
    """Mean divergence in nats a token along a text."""
    found, model = Agreement(), in_transformers(folder)
    with closing(File(path, 128)) as file:
        ids = file.tokens("Which drug lowers the blood pressure of the patient? Is the heart raised?")
        text = Text(tuple(ids[:5]), tuple(ids[5:]))
        for ours_TV, theirs_TV in zip(model([text]), in_llama_cpp(file)([text]), strict=True):
            found.add(ours_TV, theirs_TV, text.completion)
    return float(found.to_json()["kl_mean"])


def test_files_without_few_bits_hold_the_same_weights_with_it(uneven: Path, tmp_path: Path) -> None:
    importance = measure(uneven, ROWS[:1], "rows")
    for quantisation in ("f16", "q8_0"):
        write_gguf(uneven, tmp_path / "plain.gguf", quantisation, "tiny")
        write_gguf(uneven, tmp_path / "weighted.gguf", quantisation, "tiny", importance)
        plain, weighted = (gguf.GGUFReader(tmp_path / name).tensors for name in ("plain.gguf", "weighted.gguf"))
        for one, other in zip(plain, weighted, strict=True):
            assert np.array_equal(one.data, other.data)
