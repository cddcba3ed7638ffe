"""What a GGUF file says of itself: template, special tokens, context, and how Bedside prompts it.

The gguf library parses the vocabulary with everything else (4 s for 49,152 tokens), so the few fields that are wanted
are kept in the cache, by path, size and time of the file.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bedside.errors import DataError, MissingExtra, ModelError, RunError, first_line
from bedside.files import digest, read_json, write_json
from bedside.models.locate import cache_folder
from bedside.models.splits import COMPOSING
from bedside.recipe import PromptSection

PROMPT_KEY = "bedside.prompt"
"""Our own metadata key: the recipe's prompt section as JSON, so that the file alone can be asked as it was trained."""
NORMALISER_KEY = "bedside.normaliser"
"""Our own metadata key: the Unicode form that text had in training before it was split; llama.cpp has no such step."""


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
    normaliser: Literal["NFC", ""] = ""


def metadata(path: Path) -> GgufMetadata:
    """Reads, or recalls, a file's metadata. Raises ModelError if it is no GGUF file."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    stat = path.stat()
    key = digest([str(path.resolve()), stat.st_size, stat.st_mtime_ns])[:24]
    cached = cache_folder() / "gguf" / f"{key}.json"
    try:
        return _from_json(read_json(cached))
    except (DataError, TypeError, KeyError, ValidationError):
        values = _read(path)
    with suppress(RunError, OSError):  # a cache that cannot be written costs time, not the answer
        write_json(cached, {**asdict(values), "prompt": values.prompt.model_dump() if values.prompt else None})
    return values


def _from_json(values: dict[str, Any]) -> GgufMetadata:
    prompt = PromptSection.model_validate(values["prompt"]) if values["prompt"] else None
    return GgufMetadata(**{**values, "prompt": prompt})


def _read(path: Path) -> GgufMetadata:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtra.named("reading a GGUF file", "serve") from error
    try:
        fields = GGUFReader(path).fields
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise ModelError(f"{path}: not a whole GGUF file ({first_line(error)})") from error

    def get(key: str, default: Any) -> Any:
        return fields[key].contents() if key in fields else default

    def token(key: str) -> str:
        index = get(f"tokenizer.ggml.{key}_token_id", None)
        return "" if index is None else str(fields["tokenizer.ggml.tokens"].contents(index))

    prompt = get(PROMPT_KEY, None)
    pre = str(get("tokenizer.ggml.pre", "default"))
    return GgufMetadata(
        name=str(get("general.name", path.stem)),
        template=str(get("tokenizer.chat_template", "")),
        bos=token("bos"),
        eos=token("eos"),
        # llama.cpp's own default: SentencePiece vocabularies get a begin token, byte-level BPE says so in the file.
        adds_bos=bool(get("tokenizer.ggml.add_bos_token", get("tokenizer.ggml.model", "") == "llama")),
        pre_tokenizer=pre,
        context_length=int(get(f"{get('general.architecture', 'llama')}.context_length", 2048)),
        prompt=_prompt(path, prompt) if prompt else None,
        licence=str(get("general.license", "")),
        normaliser="NFC" if get(NORMALISER_KEY, "NFC" if pre in COMPOSING else "") == "NFC" else "",
    )


def _prompt(path: Path, text: str) -> PromptSection:
    try:
        return PromptSection.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ModelError(f"{path}: {PROMPT_KEY} is of another version of Bedside ({reason}); export it anew") from error
