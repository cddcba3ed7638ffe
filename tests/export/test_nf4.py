from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ModelError
from bedside.export.merge import merge
from bedside.export.nf4 import seen_in_training
from bedside.export.tensors import Tensors
from bedside.recipe import PromptSection
from bedside.runtime import hf
from bedside.runtime.device import choose

SECTION = PromptSection()
IDS = torch.arange(3, 60)[None]
# peft asks transformers by a name that transformers has since changed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(params=["tied", "untied"])
def base(request: pytest.FixtureRequest, tiny_llama: Path, save_llama: Any) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return tiny_llama if request.param == "tied" else save_llama(tokenizer, attention_bias=True)


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.eval()(IDS).logits.float()
    return found


def _merged(base: Path, adapter: Path, target: Path, precision: str | None) -> torch.Tensor:
    merge(base, adapter, target, SECTION, precision)
    return _logits(AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32))


def test_what_is_merged_says_what_the_base_in_4_bits_said_with_the_adapter(
    base: Path, save_adapter: Any, tmp_path: Path
) -> None:
    adapter = save_adapter(base)
    trained = _logits(PeftModel.from_pretrained(hf.load_model(base, choose("fp32"), "nf4"), adapter))
    assert (_merged(base, adapter, tmp_path / "nf4", "float32") - trained).abs().max() < 1e-4
    assert (_merged(base, adapter, tmp_path / "plain", None) - trained).abs().max() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_exactly_those_weights_are_rounded_that_are_in_4_bits_and_to_the_same_values(
    base: Path, precision: Any
) -> None:
    device = choose(precision)
    model = hf.load_model(base, device, "nf4")
    packed: dict[str, Any] = {
        f"{name}.weight": module.weight for name, module in model.named_modules() if isinstance(module, Linear4bit)
    }
    assert hf.four_bit_weights(base) == packed.keys()
    assert not [name for name in packed if "embed" in name or "head" in name]
    for name, weight in packed.items():
        expected = dequantize_4bit(weight.data, weight.quant_state)
        assert expected.dtype == device.dtype
        found = seen_in_training(Tensors.of_model(base).read(name), str(device.dtype).removeprefix("torch."))
        assert torch.equal(torch.from_numpy(found), expected.float())


def test_layers_without_an_update_are_rounded_too(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_llama, target_modules=["v_proj"])
    trained = _logits(PeftModel.from_pretrained(hf.load_model(tiny_llama, choose("fp32"), "nf4"), adapter))
    assert (_merged(tiny_llama, adapter, tmp_path / "nf4", "float32") - trained).abs().max() < 1e-4


def test_a_base_that_stores_its_weights_in_4_bits_is_refused(
    tiny_llama: Path, save_adapter: Any, tmp_path: Path
) -> None:
    adapter, packed = save_adapter(tiny_llama), tmp_path / "packed"
    hf.load_model(tiny_llama, choose("fp32"), "nf4").save_pretrained(packed)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(packed)
    with pytest.raises(ModelError, match=r"is stored in 4 bits \(bitsandbytes\); give the model's BF16 or F16 weights"):
        merge(packed, adapter, tmp_path / "merged", SECTION)
    assert not (tmp_path / "merged").exists()


def test_a_base_whose_files_lack_a_layer_is_refused(tiny_llama: Path, save_adapter: Any, tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", save_adapter(tiny_llama)
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(base)
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({other: weight for other, weight in tensors.items() if other != name}, base / "model.safetensors")
    with pytest.raises(ModelError, match=f"its files hold no '{name}'"):
        merge(base, adapter, tmp_path / "merged", SECTION, "float32")
