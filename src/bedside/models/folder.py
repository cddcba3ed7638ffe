"""What a model folder must not hold before any library opens it.

    check(Path("model"))      # ModelError in one line that names the file and the entry

transformers is told everywhere to run no code of a model (`trust_remote_code=False`, `use_safetensors=True`), but a
folder has other ways to have code fetched, to reach other folders, or to be another model than it seems.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bedside.errors import DataError, ModelError
from bedside.files import read_json

CONFIGS = ("config.json", "tokenizer_config.json")
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
LAYERS = 1000
"""transformers builds every layer that a configuration claims before it looks at the weights; large models have 130."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def check(folder: Path) -> None:
    """Raises ModelError for code of the model's own, weights outside the folder, or an adapter among the weights."""
    for path in (folder / name for name in CONFIGS if (folder / name).is_file()):
        _check_config(path, _read(path))
    shards(folder)
    if (folder / ADAPTER).is_file():
        raise ModelError(
            f"{folder}: holds {ADAPTER}, so an adapter would be put on it unasked; move it to its own folder"
        )


def shards(folder: Path) -> list[str]:
    """Names of the files that hold the weights. Raises ModelError if the index names one outside the folder."""
    index = folder / INDEX
    if not index.is_file():
        return ["model.safetensors"]
    names = _mapping(index, _read(index).get("weight_map")).values()
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: {str(name)[:80]!r} is no safetensors file of this folder")
    return sorted(set(names))


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    if "auto_map" in config:
        raise ModelError(
            f"{path}: names Python code of the model's own (auto_map), which is never run; use a model whose"
            " architecture transformers has, without that entry"
        )
    fetched = next((name for name in KERNELS if "/" in str(config.get(name))), None)
    if fetched:
        raise ModelError(
            f"{path}: {fetched} = {str(config[fetched])[:80]!r} is code from the hub, which is never fetched"
        )
    layers = config.get("num_hidden_layers", 0)
    if not isinstance(layers, int) or not 0 <= layers <= LAYERS:
        raise ModelError(f"{path}: num_hidden_layers = {str(layers)[:80]!r}; want a number up to {LAYERS}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _mapping(path, read_json(path))
    except DataError as error:
        raise ModelError(str(error)) from error


def _mapping(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{path}: not a model's file; want an object in braces, with a weight_map if it is an index")
    return value
