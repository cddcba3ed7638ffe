"""The shape of a recipe's base, wherever it can be read without fetching or converting anything.

In: `[model] base`. Out: `Known(shape, …)` from config.json where the base is a folder or in the hub's cache, from a
GGUF file's header, or from the facts in `shapes.toml`. Neither torch nor transformers is loaded.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.errors import ModelError
from bedside.files import read_json
from bedside.models import header
from bedside.models.locate import EMBEDDED_ID, EMBEDDED_NAME, EMBEDDED_PACKAGE
from bedside.models.shapes import Shape, facts, shape_of
from bedside.recipe import ModelSection

GGUF_FAMILIES = {"gemma3": "gemma3_text"}
"""GGUF's name of an architecture where it is not transformers' own."""
GGUF_WORDS = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}
"""Field of config.json → key of a GGUF file (ggml, docs/gguf.md)."""


@dataclass(frozen=True, slots=True)
class Known:
    """A base's shape, where it was read, whether the weights are on this disk, and their bytes a parameter there."""

    name: str
    shape: Shape
    source: str
    here: bool
    stored_bytes: int


def find(section: ModelSection) -> Known:
    """The shape of a recipe's base. Raises ModelError in one line that says what to do if it is not known."""
    if section.base == "embedded":
        found = facts()[EMBEDDED_ID.lower()]
        here = importlib.util.find_spec(EMBEDDED_PACKAGE) is not None
        return Known(EMBEDDED_NAME, shape_of(found, EMBEDDED_NAME), "known", here, 4)
    path = Path(section.base).expanduser()
    if path.is_dir():
        return _from_file(path / "config.json", path.resolve().name)
    if path.suffix == ".gguf":
        return Known(path.stem, shape_of(_gguf_config(path), str(path)), f"header of {path}", True, 4)
    cached = _cached_config(section)
    if cached is not None:
        return _from_file(cached, section.base)
    config = facts().get(section.base.lower())
    if config is None:
        raise ModelError(
            f"model.base = '{section.base}': its shape is not known here; fetch its configuration alone with"
            f" `hf download {section.base} config.json --local-dir FOLDER` and plan with model.base=FOLDER"
        )
    return Known(section.base, shape_of(config, section.base), "known", False, 2)


def _from_file(path: Path, name: str) -> Known:
    if not path.is_file():
        raise ModelError(f"{path.parent}: no config.json; want a model folder in Hugging Face's layout")
    config = read_json(path)
    stored = 4 if str(config.get("dtype") or config.get("torch_dtype")).endswith("float32") else 2
    return Known(name, shape_of(config, str(path)), str(path), any(path.parent.glob("*.safetensors")), stored)


def _cached_config(section: ModelSection) -> Path | None:
    """config.json of a hub model that was fetched before; None if there is none, or no library that would know."""
    if section.base.count("/") != 1 or section.base.startswith((".", "/", "~")):
        raise ModelError(
            f"{section.base}: no such folder; model.base takes 'embedded', a folder, a .gguf file or a hub id"
        )
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(section.base, "config.json", constants.HF_HUB_CACHE, section.revision)
    return Path(found) if isinstance(found, str) else None


def _gguf_config(path: Path) -> dict[str, Any]:
    """What config.json would say, from a GGUF file's header (specification: ggml, docs/gguf.md)."""
    if not path.is_file():
        raise ModelError(f"{path}: no such GGUF file; model.base takes a file, a folder or a hub id")
    found = header.read(path)
    family = found.line("general.architecture", "")
    fields = {name: found.whole(f"{family}.{word}", None) for name, word in GGUF_WORDS.items()}
    config: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if "token_embd.weight" in found.shapes:
        config["vocab_size"] = found.shapes["token_embd.weight"][-1]
    config["attention_bias"] = "blk.0.attn_output.bias" in found.shapes
    config["tie_word_embeddings"] = "output.weight" not in found.shapes
    config["model_type"] = GGUF_FAMILIES.get(family, family)
    return config
