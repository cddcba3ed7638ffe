"""A release → one file for a machine without a network, and back: a tar archive compressed with zstandard.

    pack(run.folder("export"), Path("demo.tar.zst"))
    folder = unpack(Path("demo.tar.zst"))          # ./demo, every byte checked
    gguf = folder / served(folder)

The first member, `bundle.json`, lists every other with its size and SHA-256. What does not keep to that list is refused
while it is read: the archive is read by headers of 512 bytes (POSIX.1-1988 and GNU's large sizes), so that it can hold
plain files only: no link, device, folder, long name or attribute has a way in, and nothing takes more memory or disk
than the list says. The same release gives the same bytes: sorted names, no times, no owners. No tar program is
needed on either side; `tar --zstd -xf` unpacks it, too.
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from bedside.errors import CheckFailed, DataError, RunError, UsageError
from bedside.export import release
from bedside.export.card import is_verified
from bedside.export.verify import printable, verify
from bedside.export.wheels import wheels_text
from bedside.files import read_json, replacing, sha256, whole_folder
from bedside.progress import say
from bedside.text.prompts import NOTICE

MANIFEST = "bundle.json"
FORMAT = 1
BLOCK = 512
CHUNK = 2**20
LARGEST_MANIFEST = 4 * 2**20
MOST_FILES = 100_000
LONGEST_NAME = 100
"""Bytes that a header has for a name."""
README = """\
{name}: a language model tuned with Bedside, packed for a machine without a network.

{notice}
{state}
On that machine, with Python {python} or newer:

    pip install --no-index --no-deps --require-hashes -r hashed.txt    # wheels.txt says how to make it elsewhere
    bedside serve {name}{suffix}    # checks every file, then serves http://127.0.0.1:8000/

README.md tells what the model was trained on and how it did, Modelfile is for Ollama, and `sha256sum -c SHA256SUMS`
compares the model's files with what was released.
"""
UNVERIFIED = "\nUNVERIFIED: the exported file was not shown to say what the trained model says.\n"


def refuse_name(path: Path) -> None:
    """Raises UsageError for a path that no bundle can be written to."""
    if not path.name.endswith(release.BUNDLE) or path.name == release.BUNDLE:
        raise UsageError(f"--bundle {path}: want a file whose name ends in {release.BUNDLE}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--bundle {path}: no folder {path.absolute().parent}; make it first")


def pack(folder: Path, path: Path, index: Path | None = None) -> dict[str, Any]:
    """Writes a release, and an index of documents if there is one, as a bundle; returns `path`, `bytes`, `sha256`.

    Raises CheckFailed if the release is not in order.
    """
    refuse_name(path)
    found = verify(folder)
    if not found.ok:
        raise CheckFailed(f"{folder}: not verified, so nothing was packed: {found.problems[0]}")
    export = read_json(folder / release.EXPORT)
    files = {name: folder / name for name in (*release.sums(folder), release.SUMS)}
    if index is not None and index.is_dir():
        files |= {f"index/{one.relative_to(index).as_posix()}": one for one in index.rglob("*") if one.is_file()}
    state = "" if is_verified(export) else UNVERIFIED
    if state:
        say(f"bundle: {folder} is unverified, which its README says")
    name = path.name.removesuffix(release.BUNDLE)
    texts = {
        "README.txt": README.format(name=name, notice=NOTICE, state=state, python="3.11", suffix=release.BUNDLE),
        "wheels.txt": wheels_text(),
    }
    say(f"bundle: packing {len(files) + len(texts)} files into {path}")
    with replacing(path) as partial, pa.CompressedOutputStream(str(partial), "zstd") as out:
        _write(out, files, texts, str(export["files"][0]["path"]))
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}


def unpack(path: Path) -> Path:
    """The folder beside a bundle, named like it, with the bundle's files, every one checked.

    What was unpacked before is checked, not written again. Raises DataError for a file that is no whole bundle,
    CheckFailed if files that were unpacked have changed, RunError if something else stands in the way.
    """
    name = path.name.removesuffix(release.BUNDLE)
    if name in ("", ".", ".."):
        raise DataError(f"{path}: a bundle of no name; rename it to NAME{release.BUNDLE}")
    folder = path.absolute().with_name(name)
    with _opened(path) as stream:
        files, raw = _manifest(path, stream)
        if not folder.exists():
            _refuse_too_large(folder, sum(one["bytes"] for one in files.values()))
            say(f"{path}: unpacking {len(files)} files into {folder}")
            with whole_folder(folder) as partial:
                (partial / MANIFEST).write_bytes(raw)
                _extract(path, stream, files, partial)
            return folder
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != raw:
        raise RunError(f"{folder}: in the way of unpacking {path.name}, and not unpacked from it; move it away")
    say(f"{folder}: unpacked before; checking its {len(files)} files")
    for name, about in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != about["sha256"]:
            raise CheckFailed(f"{folder / name}: not as it was packed; remove {folder} to unpack it again")
    return folder


def served(folder: Path) -> Path:
    """The GGUF file that an unpacked bundle is served from."""
    return folder / str(read_json(folder / MANIFEST)["serve"])


def _write(out: IO[bytes], files: Mapping[str, Path], texts: Mapping[str, str], serve: str) -> None:
    """The members: the manifest, then all others by name."""
    content: dict[str, bytes | Path] = {**files, **{name: text.encode() for name, text in texts.items()}}
    about = {name: _about(content[name]) for name in sorted(content)}
    manifest = json.dumps({"format": FORMAT, "serve": serve, "files": about}, indent=2).encode() + b"\n"
    for name, one in {MANIFEST: manifest, **dict(sorted(content.items()))}.items():
        size = len(one) if isinstance(one, bytes) else one.stat().st_size
        out.write(_header(name, size))
        with io.BytesIO(one) if isinstance(one, bytes) else one.open("rb") as file:
            written = _copy(file.read, out.write, size)
        if name != MANIFEST and written != about[name]["sha256"]:
            raise RunError(f"{name}: changed while it was packed; run the same command again")
        out.write(b"\0" * (-size % BLOCK))
    out.write(b"\0" * 2 * BLOCK)


def _about(content: bytes | Path) -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"bytes": content.stat().st_size, "sha256": sha256(content)}


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
    if len(header) != BLOCK:
        raise UsageError(
            f"--bundle: '{name}' is too long a name for a bundle, {LONGEST_NAME} bytes at most; shorten it"
        )
    return header


def _manifest(path: Path, stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """The list of files, read and checked, and its bytes."""
    found = _next(path, stream)
    if found is None or found.name != MANIFEST or found.size > LARGEST_MANIFEST:
        raise DataError(f"{path}: not a bundle of bedside's; its first file is no {MANIFEST}")
    raw = _exactly(path, stream, found.size)
    _exactly(path, stream, -found.size % BLOCK)
    try:
        told = json.loads(raw)
        files, serve = dict(told["files"]), told["serve"]
        sound = told["format"] == FORMAT and serve in files and len(files) <= MOST_FILES and _sound(files)
    except (ValueError, LookupError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DataError(f"{path}: its {MANIFEST} is damaged, or of another version of Bedside")
    return files, raw


def _sound(files: Mapping[str, Any]) -> bool:
    """Whether all paths can only lie below a folder, none of them in place of another, with sizes and hashes."""
    if any(len(name.encode(errors="replace")) > LONGEST_NAME for name in files):  # before all parents of it are made
        return False
    folders = {str(parent) for name in files for parent in Path(name).parents}
    if MANIFEST in files or folders & files.keys() or len({name.lower() for name in files}) < len(files):
        return False
    for name, about in files.items():
        size, value = about["bytes"], about["sha256"]
        if not (release.is_inside(name) and type(size) is int and size >= 0 and isinstance(value, str)):
            return False
    return True


def _refuse_too_large(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if size > free:
        raise RunError(f"{folder}: takes {size:,} bytes, {free:,} are free; unpack it where there is room")


def _extract(path: Path, stream: IO[bytes], files: Mapping[str, Any], folder: Path) -> None:
    """Writes the members below a folder. Raises DataError at the first that is not as the manifest says."""
    left = dict(files)
    while (found := _next(path, stream)) is not None:
        about, name = left.pop(found.name, None), printable(found.name)
        if about is None or found.size != about["bytes"]:
            raise DataError(f"{path}: '{name}' is not in its {MANIFEST}, is there twice, or has another size")
        (folder / found.name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / found.name).open("xb") as file:
            written = _copy(lambda size: _exactly(path, stream, size), file.write, found.size)
        if written != about["sha256"]:
            raise DataError(f"{path}: '{name}' is not as it was packed (its SHA-256 differs); copy it anew")
        _exactly(path, stream, -found.size % BLOCK)
    if left:
        raise DataError(f"{path}: '{min(left)}' is missing; copy the bundle anew")


def _next(path: Path, stream: IO[bytes]) -> tarfile.TarInfo | None:
    """The next header; None at the archive's end. Raises DataError for what is no plain file."""
    block = _exactly(path, stream, BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged, or no tar archive; copy it anew") from error
    if found.type != tarfile.REGTYPE or found.size < 0:
        raise DataError(f"{path}: '{printable(found.name)}' is no plain file; a bundle holds nothing else")
    return found


def _exactly(path: Path, stream: IO[bytes], size: int) -> bytes:
    """That many bytes, of a stream that may give fewer at a time."""
    parts = []
    while size > 0:
        part = stream.read(size)
        if not part:
            raise DataError(f"{path}: ends too early; copy it anew")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any], size: int) -> str:
    """Copies that many bytes, a MiB at a time; returns their SHA-256."""
    state = hashlib.sha256()
    for start in range(0, size, CHUNK):
        part = read(min(CHUNK, size - start))
        state.update(part)
        write(part)
    return state.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The archive without its compression. Raises DataError where that is damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            yield stream
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path}: damaged, or not compressed with zstandard; copy it anew") from error
