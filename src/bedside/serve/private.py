"""Files that are only their owner's (0600), written by the line: keys, audit log, feedback.

In: a path and lines. Out: lines that are on the disk when `append` returns, whole and in order, whoever else writes to
the same file: each writer holds the file's lock meanwhile.
"""

import errno
import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bedside.errors import RunError

OTHERS_MAY_WRITE = 0o022


def state_folder() -> Path:
    """What Bedside keeps beside runs and caches: `bedside` below XDG_STATE_HOME."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bedside"


def read(path: Path) -> bytes:
    """A file's content, b"" if there is none. Raises RunError if others may write to it, or if it cannot be read."""
    with told(path):
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & OTHERS_MAY_WRITE:
                    raise RunError(f"{path}: others may write to it; look at what is in it, then chmod 600 it")
                return file.read()
        except FileNotFoundError:
            return b""


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file, to be read while nobody writes to it."""
    with told(path), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield file


def append(path: Path, line: str, most_bytes: float = math.inf) -> bool:
    """Appends a line durably; False if the file would then be larger than it may."""
    content = f"{line}\n".encode()
    with locked(path) as file:
        has_room = os.fstat(file.fileno()).st_size + len(content) <= most_bytes
        if has_room:
            write(file, content)
    return has_room


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """The file, made if need be, to read and to append to; nobody else has it at the same time."""
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def write(file: BinaryIO, content: bytes) -> None:
    """Writes all of it and waits for the disk. What a full disk has cut is taken off again."""
    end = os.fstat(file.fileno()).st_size
    try:
        while content:
            content = content[os.write(file.fileno(), content) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise


def replace(path: Path, content: bytes) -> None:
    """Puts content in the place of a file at once: after a crash it is the old or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with told(path):
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as file:
            write(file, content)
        partial.replace(path)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Translates the disk's own failures into one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "check its permissions, or choose another place in the recipe's [serve]"
        raise RunError(f"{path}: {error.strerror}; {advice}") from error
