"""`bedside serve`: the private page and the OpenAI-compatible API, of a model or of a bundle; its keys and its log."""

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

from bedside import recipe_file
from bedside.errors import CheckFailed, MissingExtra
from bedside.files import read_json
from bedside.progress import say
from bedside.recipe import Recipe, ServeSection
from bedside.runtime.choose import exported, find_run, is_address, speakers
from bedside.serve import keys, private
from bedside.serve.audit import Audit, verify
from bedside.verbs.pipeline import warn_if_stale

AUTO = "auto"
LOG = "audit.jsonl"


def serve(model: str, settings: ServeSection, slots: int, api_key: str | None, runs: Path) -> None:
    """Serves until it is interrupted. The port is opened before the model is loaded, so that a taken one is told."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else it ends us with lines of the log unwritten
    os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: what answers a patient's case asks no hub
    try:
        from bedside.runtime.embedder import Embedder
        from bedside.serve import run
        from bedside.serve.app import create_app
        from bedside.serve.feedback import Feedback
    except ImportError as error:
        raise MissingExtra.named("bedside serve", "serve") from error
    warning = unverified(model, runs) or elsewhere(model)  # an address is no release
    if warning:
        say(f"{model}: {warning}")
    known = keys.read(key_file(settings)).with_given(api_key)
    with ExitStack() as stack:
        listener = stack.enter_context(run.listen(settings, known))
        if run.is_open(settings):
            say(run.meaning_of_open(settings))
        audit = stack.enter_context(closing(Audit(audit_file(settings)))) if settings.audit else None
        served = [stack.enter_context(closing(one)) for one in speakers(model, runs, settings, slots)]
        seats = min(slots, *(one.at_once for one in served))
        feedback = Feedback(feedback_file(settings)) if settings.feedback else None
        app = create_app(
            served, settings, slots=seats, keys=known, warning=warning, audit=audit, feedback=feedback,
            embedder=Embedder(Path(settings.embedder).expanduser()) if settings.embedder else None,
        )  # fmt: skip
        run.serve(app, listener)


def new_key(name: str, settings: ServeSection) -> str:
    """Makes a key, keeps its hash, and says so; the key itself is returned for stdout, and nowhere else."""
    key = keys.new(name, key_file(settings))
    told = "the key itself is shown this once. Servers want a key from their next start on."
    say(f"{key_file(settings)}: the hash of '{name}'; {told}")
    return key


def verify_log(log: Path | None, settings: ServeSection) -> str:
    """What the audit log proves, in words. Raises CheckFailed with its first fault, RunError if there is no log."""
    path = log or audit_file(settings)
    path = path / LOG if path.is_dir() else path
    found = verify(path)
    if found.fault:
        raise CheckFailed(f"{path}: {found.fault}")
    span = f", {found.first} to {found.last}" if found.lines else ""
    return f"{path}: {found.lines} lines{span}; none changed, none missing. SHA-256 of the last: {found.sha256}"


def key_file(settings: ServeSection) -> Path:
    """Where the hashes of the keys are."""
    return keys.default_file() if settings.keys == AUTO else Path(settings.keys).expanduser()


def audit_file(settings: ServeSection) -> Path:
    """The audit log itself; its key and its head lie beside it."""
    return (private.state_folder() / "audit" if settings.audit == AUTO else Path(settings.audit).expanduser()) / LOG


def feedback_file(settings: ServeSection) -> Path:
    """Where feedback is kept."""
    auto = settings.feedback == AUTO
    return private.state_folder() / "feedback.jsonl" if auto else Path(settings.feedback).expanduser()


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


def elsewhere(model: str) -> str:
    """A warning where the model is another server's; "" elsewhere."""
    host = urlsplit(model).hostname if is_address(model) else None
    return f"Every question is sent to the model's server at {host}." if host else ""


def unpacked(model: str) -> str:
    """What to serve: of a bundle the GGUF file in it, once all of its files have been checked; else `model` itself."""
    from bedside.export.release import BUNDLE

    if not model.endswith(BUNDLE):
        return model
    from bedside.export.bundle import served, unpack

    return str(served(unpack(Path(model).expanduser())))


def settings_of(
    model: str | None, runs: Path, overrides: Sequence[str] = (), **given: str | int | None
) -> ServeSection:
    """How a model is run: as its run's recipe says, unless the command line says otherwise; `given` may hold None."""
    found = find_run(model, runs) if model else None
    if found is not None:
        warn_if_stale(found, "export")
    recipe = recipe_file.overridden(found.recipe if found else Recipe(name="served"), overrides)
    return recipe.serve.model_copy(update={name: value for name, value in given.items() if value is not None})
