import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ModelError
from bedside.export import pieces
from bedside.export.merge import merge
from bedside.files import read_json, write_json
from bedside.recipe import PromptSection

SECTION = PromptSection(style="alpaca-think")
# peft asks transformers by a name that transformers has since changed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def _peft_merged(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    return dict(model.merge_and_unload().state_dict())


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}, {"target_modules": ["v_proj"]}],
    ids=["plain", "rslora", "ranks of their own", "one target"],
)
def test_merged_weights_equal_those_of_peft(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = save_adapter(tiny_llama, **settings)
    merge(tiny_llama, adapter, tmp_path / "merged", SECTION)
    expected = _peft_merged(tiny_llama, adapter)
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert found.keys() == load_file(tiny_llama / "model.safetensors").keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_are_those_of_whole_tensors_however_they_are_cut(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=dtype).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(base)
    adapter = save_adapter(base)
    monkeypatch.setattr(pieces, "PIECE", 1)
    merge(base, adapter, tmp_path / "merged", SECTION)
    expected, change = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    for a in (name for name in change if ".lora_A." in name):
        name = a.removeprefix("base_model.model.").replace(".lora_A.", ".")
        whole = change[a.replace(".lora_A.", ".lora_B.")] @ change[a]
        expected[name] = (expected[name].float() + 6 / 4 * whole).to(dtype)
    save_file(expected, tmp_path / "expected.safetensors", {"format": "pt"})
    assert (tmp_path / "merged/model.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def test_a_merge_that_fails_leaves_no_model(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    merged, adapter = tmp_path / "merged", save_adapter(tiny_llama)
    merge(tiny_llama, adapter, merged, SECTION)
    before = (merged / "model.safetensors").read_bytes()
    tensors = load_file(adapter / "adapter_model.safetensors")
    last = {name: torch.full_like(weight, 1e20) for name, weight in tensors.items() if "layers.1.mlp.up_proj" in name}
    save_file(tensors | last, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' holds values that are not finite"):
        merge(tiny_llama, adapter, merged, SECTION)
    assert not (merged / "config.json").exists()
    assert (merged / "model.safetensors").read_bytes() == before
    assert not list(merged.glob(".*"))


def test_shards_and_type_stay_those_of_the_base(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    base, merged = tmp_path / "base", tmp_path / "merged"
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.bfloat16)
    model.save_pretrained(base, max_shard_size="60KB")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(base)
    adapter = save_adapter(base)
    merge(base, adapter, merged, SECTION)
    assert {f.name for f in base.glob("*.safetensors*")} == {f.name for f in merged.glob("*.safetensors*")}
    found = AutoModelForCausalLM.from_pretrained(merged).state_dict()
    for name, expected in _peft_merged(base, adapter).items():
        assert found[name].dtype == torch.bfloat16
        torch.testing.assert_close(found[name], expected.bfloat16(), rtol=0, atol=0)


def test_the_folder_carries_the_prompt_of_the_recipe(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    merge(tiny_llama, save_adapter(tiny_llama), tmp_path / "merged", SECTION)
    template = AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template
    assert "### Response" in template
    assert PromptSection.model_validate(read_json(tmp_path / "merged" / "bedside.json")) == SECTION
    assert read_json(tmp_path / "merged" / "config.json") == read_json(tiny_llama / "config.json")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_dora", True),
        ("alora_invocation_tokens", [5, 7]),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("fan_in_fan_out", True),
        ("alpha_pattern", {"q_proj": 8}),
        ("peft_type", "IA3"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, setting: str, value: Any
) -> None:
    adapter = save_adapter(tiny_llama)
    write_json(adapter / "adapter_config.json", {**read_json(adapter / "adapter_config.json"), setting: value})
    with pytest.raises(ModelError, match=f"{setting} = "):
        merge(tiny_llama, adapter, tmp_path / "merged", SECTION)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    "change", [{"r": 10**9}, {"lora_alpha": float("inf")}, {"lora_alpha": None}, {"megatron_config": {"a": 1}}], ids=str
)
def test_what_no_adapter_has_is_refused_by_name(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = save_adapter(tiny_llama) / "adapter_config.json"
    path.write_text(json.dumps({**read_json(path), **change}))
    with pytest.raises(ModelError, match=f"adapter_config.json: {next(iter(change))} "):
        merge(tiny_llama, path.parent, tmp_path / "merged", SECTION)


Q = "base_model.model.model.layers.0.self_attn.q_proj"
Change = Callable[[dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({"base_model.model.lm_head.lora_A.weight": torch.ones(4, 64)}),
            "'lm_head' has an update, but shares",
        ),
        (lambda t: t.update({"base_model.model.router.lora_A.weight": torch.ones(4, 64)}), "'router' is no weight"),
        (
            lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(4, 400)}),
            r"'\S+embed_tokens.lora_embedding_A' is no LoRA factor",
        ),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(4)}), "is no LoRA factor"),
        (lambda t: t.pop(f"{Q}.lora_B.weight"), "only one of its two factors"),
        (lambda t: t.update({f"{Q}.lora_B.weight": torch.ones(32, 4)}), r"factors \(32, 4\) · \(4, 64\)"),
        (lambda t: t.update({f"{Q}.lora_B.weight": torch.full((64, 4), torch.inf)}), "not finite"),
    ],
    ids=["tied head", "no such weight", "embedding", "no factor", "half", "shape", "infinite"],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path, change: Change, message: str
) -> None:
    adapter = save_adapter(tiny_llama)
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=message):
        merge(tiny_llama, adapter, tmp_path / "merged", SECTION)


def test_the_index_is_copied_as_it_is(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(base, max_shard_size="100KB")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(base)
    merge(base, save_adapter(base), tmp_path / "merged", SECTION)
    index = "model.safetensors.index.json"
    assert json.loads((tmp_path / "merged" / index).read_text()) == json.loads((base / index).read_text())
