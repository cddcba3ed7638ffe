"""`bedside serve`: the private page and the OpenAI-compatible API."""

from pathlib import Path

from bedside.errors import MissingExtra
from bedside.recipe import ServeSection
from bedside.runtime.choose import find_run, speaker
from bedside.verbs.pipeline import warn_if_stale


def serve(model: str, host: str | None, port: int | None, slots: int, api_key: str | None, runs: Path) -> None:
    """Serves until it is interrupted: as the run's recipe says, unless the command line says otherwise."""
    try:
        from bedside.serve.run import serve as run
    except ImportError as error:
        raise MissingExtra.named("bedside serve", "serve") from error
    settings = _settings(model, host, port, runs)
    backend = speaker(model, runs, settings.context, slots)
    try:
        run(backend, settings, slots=slots, api_key=api_key)
    finally:
        backend.close()


def _settings(model: str, host: str | None, port: int | None, runs: Path) -> ServeSection:
    found = find_run(model, runs)
    if found is not None:
        warn_if_stale(found, "export")
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    return (found.recipe.serve if found else ServeSection()).model_copy(update=given)
