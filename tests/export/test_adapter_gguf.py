"""A base's GGUF file with the adapter's beside it says what the merged model says."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ModelError
from bedside.export.adapter import CONFIG, WEIGHTS
from bedside.export.adapter_gguf import write_adapter_gguf
from bedside.export.convert import write_gguf
from bedside.export.merge import merge
from bedside.files import read_json, write_json
from bedside.recipe import PromptSection
from bedside.runtime.hf import encode
from bedside.runtime.llamacpp import opened
from tests.greedy import greedy_ids

# peft asks transformers by a name that transformers has since changed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TEXT = "user\nWhich drug lowers the blood pressure?"
TOKENS = 12
"""Later on, logits of these random models come within 0.003 of each other."""
ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "ranks of their own": {"use_rslora": True, "rank_pattern": {"q_proj": 9, "down_proj": 2}},
}


def _spoken(gguf: Path, ids: Sequence[int], lora: tuple[Path, float] | None = None) -> list[int]:
    """Greedy token ids of llama.cpp."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.n_ctx, parameters.n_parallel = 256, 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if lora is not None:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora[0]), lora[1])]
    return greedy_ids(opened(gguf, parameters), list(ids), TOKENS, ignore_eos=True)


def _greedy(model: Any, ids: Sequence[int]) -> list[int]:
    """The same of transformers, which goes on after an end token, too."""
    prompt = torch.tensor([ids])
    said = model.eval().generate(
        prompt, attention_mask=prompt >= 0, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False
    )
    return list(said[0, len(ids) :].tolist())


@pytest.fixture(params=["byte-level", "SentencePiece"])
def base(request: Any, tiny_llama: Path, save_llama: Any, sentencepiece_tokenizer: Any) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama) if request.param == "byte-level" else sentencepiece_tokenizer
    folder: Path = save_llama(tokenizer, "base")
    return folder


@pytest.mark.parametrize("settings", ADAPTERS.values(), ids=ADAPTERS)
def test_base_and_adapter_say_what_the_merged_model_says(
    base: Path, save_adapter: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = save_adapter(base, **settings)
    merge(base, adapter, tmp_path / "merged", PromptSection())
    for folder in (base, tmp_path / "merged"):
        write_gguf(folder, tmp_path / f"{folder.name}.gguf", "f32", "tiny")
    lora = tmp_path / "adapter.gguf"
    write_adapter_gguf(adapter, base, lora, "tiny adapter", "f32")
    ids = encode(AutoTokenizer.from_pretrained(base), TEXT)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    alone = _greedy(model, ids)
    tuned = _greedy(PeftModel.from_pretrained(model, adapter), ids)
    assert alone != tuned, "the adapter changes nothing, which shows nothing"
    assert _spoken(tmp_path / "base.gguf", ids, (lora, 1.0)) == tuned
    assert _spoken(tmp_path / "merged.gguf", ids) == tuned
    assert _spoken(tmp_path / "base.gguf", ids, (lora, 0.0)) == alone


def test_the_file_says_whose_adapter_it_is_and_holds_two_factors_a_weight(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, own_cache: Path
) -> None:
    adapter = save_adapter(tiny_llama, target_modules=["q_proj", "down_proj"])
    write_adapter_gguf(adapter, tiny_llama, tmp_path / "adapter.gguf", "a name")
    found = GGUFReader(tmp_path / "adapter.gguf")
    keys = ("general.type", "general.architecture", "general.name", "adapter.type", "adapter.lora.alpha")
    assert [found.fields[key].contents() for key in keys] == ["adapter", "llama", "a name", "lora", 6.0]
    assert {tensor.name for tensor in found.tensors} == {
        f"blk.{layer}.{name}.weight.lora_{factor}"
        for layer in (0, 1)
        for name in ("attn_q", "ffn_down")
        for factor in "ab"
    }
    assert {tensor.tensor_type.name for tensor in found.tensors} == {"F16"}
    shapes = {tensor.name: tuple(tensor.shape) for tensor in found.tensors}  # GGUF tells them the other way round
    assert shapes["blk.0.ffn_down.weight.lora_a"] == (128, 4)
    assert shapes["blk.0.ffn_down.weight.lora_b"] == (4, 64)


def _change_config(adapter: Path, **settings: object) -> None:
    config = adapter / CONFIG
    write_json(config, {**read_json(config), **settings})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
    ],
)
def test_what_no_adapter_file_can_express_is_refused_by_name_and_leaves_none(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, own_cache: Path, settings: dict[str, object], named: str
) -> None:
    adapter = save_adapter(tiny_llama)
    _change_config(adapter, **settings)
    with pytest.raises(ModelError, match=named):
        write_adapter_gguf(adapter, tiny_llama, tmp_path / "out" / "adapter.gguf", "tiny")
    assert not (tmp_path / "out").exists()


def test_an_update_of_a_head_that_shares_the_embedding_is_refused(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, own_cache: Path
) -> None:
    adapter = save_adapter(tiny_llama, target_modules=["q_proj"])
    head = "base_model.model.lm_head.lora_{}.weight"
    save_file({head.format("A"): torch.ones(4, 64), head.format("B"): torch.ones(400, 4)}, adapter / WEIGHTS)
    untied = tmp_path / "untied"
    shutil.copytree(tiny_llama, untied)
    weights = load_file(untied / "model.safetensors")
    save_file({**weights, "lm_head.weight": torch.ones(400, 64)}, untied / "model.safetensors")
    with pytest.raises(ModelError, match=r"'lm_head' has an update, but shares its weight with the embedding"):
        write_adapter_gguf(adapter, untied, tmp_path / "adapter.gguf", "tiny")


def test_a_factor_too_large_for_half_precision_is_refused(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, own_cache: Path
) -> None:
    adapter = save_adapter(tiny_llama)
    factors = load_file(adapter / WEIGHTS)
    save_file({name: 1e6 * values for name, values in factors.items()}, adapter / WEIGHTS)
    with pytest.raises(ModelError, match="not finite"):
        write_adapter_gguf(adapter, tiny_llama, tmp_path / "adapter.gguf", "tiny", "f16")
    write_adapter_gguf(adapter, tiny_llama, tmp_path / "adapter.gguf", "tiny", "f32")
