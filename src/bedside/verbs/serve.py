"""`bedside serve`: the private page and the OpenAI-compatible API, of a model or of a bundle."""

from contextlib import closing
from pathlib import Path

from bedside.errors import MissingExtra
from bedside.files import read_json
from bedside.progress import say
from bedside.recipe import ServeSection
from bedside.runtime.choose import exported, find_run, speaker
from bedside.verbs.pipeline import warn_if_stale


def serve(model: str, settings: ServeSection, slots: int, api_key: str | None, runs: Path) -> None:
    """Serves until it is interrupted. The port is opened before the model is loaded, so that a taken one is told."""
    try:
        from bedside.serve.run import listen
        from bedside.serve.run import serve as run
    except ImportError as error:
        raise MissingExtra.named("bedside serve", "serve") from error
    warning = unverified(model, runs)
    if warning:
        say(f"{model}: {warning}")
    with listen(settings, api_key) as listener, closing(speaker(model, runs, settings, slots)) as backend:
        run(backend, settings, listener, slots=slots, api_key=api_key, warning=warning)


def unverified(model: str, runs: Path) -> str:
    """A warning where a model is part of a release that was not shown to say what was trained; "" elsewhere."""
    from bedside.export.card import is_verified
    from bedside.export.release import EXPORT

    run = find_run(model, runs)
    path = Path(model).expanduser() if run is None else exported(run)
    found = path.parent / EXPORT
    if path.is_dir() or not found.is_file() or is_verified(read_json(found)):
        return ""
    return "Unverified: this model was not shown to answer as the one that was trained."


def unpacked(model: str) -> str:
    """What to serve: of a bundle the GGUF file in it, once all of its files have been checked; else `model` itself."""
    from bedside.export.release import BUNDLE

    if not model.endswith(BUNDLE):
        return model
    from bedside.export.bundle import served, unpack

    return str(served(unpack(Path(model).expanduser())))


def settings_of(model: str, runs: Path, **given: str | int | None) -> ServeSection:
    """How a model is run: as its run's recipe says, unless the command line says otherwise; `given` may hold None."""
    found = find_run(model, runs)
    if found is not None:
        warn_if_stale(found, "export")
    recipe = found.recipe.serve if found else ServeSection()
    return recipe.model_copy(update={name: value for name, value in given.items() if value is not None})
