"""`bedside serve`: the private page and the OpenAI-compatible API."""

from pathlib import Path

from bedside.errors import MissingExtra
from bedside.recipe import ServeSection
from bedside.runtime.choose import speaker


def serve(model: str, host: str, port: int, slots: int, api_key: str | None, runs: Path) -> None:
    """Serves until it is interrupted."""
    try:
        from bedside.serve.run import serve as run
    except ImportError as error:
        raise MissingExtra.named("bedside serve", "serve") from error
    settings = ServeSection(host=host, port=port)
    backend = speaker(model, runs, settings.context, slots)
    try:
        run(backend, settings, slots=slots, api_key=api_key)
    finally:
        backend.close()
