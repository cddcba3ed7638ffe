"""Every error that Bedside raises on purpose.

    BedsideError                     the message is one line: what, where, what to do
    ├── UsageError (ValueError)      the command line itself
    │   └── ContextTooLong           a conversation that the model has no room for
    ├── RecipeError (ValueError)     the recipe or an override of it
    ├── DataError (ValueError)       a data file or a row of it
    ├── ModelError (ValueError)      a base model, adapter, tokenizer or GGUF file
    │   └── RemoteError              a server that says something else than an answer
    ├── RunError (RuntimeError)      a run folder: busy, missing a stage, disk full
    ├── OfflineError (ConnectionError)  a hub or server that cannot be reached
    ├── MissingExtra (ImportError)   an optional dependency; names the line that installs it
    └── CheckFailed (RuntimeError)   a check said no

Errors are raised at the source, foreign exceptions are translated where the foreign library is called,
and `bedside.cli` alone catches. Whatever is no BedsideError is a bug and keeps its traceback.
"""


class BedsideError(Exception):
    """Base of all; `exit_status` is what the command line exits with."""

    exit_status = 2


class UsageError(BedsideError, ValueError):
    """The command line asks for something that cannot be."""


class ContextTooLong(UsageError):
    """A conversation has more tokens than the context that the model was opened with."""


class RecipeError(BedsideError, ValueError):
    """A recipe, or an override of one, is invalid."""


class DataError(BedsideError, ValueError):
    """A data file is missing, empty, malformed or lacks what the recipe needs."""


class ModelError(BedsideError, ValueError):
    """A model, adapter, tokenizer or GGUF file cannot be used."""


class RemoteError(ModelError):
    """A server was reached, and what it says is no answer."""


class RunError(BedsideError, RuntimeError):
    """A run folder cannot be used or written."""


class OfflineError(BedsideError, ConnectionError):
    """A hub or server cannot be reached."""


class MissingExtra(BedsideError, ImportError):
    """An optional dependency is not installed; the message ends with the line that installs it."""

    exit_status = 3

    @classmethod
    def named(cls, what: str, extra: str) -> "MissingExtra":
        """The error for one of our own extras."""
        return cls(f"{what} needs an extra that is not installed: pip install 'bedside[{extra}]'")


class CheckFailed(BedsideError, RuntimeError):
    """A check said no; what it found has been printed."""

    exit_status = 1


def first_line(error: BaseException) -> str:
    """The first line that says something, for telling a foreign error in ours; its type's name if none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
