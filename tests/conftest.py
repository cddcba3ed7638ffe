"""Fixtures that several rooms share: a tiny random Llama, the shared data, and a cache of the test's own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from transformers import PreTrainedTokenizerFast

hypothesis.settings.register_profile("bedside", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("bedside")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: it reads this once

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SENTENCES = (
    "Which drug lowers the blood pressure of a patient with a raised jugular venous pressure?",
    "First I think of the heart, then of the lungs, and then of the kidneys.",
    "Aspirin 300 mg is given at once; the answer is B.",
    "Yes. The trial of 120 patients showed that the treatment worked.",
    "user system assistant <think> </think> A. B. C. D. yes no maybe",
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data sets that lie beside the project; tests that want them are skipped where they are absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}")
    return folder


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes to the user's audit log, and none reads the user's keys."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            patched.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that a test never writes to the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BEDSIDE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama (hidden 64, 2 layers, 4 query and 2 key heads) with its own BPE tokenizer, in fp32 safetensors."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).float()
        for weight in model.parameters():
            if weight.dim() > 1:  # wider than the default 0.02, so that the logits differ clearly from token to token
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT (hidden 16, 2 layers, 24 positions) whose weights are a formula's, so the same on every machine."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoders") / "tiny-bert"
    words = [
        "the",
        "heart",
        "lung",
        "fails",
        "is",
        "raised",
        "pressure",
        "of",
        "a",
        "vein",
        "not",
        "low",
        "and",
        "with",
        "fluid",
        "in",
        ".",
    ]
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {word: i for i, word in enumerate([*special.values(), *words])}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=24, **special).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    model = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=24, **sizes))
    with torch.no_grad():
        for number, weight in enumerate(one for one in model.parameters() if one.dim() > 1):
            places = torch.arange(weight.numel(), dtype=torch.float64).reshape(weight.shape)
            weight.copy_((43758.5453 * torch.sin(12.9898 * places + number)).frac())
    model.save_pretrained(folder)
    return folder


def tiny_tokenizer() -> "PreTrainedTokenizerFast":
    """A byte-level BPE of about 400 tokens that splits digits as SmolLM2's does, with its ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Debian's chromium, headless; tests that want it are skipped where it is not installed."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
