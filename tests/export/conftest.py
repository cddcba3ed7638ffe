"""Tiny models in all the shapes that an export meets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.export.vocabulary import LLAMA_3

ZEPHYR = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""The layout of TinyLlama's template, which prints no begin token."""
SaveLlama = Callable[..., Path]
SaveAdapter = Callable[..., Path]


@pytest.fixture
def save_llama(tmp_path: Path, own_cache: Path) -> SaveLlama:
    """Saves a random Llama with a tokenizer; settings of LlamaConfig may be given."""
    return lambda tokenizer, name="model", **settings: _save_llama(tmp_path / name, tokenizer, settings)


def _save_llama(folder: Path, tokenizer: Any, settings: dict[str, Any]) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(LlamaConfig(**{"vocab_size": len(tokenizer), **shape, **settings}))
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def save_adapter(tmp_path: Path) -> SaveAdapter:
    """Saves a LoRA adapter of a base folder, whose B is random too; settings of LoraConfig may be given."""
    return lambda base, **settings: _save_adapter(base, tmp_path / "adapter", settings)


def _save_adapter(base: Path, folder: Path, settings: dict[str, Any]) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": targets, "task_type": "CAUSAL_LM", **settings})
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def llama_3_tokenizer(tiny_llama: Path) -> Any:
    """The shared tiny tokenizer's tokens, split as Llama 3 splits text."""
    from tokenizers import Regex, pre_tokenizers

    def change(tokenizer: Any) -> None:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.model.ignore_merges = True

    return _changed(tiny_llama, change)


@pytest.fixture
def gpt_2_tokenizer(tiny_llama: Path) -> Any:
    """The shared tiny tokenizer's tokens, split as GPT-2 splits text."""
    from tokenizers import pre_tokenizers

    def change(tokenizer: Any) -> None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    return _changed(tiny_llama, change)


def _changed(folder: Path, change: Callable[[Any], None]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    change(tokenizer.backend_tokenizer)
    return tokenizer


@pytest.fixture
def sentencepiece_tokenizer() -> Any:
    """BPE over "▁" with 256 byte tokens, in the order of Llama 2's vocabulary, as transformers builds TinyLlama's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaTokenizer

    text = ["the heart of the patient beats", "aspirin is given to the patient", "yes or no, the answer is: no."] * 9
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    bpe.train_from_iterator(text, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    learnt = json.loads(bpe.to_str())["model"]
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    vocabulary = {token: i for i, token in enumerate([*specials, *learnt["vocab"]])}
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)
    tokenizer.chat_template = ZEPHYR
    return tokenizer
