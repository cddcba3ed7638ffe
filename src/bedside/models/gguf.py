"""What a GGUF file says of itself: template, special tokens, context, and how Bedside prompts it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bedside.errors import ModelError
from bedside.models import header
from bedside.models.control import is_control
from bedside.models.splits import COMPOSING
from bedside.recipe import PromptSection

PROMPT_KEY = "bedside.prompt"
"""Our own metadata key: the recipe's prompt section as JSON, so that the file alone can be asked as it was trained."""
NORMALISER_KEY = "bedside.normaliser"
"""Our own metadata key: the Unicode form that text had in training before it was split; llama.cpp has no such step."""
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
"""Kinds of tokens in the file (gguf.TokenType) that llama.cpp looks for in a text."""
MOST_CONTEXT = 1 << 31


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """The fields that asking and the model card need. `prompt` is None in files that Bedside did not write.

    `normaliser` is the Unicode form that text is to be given before llama.cpp splits it, "" if as it is.
    """

    name: str
    template: str
    bos: str
    eos: str
    adds_bos: bool
    pre_tokenizer: str
    context_length: int
    prompt: PromptSection | None
    licence: str
    controls: tuple[str, ...] = ()
    normaliser: Literal["NFC", ""] = ""
    eos_id: int | None = None


def metadata(path: Path) -> GgufMetadata:
    """Reads a file's metadata. Raises ModelError if it is no GGUF file, or says what cannot be."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    found = header.read(path)
    prompt = found.text(PROMPT_KEY, "")
    pre = found.line("tokenizer.ggml.pre", "default")
    return GgufMetadata(
        name=found.line("general.name", path.stem),
        template=found.text("tokenizer.chat_template", ""),
        bos=found.token("tokenizer.ggml.bos_token_id"),
        eos=found.token("tokenizer.ggml.eos_token_id"),
        # llama.cpp's own default: SentencePiece vocabularies get a begin token, byte-level BPE says so in the file.
        adds_bos=bool(
            found.fields.get("tokenizer.ggml.add_bos_token", found.text("tokenizer.ggml.model", "") == "llama")
        ),
        pre_tokenizer=pre,
        context_length=_context_length(found),
        prompt=_prompt(path, prompt) if prompt else None,
        licence=found.line("general.license", ""),
        controls=tuple(_controls(found)),
        normaliser="NFC" if found.text(NORMALISER_KEY, "NFC" if pre in COMPOSING else "") == "NFC" else "",
        eos_id=found.whole("tokenizer.ggml.eos_token_id", None),
    )


def _controls(found: header.Header) -> Iterator[str]:
    """Texts of which llama.cpp makes control tokens."""
    tokens, kinds = (found.fields.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type"))
    if isinstance(tokens, header.Texts) and isinstance(kinds, header.Numbers):
        for text, kind in zip(tokens, kinds, strict=False):
            if kind in (UNKNOWN, CONTROL, USER_DEFINED):
                token = text.decode(errors="replace")
                if token and is_control(token, special=kind != USER_DEFINED):
                    yield token


def _context_length(found: header.Header) -> int:
    key = f"{found.line('general.architecture', 'llama')}.context_length"
    length = found.whole(key, 2048)
    if length is None or not 0 < length < MOST_CONTEXT:
        raise ModelError(f"{found.path}: {key} is {length}; want a number of tokens")
    return length


def _prompt(path: Path, text: str) -> PromptSection:
    try:
        return PromptSection.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ModelError(f"{path}: {PROMPT_KEY} is of another version of Bedside ({reason}); export it anew") from error
