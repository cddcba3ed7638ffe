"""Reading and writing files so that nothing is ever half there.

Files and folders are written to a temporary sibling, synced to the disk and renamed into place. JSON Lines are read by
iterating over the file, since rows hold U+2028 and `str.splitlines` breaks there. A full disk is told in one line, with
the path.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from bedside.errors import DataError, RunError, first_line

PARTIAL = ".partial"
"""Ends the hidden names of files and folders that are being written."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Translates the disk's own failures into a `RunError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            if error.filename is not None and path not in (Path(error.filename), *Path(error.filename).parents):
                raise RunError(f"{error.filename}: {error.strerror}; check its permissions") from error
            raise RunError(
                f"{path}: cannot be written ({error.strerror}); choose another folder with --runs"
            ) from error
        raise
    except Exception as error:
        if f"os error {errno.ENOSPC}" in str(error):  # libraries written in Rust have errors of their own
            raise _disk_full(path) from error
        raise


def _disk_full(path: Path) -> RunError:
    return RunError(f"{path}: the disk is full; free some space and run the same command again")


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically and durably."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes atomically and durably: after a crash the file is the old or the new one, never a mixture."""
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields an empty hidden sibling to write, which takes the place of `path` once all of it is on the disk."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            _sync(partial)
            partial.chmod(0o644)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync(path.parent)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Yields an empty hidden sibling to fill, which takes the place of `final` once all of it is on the disk."""
    partial = final.parent / f".{final.name}{PARTIAL}"
    with disk_errors(final):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            for path in (*partial.rglob("*"), partial):
                _sync(path)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _sync(final.parent)


def sweep(folder: Path) -> None:
    """Removes what a killed process had not yet renamed into place; nobody may be writing there now."""
    for left in list(folder.rglob(f".*{PARTIAL}")):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)  # it may lie in a folder that went


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON with a final newline; floats that are not finite are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises DataError with the line if it is not JSON."""
    with _told(path):
        try:
            return _parse(path.read_text(encoding="utf-8-sig"), str(path))
        except json.JSONDecodeError as error:
            rows = error.msg == "Extra data" and error.lineno > 1
            hint = "; a file with one object a line is named .jsonl" if rows else ""
            raise DataError(f"{path} line {error.lineno}: not JSON ({error.msg}){hint}") from error


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes one object a line, atomically; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object); blank lines are passed over. Raises DataError with the line."""
    with _told(path), path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path} line {number}"
            try:
                row = _parse(line, where)
            except json.JSONDecodeError as error:
                raise DataError(f"{where}: not JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise DataError(f"{where}: a {type(row).__name__}, wanted an object in braces")
            yield number, row


def not_utf8(path: Path) -> DataError:
    """The error for a file that cannot be decoded, with the first line that is at fault."""
    with path.open("rb") as file:
        line = next((number for number, raw in enumerate(file, 1) if not _decodes(raw)), 1)
    return DataError(f"{path} line {line}: not UTF-8 text; save it as UTF-8")


def sha256(path: Path) -> str:
    """Hex digest of a file's content; computed once while the file stays as it is, for a base may have gigabytes."""
    state = path.stat()
    return _sha256(path.absolute(), state.st_ino, state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, inode: int, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def tree_digests(folder: Path) -> dict[str, str]:
    """{relative path: SHA-256} of every file below a folder."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Translates what opening and decoding a person's file can meet into a `DataError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: a folder, wanted a file") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error


def _parse(text: str, where: str) -> Any:
    """JSON as a value. An escaped half of a surrogate pair is refused: no UTF-8 file could hold it afterwards."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:  # a doubled key, thousands of digits, brackets in brackets
        raise DataError(f"{where}: {first_line(error)}") from error
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: half of a surrogate pair in a text; cut it at a whole character") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that stands there twice the standard module would keep the last value alone."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{' '.join(twice.split())}' stands there twice")
    return found


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
