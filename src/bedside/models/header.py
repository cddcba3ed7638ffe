"""The header of a GGUF file, read with bounds before any library is given the file.

    header = read(Path("model.gguf"))      # ModelError in one line if the file is not what it says
    header.text("general.name", "")        # a field; header.shapes["token_embd.weight"]: (width, rows)

Every count and length is held against the file's size, so a header of any content takes little memory and a second or
two at the most. Arrays are passed over: 128,000 tokens take 0.1 s, where the gguf library takes 10.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

from bedside.errors import ModelError

LONGEST = 64 << 20
"""Bytes of a header; a vocabulary of 256,000 tokens with its merges takes 15 million."""
KEYS, TENSORS, TEXT = 10_000, 100_000, 1 << 20
"""The most keys and tensors of a file, and the most bytes of a text that is asked for."""
AXES = 4
VERSIONS = (2, 3)
U32, U64 = Struct("<I"), Struct("<Q")
HEAD = Struct("<4sIQQ")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
FORMS = {kind: Struct("<" + letter) for kind, letter in SCALARS.items()}
STRING, ARRAY = 8, 9
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""{type of a tensor: (values of a block, bytes of a block)}, as ggml.h numbers the types."""


@dataclass(frozen=True, slots=True)
class Texts:
    """An array of texts as it lies in the file."""

    count: int
    stored: bytes

    def __getitem__(self, index: int) -> bytes:
        """One of them. Raises IndexError beyond the last."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cursor = _Cursor(self.stored)
        cursor.skip_texts(index)
        return cursor.text()

    def __iter__(self) -> Iterator[bytes]:
        """All of them in their order."""
        cursor = _Cursor(self.stored)
        return (cursor.text() for _ in range(self.count))


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array of numbers as it lies in the file."""

    form: Struct
    stored: bytes

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.stored) // self.form.size

    def __iter__(self) -> Iterator[Any]:
        """All of them in their order."""
        return (value for (value,) in self.form.iter_unpack(self.stored))


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself: `fields` by key, and the shape of each tensor, the axis that varies first leading."""

    path: Path
    fields: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    def text(self, key: str, otherwise: str) -> str:
        """A field that is a text. Raises ModelError if it is something else, very long, or not UTF-8."""
        value = self.fields.get(key)
        if value is None:
            return otherwise
        if not isinstance(value, bytes):
            raise ModelError(f"{self.path}: {key} is no text")
        if len(value) > TEXT:
            raise ModelError(f"{self.path}: {key} has {len(value):,} bytes; at most {TEXT:,} are read")
        return _decoded(self.path, key, value)

    def line(self, key: str, otherwise: str) -> str:
        """A text that is printed: as one line, without what would move a terminal's cursor, and of 200 characters."""
        text = "".join(letter if letter.isprintable() else " " for letter in self.text(key, otherwise))
        return " ".join(text.split())[:200]

    def whole(self, key: str, otherwise: int | None) -> int | None:
        """A field that is a whole number. Raises ModelError if it is something else."""
        value = self.fields.get(key, otherwise)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ModelError(f"{self.path}: {key} is no whole number")
        return value

    def token(self, key: str) -> str:
        """The text of the token whose id a field holds; "" without it. Raises ModelError if there is no such token."""
        index, tokens = self.whole(key, None), self.fields.get("tokenizer.ggml.tokens", Texts(0, b""))
        if index is None:
            return ""
        if not isinstance(tokens, Texts) or not 0 <= index < tokens.count:
            raise ModelError(f"{self.path}: {key} is {index}, and the file has {getattr(tokens, 'count', 0):,} tokens")
        return _decoded(self.path, f"token {index}", tokens[index][:TEXT])


def read(path: Path) -> Header:
    """Reads and checks a header. Raises ModelError if the file cannot be read or is no whole GGUF file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < HEAD.size:
                raise _Damaged("it ends too early")
            with mmap.mmap(file.fileno(), min(size, LONGEST), access=mmap.ACCESS_READ) as data:
                return _parse(path, _Cursor(data), size)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except _Damaged as error:
        raise ModelError(f"{path}: not a whole GGUF file ({error})") from error


class _Damaged(Exception):
    """What is wrong, in a few words."""


class _Cursor:
    """A place in the bytes of a header; what is read moves it on."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def skip(self, length: int) -> int:
        """Where the next `length` bytes begin."""
        start = self.at
        if length > len(self.data) - start:
            longer = len(self.data) == LONGEST
            raise _Damaged(f"a header of more than {LONGEST >> 20} MiB" if longer else "it ends too early")
        self.at += length
        return start

    def numbers(self, form: Struct) -> tuple[Any, ...]:
        return form.unpack_from(self.data, self.skip(form.size))

    def text(self) -> bytes:
        length = self.numbers(U64)[0]
        return self.data[self.skip(length) : self.at]

    def skip_texts(self, count: int) -> None:
        """Passes over texts; the bytes of a length alone bound their number."""
        self.skip(count * U64.size)
        self.at -= count * U64.size
        at, end, data, length = self.at, len(self.data) - U64.size, self.data, U64.unpack_from
        for _ in range(count):
            if at > end:
                break
            at += U64.size + length(data, at)[0]
        self.skip(at - self.at)

    def value(self, kind: int) -> Any:
        """A value of one of the format's types."""
        if kind in FORMS:
            return self.numbers(FORMS[kind])[0]
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise _Damaged(f"a value of type {kind}")
        (kind,), (count,) = self.numbers(U32), self.numbers(U64)
        if kind in FORMS:
            start = self.skip(FORMS[kind].size * count)
            return Numbers(FORMS[kind], self.data[start : self.at])
        if kind != STRING:
            raise _Damaged(f"an array of type {kind}")
        start = self.at
        self.skip_texts(count)
        return Texts(count, self.data[start : self.at])


def _parse(path: Path, cursor: _Cursor, size: int) -> Header:
    magic, version, tensors, keys = cursor.numbers(HEAD)
    if magic != b"GGUF":
        raise _Damaged("it does not begin with GGUF")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        raise _Damaged("its bytes are in big-endian order" if swapped else f"version {version}")
    if keys > KEYS or tensors > TENSORS:
        raise _Damaged(f"it claims {keys:,} keys and {tensors:,} tensors")
    fields: dict[str, Any] = {}
    for _ in range(keys):
        _add(fields, _name(cursor), cursor.value(cursor.numbers(U32)[0]))
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(tensors):
        _add(found, _name(cursor), _tensor(cursor))
    start = _aligned(cursor.at, fields.get("general.alignment", 32))
    for name, (_, offset, length) in found.items():
        if start + offset + length > size:
            raise _Damaged(f"tensor {name!r} ends beyond it")
    return Header(path, fields, {name: shape for name, (shape, _, _) in found.items()})


def _name(cursor: _Cursor) -> str:
    stored = cursor.text()
    if len(stored) > 0xFFFF:
        raise _Damaged(f"a name of {len(stored):,} bytes")
    return stored.decode(errors="replace")


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    if name in found:
        raise _Damaged(f"{name[:60]!r} stands there twice")
    found[name] = value


def _tensor(cursor: _Cursor) -> tuple[tuple[int, ...], int, int]:
    """(shape, offset in the data, bytes)."""
    (axes,) = cursor.numbers(U32)
    if not 1 <= axes <= AXES:
        raise _Damaged(f"a tensor of {axes} axes")
    shape = cursor.numbers(Struct(f"<{axes}Q"))
    (kind,), (offset,) = cursor.numbers(U32), cursor.numbers(U64)
    if kind not in BLOCKS:
        raise _Damaged(f"a tensor of type {kind}")
    values, size = BLOCKS[kind]
    if 0 in shape or shape[0] % values:
        raise _Damaged(f"a tensor of type {kind} and shape {shape}")
    return shape, offset, math.prod(shape) // values * size


def _aligned(at: int, to: Any) -> int:
    if not isinstance(to, int) or to < 1 or to & (to - 1):
        raise _Damaged("an alignment that is no power of two")
    return -(-at // to) * to


def _decoded(path: Path, what: str, stored: bytes) -> str:
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: {what} is not UTF-8 text") from error
