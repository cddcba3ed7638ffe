"""Rows that wait on the disk while the stage decides about them: memory holds eight bytes a row.

`Store` has one JSON object a line, found again by its number; `Arrays` the numbers that near duplicates are proved on.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from bedside.records import Example

Item = TypeVar("Item")

_written = json.JSONEncoder(ensure_ascii=False).encode


def line_of(example: Example, reason: str = "", of: str = "") -> bytes:
    """A row as it stands in the stage's files; if it was left out with the reason in front, and for which other row."""
    why = {name: text for name, text in (("reason", reason), ("of", of)) if text}
    row = {**why, **example.to_json()}
    return f"{_written(row)}\n".encode(errors="replace")  # a file's name in `where` need not be UTF-8


class Store:
    """Appends rows and gives them back; the file is gone when the context ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b")
        self._starts = array("q")
        self._end = 0
        self._has_moved = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink()

    def __len__(self) -> int:
        return len(self._starts)

    def append(self, example: Example) -> None:
        """Writes a row; its number is the length before."""
        line = line_of(example)
        if self._has_moved:
            self._file.seek(self._end)
            self._has_moved = False
        self._starts.append(self._end)
        self._end += len(line)
        self._file.write(line)

    def __getitem__(self, number: int) -> Example:
        self._has_moved = True
        self._file.seek(self._starts[number])
        return Example.from_json(json.loads(self._file.readline()))

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.lines())

    def lines(self) -> Iterator[tuple[bytes, Example]]:
        """Each row as it is written, and as it is read."""
        self._has_moved = True
        self._file.seek(0)
        for line in self._file:
            yield line, Example.from_json(json.loads(line))


class Again(Iterable[Item]):
    """What a function yields, anew at each iteration: rows that are gone through twice and held by nobody."""

    def __init__(self, made: Callable[[], Iterator[Item]]) -> None:
        self._made = made

    def __iter__(self) -> Iterator[Item]:
        return self._made()


class Arrays:
    """Appends rows of arrays to an empty file and gives them back; memory holds eight bytes a row."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts = array("q", [0])

    def append(self, row: Sequence[NDArray[np.uint64]]) -> None:
        """Writes a row: where each of its arrays ends, and then they themselves."""
        ends = np.cumsum([1 + len(row), *map(len, row)], dtype=np.uint64)
        self._file.write(np.concatenate([ends, *row]).tobytes())
        self._starts.append(self._starts[-1] + 8 * int(ends[-1]))

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint64], ...]:
        start = self._starts[number]
        self._file.seek(start)
        record = np.frombuffer(self._file.read(self._starts[number + 1] - start), np.uint64)
        ends = record[: int(record[0])].tolist()
        return tuple([record[one:other] for one, other in pairwise(ends)])  # of a list: twice as fast
