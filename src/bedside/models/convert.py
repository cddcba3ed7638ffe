"""A GGUF file → a folder in Hugging Face's layout, weights dequantised to fp32.

transformers reads the tensors and most settings. It leaves out some that llama.cpp reads (the width of heads, windows,
rotary scaling), and makes tokenizers that split otherwise than llama.cpp does: both are made here from the file, so
that the folder is the same model. What has no place in transformers' model, or no tokenizer alike, is refused by name.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, TokenType, get_tensor_name_map
from gguf.constants import MODEL_ARCH
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GemmaTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.tokenization_utils_base import generate_merges

from bedside.errors import ModelError, first_line
from bedside.files import disk_errors
from bedside.models.gguf import metadata
from bedside.models.splits import SPLITS

KNOWN = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3, "gemma3": MODEL_ARCH.GEMMA3}
NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
ELSEWHERE = "use the model's Hugging Face folder"


def gguf_to_folder(gguf: Path, folder: Path) -> None:
    """Converts once, atomically. Raises ModelError for a file that cannot be read or would not be the same model."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{folder.parent}: cannot be made ({error.strerror}); set BEDSIDE_CACHE to a folder"
        ) from error
    with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".convert.") as scratch:
        made = Path(scratch) / "model"
        _convert(gguf, made)
        if not folder.exists():  # another process may have been faster
            made.rename(folder)


def _convert(gguf: Path, folder: Path) -> None:
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    metadata(gguf)  # refuses what is no GGUF file
    file = _File(gguf)
    try:
        config = _config(AutoConfig.from_pretrained(**where), file)
        tokenizer = _tokenizer(file)
        model = AutoModelForCausalLM.from_pretrained(
            **where, config=config, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    except ModelError:
        raise
    except Exception as error:  # what a library meets in a file that is not what it seems has no common name
        raise ModelError(f"{gguf}: cannot be read as a model ({first_line(error)})") from error
    _require_all(model, file)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _require_kept(tokenizer, folder, file)


class _File:
    """A GGUF file's fields; `setting` reads those of its architecture. Raises ModelError if that is not known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = GGUFReader(path)
        self.arch = str(self.field("general.architecture"))
        self.tensors = {tensor.name for tensor in self._reader.tensors}
        if self.arch not in KNOWN:
            raise self.refused(f"architecture '{self.arch}' is not one of {', '.join(KNOWN)}")

    def field(self, key: str, default: Any = None) -> Any:
        found = self._reader.get_field(key)
        return default if found is None else found.contents()

    def setting(self, key: str, default: Any = None) -> Any:
        return self.field(f"{self.arch}.{key}", default)

    def vocabulary(self, key: str) -> list[Any]:
        found = self.field(f"tokenizer.ggml.{key}")
        if not isinstance(found, list):
            raise self.refused(f"the file has no tokenizer.ggml.{key}")
        return found

    def refused(self, why: str) -> ModelError:
        return ModelError(f"{self.path}: {why}; {ELSEWHERE}")


def _config(config: PreTrainedConfig, file: _File) -> PreTrainedConfig:
    """transformers' configuration with what it does not read from the file, by llama.cpp's defaults."""
    usual = config.hidden_size // config.num_attention_heads
    head_dim = int(file.setting("attention.key_length", usual))
    if file.arch != "qwen2":
        config.head_dim = head_dim
    rope = {"rope_type": "default", "rope_theta": float(file.setting("rope.freq_base", 10000.0))}
    scaling = file.setting("rope.scaling.type", "none")
    if scaling == "linear":
        rope |= {"rope_type": "linear", "factor": float(file.setting("rope.scaling.factor", 1.0))}
    elif scaling != "none":
        raise file.refused(f"rotary scaling '{scaling}' is not converted")
    if file.arch != "gemma3":
        config.rope_parameters = rope
        return config
    if file.setting("attention.sliding_window") is None or file.setting("final_logit_softcapping"):
        raise file.refused("a Gemma 3 without windows, or with capped logits, is not converted")
    local = {"rope_type": "default", "rope_theta": float(file.setting("rope.freq_base_swa", 10000.0))}
    config.rope_parameters = {"full_attention": rope, "sliding_attention": local}
    period, layers = file.setting("attention.sliding_window_pattern", 6), config.num_hidden_layers
    windowed = period if isinstance(period, list) else [(i + 1) % period != 0 for i in range(layers)]
    config.layer_types = ["sliding_attention" if window else "full_attention" for window in windowed]
    config.query_pre_attn_scalar = usual if layers == 62 else head_dim  # llama.cpp tells the 27B model by its layers
    return config


def _require_all(model: PreTrainedModel, file: _File) -> None:
    """Raises ModelError unless the tensors of the file are the model's: transformers passes over what it lacks."""
    names = get_tensor_name_map(KNOWN[file.arch], model.config.num_hidden_layers)
    wanted = {names.get_name(name, try_suffixes=(".weight", ".bias")) for name, _ in model.named_parameters()}
    for name in sorted(map(str, file.tensors ^ wanted)):
        raise file.refused(f"tensor '{name}' has no counterpart in transformers' {type(model).__name__}")


def _tokenizer(file: _File) -> PreTrainedTokenizerBase:
    """The file's tokenizer, splitting text as llama.cpp does."""
    tokens, kinds = file.vocabulary("tokens"), file.vocabulary("token_type")
    of_kind = {kind: [token for token, k in zip(tokens, kinds, strict=True) if k == kind] for kind in TokenType}
    settings: dict[str, Any] = {"add_bos_token": metadata(file.path).adds_bos}
    for name, key in NAMED.items():
        index = file.field(f"tokenizer.ggml.{key}_token_id")
        settings[name] = None if index is None else tokens[index]
    order = {token: i for i, token in enumerate(tokens)}
    if file.field("tokenizer.ggml.model") == "gpt2":
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=_byte_level(file, order), **settings)
    elif file.arch == "gemma3" and not file.field("tokenizer.ggml.add_space_prefix", True):
        tokenizer = GemmaTokenizer(vocab=order, merges=_by_score(file, order, of_kind[TokenType.NORMAL]), **settings)
    else:
        raise file.refused(f"a tokenizer of kind '{file.field('tokenizer.ggml.model')}' is not proven to convert")
    special = [AddedToken(token, normalized=False, special=True) for token in of_kind[TokenType.CONTROL]]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in of_kind[TokenType.USER_DEFINED]])
    tokenizer.chat_template = file.field("tokenizer.chat_template")
    return tokenizer


def _byte_level(file: _File, order: dict[str, int]) -> Tokenizer:
    said = metadata(file.path)
    if said.pre_tokenizer not in SPLITS:
        raise file.refused(f"tokenizer '{said.pre_tokenizer}' is not proven to convert without loss")
    split = SPLITS[said.pre_tokenizer]
    merges = [tuple(merge.split(" ", 1)) for merge in file.vocabulary("merges")]
    tokenizer = Tokenizer(models.BPE(vocab=order, merges=merges, ignore_merges=split.ignore_merges))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split.pattern is None)]
    if split.pattern is not None:
        steps.insert(0, pre_tokenizers.Split(Regex(split.pattern), behavior="isolated"))
    if split.digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.normalizer = normalizers.NFC() if said.normaliser else None
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _by_score(file: _File, order: dict[str, int], mergeable: list[str]) -> list[Any]:
    """The merges that llama.cpp makes, which a SentencePiece vocabulary does not list, best score first."""
    scores = file.vocabulary("scores")
    ranked = {token: scores[order[token]] for token in mergeable}
    return list(generate_merges({token: order[token] for token in mergeable}, ranked))


def _require_kept(tokenizer: PreTrainedTokenizerBase, folder: Path, file: _File) -> None:
    """Raises ModelError if transformers, which rebuilds some tokenizers as it loads them, splits otherwise then."""
    again = AutoTokenizer.from_pretrained(folder)
    for part in ("normalizer", "pre_tokenizer"):
        made, loaded = (getattr(one.backend_tokenizer, part) for one in (tokenizer, again))
        if str(made) != str(loaded):
            raise file.refused(f"transformers loads the tokenizer with another {part} ({loaded})")
    if len(again) != len(tokenizer):
        raise file.refused(f"transformers loads the tokenizer with {len(again)} tokens instead of {len(tokenizer)}")
