"""`bedside serve`: the private page and the OpenAI-compatible API, of a model or of a bundle."""

from contextlib import closing
from pathlib import Path

from bedside.errors import MissingExtra
from bedside.recipe import ServeSection
from bedside.runtime.choose import find_run, speaker
from bedside.verbs.pipeline import warn_if_stale


def serve(model: str, settings: ServeSection, slots: int, api_key: str | None, runs: Path) -> None:
    """Serves until it is interrupted. The port is opened before the model is loaded, so that a taken one is told."""
    try:
        from bedside.serve.run import listen
        from bedside.serve.run import serve as run
    except ImportError as error:
        raise MissingExtra.named("bedside serve", "serve") from error
    with listen(settings, api_key) as listener, closing(speaker(model, runs, settings, slots)) as backend:
        run(backend, settings, listener, slots=slots, api_key=api_key)


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
