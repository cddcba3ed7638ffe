"""A GGUF file of the Llama family → a folder in Hugging Face's layout, weights dequantised to fp32.

transformers reads the tensors; the tokenizer needs mending, since transformers rebuilds it without the
pre-tokenizer that `tokenizer.ggml.pre` names (llama.cpp splits the digits of SmolLM2, transformers then did not).
"""

import tempfile
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase

from bedside.errors import ModelError, first_line
from bedside.files import disk_errors
from bedside.models.gguf import metadata

DIGITS_THEN_BYTES = ("smollm", "starcoder", "refact", "command-r", "codeshell")
BYTES = ("gpt-2", "default")


def gguf_to_folder(gguf: Path, folder: Path) -> None:
    """Converts once, atomically. Raises ModelError for a file that cannot be read or a tokenizer not known."""
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
    pre = metadata(gguf).pre_tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(
            **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    except Exception as error:  # what a library meets in a file that is not what it seems has no common name
        raise ModelError(f"{gguf}: cannot be read as a model ({first_line(error)})") from error
    _mend(tokenizer, pre, gguf)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mend(tokenizer: PreTrainedTokenizerBase, pre: str, gguf: Path) -> None:
    """Sets the pre-tokenizer that llama.cpp applies, so that both tokenise alike."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre in DIGITS_THEN_BYTES:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    elif pre in BYTES:
        tokenizer.backend_tokenizer.pre_tokenizer = byte_level
    else:
        raise ModelError(
            f"{gguf}: tokenizer '{pre}' is not proven to convert without loss; use the model's Hugging Face folder"
        )
