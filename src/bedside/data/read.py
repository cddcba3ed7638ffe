"""Files and hub data sets → plain rows, each with the place that it came from.

`.jsonl`, `.json` (a list of objects, or objects keyed by id as PubMedQA's own file is), `.csv`, `.parquet`, a folder
with such files, or a hub id. Every malformed file is one line that names the file and, where there is one, the line.
"""

import codecs
import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import pyarrow
import pyarrow.parquet

from bedside.errors import DataError, MissingExtra, OfflineError, first_line
from bedside.files import not_utf8, read_jsonl
from bedside.models.hub import reach

Row = dict[str, Any]
GZIP = b"\x1f\x8b"
SEPARATORS = {";": "semicolons", "\t": "tabs"}
LONGEST_CSV = 16 * 2**20
"""Characters of a CSV field: one that is far too long is for the cleaning to leave out, with its line."""
WANTED_JSON = "wanted a list of objects, or objects keyed by id; a file with one object a line is named .jsonl"
Located = tuple[str, Row]


def read_path(path: str, subset: str | None) -> Iterator[Located]:
    """Rows of a local file or folder, or else of a hub data set, as ("file line 3", row)."""
    local = Path(path).expanduser()
    if local.is_dir():
        return _folder(local)
    if local.exists() or looks_local(path):
        return _file(local)
    return _hub(path, subset)


def looks_local(path: str) -> bool:
    """Whether a path is meant as a file: a hub id is "org/name" without ending."""
    return Path(path).suffix.lower() in READERS or path.startswith((".", "/", "~")) or path.count("/") != 1


def _file(path: Path) -> Iterator[Located]:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown ending '{path.suffix}'; known: {', '.join(READERS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    before = _stamp(path)
    try:
        if _begins_with(path, GZIP):
            raise DataError(f"{path}: is gzip: unpack it first")
        yield from reader(path)
    except Exception as error:
        _refuse_changed(path, before)  # a torn file may look broken, so this is told first
        if isinstance(error, OSError):
            raise DataError(f"{path}: cannot be read ({error.strerror or _line(error)})") from error
        raise
    _refuse_changed(path, before)


def _refuse_changed(path: Path, before: tuple[int, int] | None) -> None:
    if _stamp(path) != before:
        raise DataError(f"{path}: the file changed while it was read; run the command again once it is complete")


def _begins_with(path: Path, sign: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(sign)) == sign


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None of a file that is no longer there."""
    if not path.exists():
        return None
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def files_of(folder: Path) -> list[Path]:
    """The data files of a folder, itself alone and no hidden ones, in the order in which they are read."""
    files = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(file for file in files if file.suffix.lower() in READERS)


def _folder(folder: Path) -> Iterator[Located]:
    files = files_of(folder)
    if not files:
        raise DataError(f"{folder}: no {', '.join(READERS)} file in this folder")
    for file in files:
        yield from _file(file)


def _jsonl(path: Path) -> Iterator[Located]:
    for number, row in read_jsonl(path):
        yield f"{path} line {number}", row


class _Lines:
    """A file that is handed out line by line, so that the line of a mistake is known."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.number = 0
        self._at_start = True

    def read(self, size: int = -1) -> bytes:
        """The next line, or a piece of a long one."""
        piece = self.file.readline(size)
        if piece:
            self.number += self._at_start
            self._at_start = piece.endswith(b"\n")
        return piece


def _json(path: Path) -> Iterator[Located]:
    """Row by row (ijson): PubMedQA's artificial set alone has 533 MB."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        sign, lines = _first_sign(file), _Lines(file)
        if sign not in (b"[", b"{"):
            raise DataError(f"{path}: {WANTED_JSON}")
        try:
            for number, row in enumerate(_values(sign, lines), 1):
                if not isinstance(row, dict):
                    raise DataError(f"{path} line {lines.number}: {WANTED_JSON}")
                yield f"{path} row {number}", row
        except ijson.JSONError as error:
            raise _not_json(path, lines.number, first_line(error)) from error


def _values(sign: bytes, lines: _Lines) -> Iterator[Any]:
    """The items of a list, or the values of an object with their keys as ids."""
    if sign != b"{":
        yield from ijson.items(lines, "item", use_float=True)
        return
    for key, value in ijson.kvitems(lines, "", use_float=True):
        yield {"id": key, **value} if isinstance(value, dict) else value


def _first_sign(file: BinaryIO) -> bytes:
    """The first byte that is no white space; the file is then where it was."""
    start = file.tell()
    while (sign := file.read(1)).isspace():
        pass
    file.seek(start)
    return sign


def _not_json(path: Path, line: int, reason: str) -> DataError:
    if "UTF8" in reason:
        return not_utf8(path)
    hint = "; a file with one object a line is named .jsonl" if "trailing garbage" in reason else ""
    return DataError(f"{path} line {line}: not JSON ({reason}){hint}")


def _csv(path: Path) -> Iterator[Located]:
    csv.field_size_limit(max(LONGEST_CSV, csv.field_size_limit()))  # the process has but one, so it only ever grows
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_names(f"{path} line 1", header)
            _check_separator(path, header)
            for start, fields in _numbered(reader):
                where = f"{path} line {start}"
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise DataError(f"{where}: {len(fields)} fields, the header has {len(header)}")
                yield where, dict(zip(header, fields, strict=True))
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: not CSV ({error})") from error


def _check_names(where: str, names: Sequence[str]) -> None:
    """Of two columns of one name a row would hold the last alone."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: two columns are named '{twice}'; give each its own name")


def _check_separator(path: Path, header: Sequence[str]) -> None:
    """Spreadsheets of many countries save a "CSV" with semicolons."""
    kind = next((kind for sign, kind in SEPARATORS.items() if len(header) == 1 and sign in header[0]), None)
    if kind:
        name = " ".join(header[0].split())
        raise DataError(f"{path} line 1: one column, '{name}': separated by {kind}? save it with commas")


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV reader with the line on which each begins; a quoted field may go over several."""
    start = reader.line_num + 1
    try:
        for fields in reader:
            yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        if reader.line_num <= start:
            raise
        raise csv.Error(f"in the row that begins on line {start}: {error}") from error


def _parquet(path: Path) -> Iterator[Located]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_names(str(path), file.schema_arrow.names)
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"{path} row {number}", row
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({first_line(error)})") from error


def _hub(path: str, subset: str | None) -> Iterator[Located]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra.named("reading a data set from the hub", "train") from error
    with reach("data set", path, "save it as a file and give that as data.path"):
        try:
            loaded = datasets.load_dataset(path, subset, split="train")
        except ValueError as error:  # an unknown subset, or a set that is only partly in the cache
            if not str(error).startswith("BuilderConfig"):
                raise OfflineError(f"data set '{path}': {_line(error)}") from error
            raise DataError(f"data set '{path}': no subset '{subset}'; {_line(error)}") from error
    for number, row in enumerate(loaded, 1):
        yield f"{path} row {number}", row


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


READERS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


def present(value: Any) -> Any:
    """The value, or None for a number that is none: the NaN that tables are filled up with."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_list(value: Any) -> list[str]:
    """A column that holds a list, or a list written as JSON text (as CSV files carry it); null holds nothing."""
    value = present(value)
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    if value is None or value == "":
        return []
    items = value if isinstance(value, list | tuple) else [value]
    return ["" if present(item) is None else str(item) for item in items]
