"""Tiny models in all the shapes that an export meets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bedside.export.vocabulary import DEEPSEEK, SPACE
from bedside.models.splits import LLAMA_3, QWEN_2

ZEPHYR = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""The layout of TinyLlama's template, which prints no begin token."""
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
OF_KIND: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "gemma3_text": {
        "num_hidden_layers": 4,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 8,
        "sliding_window_pattern": 3,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    },
}
"""What a tiny model of each kind has otherwise than `SHAPE`; rotary bases so small that a wrong one is seen."""
SaveModel = Callable[..., Path]
SaveAdapter = Callable[..., Path]
SaveRelease = Callable[..., Path]


@pytest.fixture
def save_llama(save_model: SaveModel) -> SaveModel:
    """Saves a random Llama with a tokenizer; settings of LlamaConfig may be given."""
    return lambda tokenizer, name="model", **settings: save_model(tokenizer, "llama", name, **settings)


@pytest.fixture
def save_model(tmp_path: Path, own_cache: Path) -> SaveModel:
    """Saves a random model of a kind with a tokenizer; settings of its configuration and a `seed` may be given."""
    return lambda tokenizer, kind, name="model", **settings: _save(tmp_path / name, tokenizer, kind, **settings)


def _save(folder: Path, tokenizer: Any, kind: str, seed: int = 1, **settings: Any) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **ids, **SHAPE, **OF_KIND[kind], **settings})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                # Wider than the default 0.02, so that the logits differ clearly; narrow where a wide embedding, used
                # for the output too, would only say each token again.
                narrow = config.tie_word_embeddings and "embed_tokens" in name
                torch.nn.init.normal_(weight, std=0.04 if narrow else 0.2)
            elif name.endswith(("norm.weight", "bias")):  # as trained ones are: no zeros, and no ones
                weight.data += 0.2 * torch.randn_like(weight)
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            table.weight.data[tokenizer.all_special_ids] *= 0.1  # so that it goes on speaking
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

    from bedside.runtime.hf import quiet_peft

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": targets, "task_type": "CAUSAL_LM", **settings})
    with torch.random.fork_rng():
        torch.manual_seed(2)
        with quiet_peft():
            model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def llama_3_tokenizer(tiny_llama: Path) -> Any:
    """The shared tiny tokenizer's tokens, split as Llama 3 splits text."""

    def change(tokenizer: Any) -> None:
        tokenizer.pre_tokenizer = _split(LLAMA_3)
        tokenizer.model.ignore_merges = True

    return _changed(tiny_llama, change)


@pytest.fixture
def qwen_2_tokenizer(tiny_llama: Path) -> Any:
    """The shared tiny tokenizer's tokens, composed and split as Qwen2 composes and splits text."""
    from tokenizers import normalizers

    def change(tokenizer: Any) -> None:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = _split(QWEN_2)

    return _changed(tiny_llama, change)


@pytest.fixture
def r1_qwen_tokenizer(qwen_2_tokenizer: Any) -> Any:
    """Qwen2's with DeepSeek's begin token and no normaliser."""
    qwen_2_tokenizer.add_special_tokens({"bos_token": DEEPSEEK})
    qwen_2_tokenizer.backend_tokenizer.normalizer = None
    return qwen_2_tokenizer


def _split(pattern: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


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


SCORE = {
    "task": "decision", "n": 72, "metric": "accuracy", "value": 0.625, "ci": [0.5, 0.73], "unparsed": 0, "baseline": 0.25,
}  # fmt: skip
DIFFERENCE = {
    "task": "decision", "n": 72, "base": 0.4, "tuned": 0.625, "difference": 0.225, "ci": [-0.05, 0.4], "p": 0.7,
    "p_adjusted": 0.7, "detectable": 0.16, "verdict": "underpowered", "counted": True, "won": ["row-7"], "lost": [],
}  # fmt: skip
FIRST = {"question": "What ails Mr Miller?", "stage": "greedy", "position": 3}


@pytest.fixture
def save_release(tmp_path: Path) -> SaveRelease:
    """Writes a release as the export stage does, of a GGUF file that holds no model; `ok` is what parity found."""
    return lambda ok=True, size=300_000: _save_release(tmp_path / "demo", ok, size)


def _save_release(run: Path, ok: bool | None, size: int) -> Path:
    from bedside.data import card as data_card
    from bedside.export import release
    from bedside.export.card import Evidence, card
    from bedside.files import sha256, write_bytes, write_json, write_text
    from bedside.recipe import DataSection, Recipe

    recipe = Recipe(name="demo", model={"base": "org/base-1b"}, data={"source": "pubmedqa"})
    stats = {"read": 90, "kept": 80, "dropped": {}, "splits": {"test": 72}, "changed": {}, "contamination": []}
    data = data_card.card("demo", DataSection(source="pubmedqa"), stats, [], "9001f285")
    stages = {
        "data": ("card.json", data),
        "adapter": ("train.json", {"steps": 36, "final_loss": 1.25}),
        "evaluation/base": ("scores.json", {"model": "base", "tasks": [{**SCORE, "value": 0.4}]}),
        "evaluation/tuned": ("scores.json", {"model": "tuned", "tasks": [SCORE]}),
        "comparison": ("comparison.json", {"verdict": "underpowered", "tasks": [DIFFERENCE]}),
    }
    for stage, (name, content) in stages.items():
        write_json(run / stage / name, content)
    folder = run / "export"
    write_bytes(folder / "demo-q8_0.gguf", bytes(i * i % 251 for i in range(size)))
    write_text(folder / release.MODELFILE, "FROM ./demo-q8_0.gguf\n")
    file = folder / "demo-q8_0.gguf"
    about = {"path": file.name, "quantisation": "q8_0", "bytes": file.stat().st_size, "sha256": sha256(file)}
    base = {"name": "org/base-1b", "id": "org/base-1b", "revision": None, "licence": "apache-2.0"}
    parity = {"ok": ok, "tokens_equal": True, "kl_mean": 0.003, "first_difference": FIRST}
    release.take_evidence(
        folder, recipe, {name: run / name for name in stages}, {"base": base, "files": [about], "parity": parity}
    )
    write_json(folder / "export.json", {"files": [about], "parity": parity})
    named = release.listed(folder)
    write_text(folder / release.CARD, card(Evidence.read(folder), named))
    release.seal(folder, named)
    return folder


@pytest.fixture
def gemma_tokenizer() -> Any:
    """BPE over "▁" in the order of Gemma's vocabulary: runs of lines and spaces, bytes, learnt pieces, characters."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    from transformers import GemmaTokenizer
    from transformers.tokenization_utils_base import generate_merges

    text = ["the heart of the patient beats", "aspirin is given to the patient", "yes or no, the answer is: no."] * 9
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    bpe.train_from_iterator(text, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    learnt = sorted(bpe.get_vocab(), key=lambda piece: (len(piece) == 1, bpe.get_vocab()[piece]))
    runs = [character * n for character in ("\n", SPACE) for n in range(2, 32)]
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    order = [*specials, *runs, *(f"<0x{i:02X}>" for i in range(256)), *learnt, "\n", "ß", "漢"]
    vocabulary = {token: i for i, token in enumerate(order)}
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=generate_merges(vocabulary, skip_tokens=specials))
    tokenizer.add_special_tokens({"additional_special_tokens": specials[-2:]})
    tokenizer.add_tokens([AddedToken(run, normalized=False) for run in runs])
    tokenizer.chat_template = GEMMA
    return tokenizer
