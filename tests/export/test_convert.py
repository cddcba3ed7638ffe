from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ModelError
from bedside.export import architecture, pieces
from bedside.export.convert import write_gguf
from bedside.export.parity import check
from bedside.files import read_json, write_json
from bedside.models.gguf import metadata
from bedside.recipe import ModelSection, PromptSection, Quantisation
from bedside.runtime.hf import encode, load_tokenizer
from bedside.runtime.llamacpp import LlamaCpp

QUESTION = "Which drug lowers the blood pressure?"
LLAMA_3_1 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def _greedy(folder: Path, ids: Sequence[int], tokens: int) -> list[int]:
    """What transformers says, up to the first token that llama.cpp takes for an end."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    end = [0, 2]
    prompt = torch.tensor([ids])
    new = model.generate(prompt, attention_mask=prompt >= 0, max_new_tokens=tokens, do_sample=False, eos_token_id=end)[
        0, len(ids) :
    ].tolist()
    return new[:-1] if new[-1] in end else new


def _agree(folder: Path, gguf: Path, tokens: int = 40) -> None:
    """Asserts that transformers and llama.cpp continue a prompt with the same tokens."""
    ids = encode(AutoTokenizer.from_pretrained(folder), f"user\n{QUESTION}")
    expected = _greedy(folder, ids, tokens)
    assert len(expected) > 1, "the model ends at once, which shows nothing"
    with closing(LlamaCpp(gguf, 512)) as model:
        assert model.generate_ids(ids, tokens) == expected


def test_a_tied_model_speaks_as_in_transformers(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    _agree(tiny_llama, tmp_path / "model.gguf")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_key_value_heads": 4},
        {"head_dim": 32},
        {"attention_bias": True},
        {"vocab_size": 412},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        {"rope_parameters": {**LLAMA_3_1, "original_max_position_embeddings": 64}},
    ],
    ids=["grouped", "one key head each", "wide heads", "biases", "padded", "rope base", "linear rope", "Llama 3.1"],
)
def test_an_untied_model_speaks_as_in_transformers(tiny_llama: Path, save_llama: Any, settings: dict[str, Any]) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), **settings)
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    _agree(folder, folder / "model.gguf")


def test_a_sentencepiece_model_speaks_as_in_transformers(sentencepiece_tokenizer: Any, save_llama: Any) -> None:
    folder = save_llama(sentencepiece_tokenizer)
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    _agree(folder, folder / "model.gguf")


@pytest.mark.parametrize("quantisation", get_args(Quantisation))
def test_every_quantisation_loads_and_speaks(tiny_llama: Path, save_llama: Any, quantisation: Quantisation) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), hidden_size=256, intermediate_size=512)
    write_gguf(folder, folder / "model.gguf", quantisation, "tiny")
    ids = encode(AutoTokenizer.from_pretrained(folder), QUESTION)
    with closing(LlamaCpp(folder / "model.gguf", 512)) as model:
        spoken = model.generate_ids(ids, 8)
    if quantisation == "f32":
        assert spoken == _greedy(folder, ids, 8)
    assert all(0 <= token < 400 for token in spoken)


@pytest.mark.parametrize("quantisation", get_args(Quantisation))
def test_bytes_are_the_same_however_tensors_are_cut(
    tiny_llama: Path, save_llama: Any, monkeypatch: pytest.MonkeyPatch, quantisation: Quantisation
) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), hidden_size=256, intermediate_size=512)
    write_gguf(folder, folder / "whole.gguf", quantisation, "tiny")
    monkeypatch.setattr(pieces, "PIECE", 1)
    write_gguf(folder, folder / "cut.gguf", quantisation, "tiny")
    assert (folder / "cut.gguf").read_bytes() == (folder / "whole.gguf").read_bytes()


def test_rows_that_fit_no_block_of_256_fall_back(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "q4_k_m", "tiny")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q5_0"
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"


def test_the_file_says_how_it_is_prompted(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    section = PromptSection(style="alpaca-think", system="Prüfe 'alles'.")
    folder = tmp_path / "merged"
    load_tokenizer(tiny_llama, section).save_pretrained(folder)
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(tiny_llama / name)
    write_json(folder / "bedside.json", section.model_dump(mode="json"))
    write_gguf(folder, tmp_path / "model.gguf", "f16", "a name")
    said = metadata(tmp_path / "model.gguf")
    assert (said.name, said.bos, said.eos, said.adds_bos) == ("a name", "<|im_start|>", "<|im_end|>", False)
    assert (said.pre_tokenizer, said.context_length, said.prompt) == ("smollm", 512, section)
    assert said.template == load_tokenizer(folder, section).chat_template


def test_a_folder_without_a_prompt_section_gives_a_file_without(
    tiny_llama: Path, tmp_path: Path, own_cache: Path
) -> None:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f16", "tiny")
    assert metadata(tmp_path / "model.gguf").prompt is None


@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
def test_sentencepiece_prompts_have_the_trained_tokens(
    sentencepiece_tokenizer: Any, save_llama: Any, tmp_path: Path, style: str
) -> None:
    """ "chat" prints no begin token though the tokenizer would add one; "alpaca-think" prints it."""
    section = PromptSection(style=style)
    folder = save_llama(sentencepiece_tokenizer)
    load_tokenizer(folder, section).save_pretrained(folder)
    write_json(folder / "bedside.json", section.model_dump(mode="json"))
    write_gguf(folder, tmp_path / "model.gguf", "f32", "tiny")
    found = check(folder, tmp_path / "model.gguf", section, ["Is aspirin given to the patient?"], max_tokens=4)
    assert found.tokens_equal
    assert metadata(tmp_path / "model.gguf").adds_bos == (style == "alpaca-think")


def test_llama_3_1_divides_its_slow_frequencies(tiny_llama: Path, save_llama: Any) -> None:
    """Against transformers' own inverse frequencies: plain ones divided by those that it computes with scaling."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {**LLAMA_3_1, "original_max_position_embeddings": 8192}
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama), head_dim=128, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig.from_pretrained(folder), "cpu")
    plain = 1 / 500000.0 ** (np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(architecture.read(folder).rope_factors(), plain / scaled.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            {"architectures": ["Qwen2ForCausalLM"]},
            "'Qwen2ForCausalLM' cannot be exported to GGUF; known: LlamaForCausalLM",
        ),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary scaling 'yarn'"),
        ({"num_hidden_layers": 1}, r"'model\.layers\.1\.\S+' belongs to no Llama of 1 layers"),
        ({"vocab_size": 300}, "resize its embeddings"),
    ],
)
def test_what_cannot_be_exported_is_named_and_leaves_no_file(
    tiny_llama: Path, save_llama: Any, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama))
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **settings})
    out = tmp_path / "out"
    with pytest.raises(ModelError, match=named):
        write_gguf(folder, out / "model.gguf", "f16", "tiny")
    assert not out.exists() or not list(out.iterdir())


def test_a_finished_file_stays_when_the_next_export_fails(tiny_llama: Path, save_llama: Any) -> None:
    folder = save_llama(AutoTokenizer.from_pretrained(tiny_llama))
    target = folder / "model.gguf"
    write_gguf(folder, target, "f16", "tiny")
    before = target.read_bytes()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError):
        write_gguf(folder, target, "f16", "tiny")
    assert target.read_bytes() == before
    assert not list(folder.glob(".model.gguf*"))


@pytest.mark.slow
def test_the_embedded_model_says_the_same_after_the_round_trip(tmp_path: Path) -> None:
    from bedside.models.locate import resolve

    folder = resolve(ModelSection()).folder
    write_gguf(folder, tmp_path / "model.gguf", "f32", "SmolLM2")
    found = check(folder, tmp_path / "model.gguf", PromptSection(system=""), ["What causes a raised JVP?"])
    assert found.ok
    assert found.agreed_tokens == found.total_tokens == 64
    assert found.kl_mean < 1e-4
