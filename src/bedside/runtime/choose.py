"""MODEL on the command line → what answers: a run, a GGUF file, a model folder, or the address of a server."""

from pathlib import Path
from typing import Protocol

from bedside.errors import ModelError, RunError
from bedside.files import digest, read_json, sha256, tree_digests
from bedside.models.locate import embedded_gguf
from bedside.progress import say
from bedside.recipe import PromptSection, ServeSection
from bedside.recipe_file import KEPT
from bedside.runs import Run
from bedside.runtime.backend import Speaker, Writer


class Model(Speaker, Writer, Protocol):
    """What both speaks and writes."""


PROMPT_FILE = "bedside.json"
"""Beside a merged model's weights: the prompt section that it was trained with."""


def speaker(model: str, runs: Path, settings: ServeSection, slots: int = 1) -> Model:
    """Opens a model, to be asked by `slots` at a time.

    `model` is a path, the name of a run below `runs`, "embedded", or the address of an OpenAI-compatible server. Raises
    ModelError, RunError or OfflineError.
    """
    if is_address(model):
        return _remote(model, slots)
    run = find_run(model, runs)
    if run is not None:
        return _llama(exported(run), settings, slots)
    path = _path(model)
    if path.is_file():
        return _llama(path, settings, slots)
    if (path / "config.json").is_file():
        return _folder(path)
    if path.is_dir():
        raise ModelError(f"{path}: neither a run (recipe.toml) nor a model folder (config.json, *.safetensors)")
    raise ModelError(f"{model}: no such run, file or folder; `bedside runs` lists the runs in {runs}")


def speakers(model: str, runs: Path, settings: ServeSection, slots: int = 1) -> list[Model]:
    """The model, and after it its base, if the model is a run that was exported with it (`export.adapter`)."""
    first = speaker(model, runs, settings, slots)
    base = _base(model, runs)
    if base is None:
        if find_run(model, runs) is not None:
            say(f'{first.name}: served alone; with export.adapter = "with-base" its base stands beside it')
        return [first]
    try:
        return [first, _llama(base, settings, slots, f"{first.name}-base")]
    except BaseException:
        first.close()
        raise


def is_address(model: str) -> bool:
    """Whether a model is an address and no path."""
    return model.startswith(("http://", "https://"))


def identify(model: str, runs: Path, opened: Writer) -> str:
    """SHA-256 of what answers; of a server its address, the model's name and what is listed of it: no more is seen."""
    if is_address(model):
        from bedside.runtime.remote import Remote

        assert isinstance(opened, Remote)
        return f"{model.partition('#')[0]}#{opened.name} {digest(opened.told())}"
    run = find_run(model, runs)
    path = _path(model) if run is None else exported(run)
    return digest(tree_digests(path)) if path.is_dir() else sha256(path)


def _path(model: str) -> Path:
    return embedded_gguf() if model == "embedded" else Path(model).expanduser()


def find_run(model: str, runs: Path) -> Run | None:
    """The run that `model` names, by folder or by its name below `runs`; None if it names something else."""
    path = Path(model).expanduser()
    if not path.exists():
        path = runs / model
    return Run.open(path) if (path / KEPT).is_file() else None


def exported(run: Run) -> Path:
    """The GGUF file that a run serves: the first quantisation of its recipe. Raises RunError if it is not exported."""
    folder = run.folder("export")
    files = read_json(folder / "export.json")["files"]
    if not files:
        raise RunError(f"{folder}: no exported file")
    return folder / str(files[0]["path"])


def _remote(address: str, slots: int) -> Model:
    from bedside.runtime.remote import Remote

    found = Remote(address, slots)
    where, _, named = address.partition("#")
    say(f"{where}: every question goes to this server, where {found.name} answers")
    if named and (doubt := found.doubt()):
        say(f"{where}: {doubt}; questions may fail")
    return found


def _base(model: str, runs: Path) -> Path | None:
    """The exported base of a run, prompted as the run is; None if there is none."""
    run = find_run(model, runs)
    if run is None:
        return None
    folder = run.folder("export")
    files = read_json(folder / "export.json").get("adapter", [])
    return next((folder / str(file["path"]) for file in files if file["quantisation"].startswith("base ")), None)


def _llama(path: Path, settings: ServeSection, slots: int, name: str = "") -> Model:
    from bedside.runtime.llamacpp import LlamaCpp

    return LlamaCpp(path, settings.context, slots, settings.threads, name)


def _folder(path: Path) -> Model:
    from bedside.runtime.hf import load_backend
    from bedside.runtime.llamacpp import FOREIGN

    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{path}: no weights (*.safetensors); pickled weights are not loaded")
    saved = path / PROMPT_FILE
    say(f"{path}: run by transformers; exported to GGUF it loads and answers faster")
    section = PromptSection.model_validate(read_json(saved)) if saved.is_file() else FOREIGN
    named = path.resolve()
    name = f"{named.parent.name}-merged" if named.name == "merged" else named.name  # a run's own
    return load_backend(path, section, name=name)
