"""Whatever a file holds: its rows as they were, or one line that names it."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bedside.data.read import read_path
from bedside.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ROWS = st.lists(st.fixed_dictionaries({"q": TEXT, "a": TEXT}), min_size=1, max_size=6)
ANYTHING = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def listed(rows: list[dict[str, str]]) -> bytes:
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def commas(rows: list[dict[str, str]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["q", "a"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


KINDS = [("a.jsonl", jsonl), ("a.json", listed), ("a.csv", commas), ("a.parquet", parquet)]


@pytest.mark.parametrize(("name", "written"), KINDS)
@ANYTHING
@given(rows=ROWS)
def test_rows_come_back_as_they_were_written(
    tmp_path: Path, name: str, written: Callable[[Any], bytes], rows: list[dict[str, str]]
) -> None:
    path = tmp_path / name
    path.write_bytes(written(rows))
    assert [row for _, row in read_path(str(path), None)] == rows


@pytest.mark.parametrize("name", [name for name, _ in KINDS])
@ANYTHING
@given(content=st.binary(min_size=1, max_size=60) | st.text('[]{}",:\n q1\\ué\x00', min_size=1).map(str.encode))
@example(content=b"[" * 5000)
@example(content=b'{"a": ' * 5000)
@example(content=b'[{"a": 1e999}]')
@example(content=b'{"q": 1, "q": 2}')
def test_any_content_gives_rows_or_one_line_that_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found = [row for _, row in read_path(str(path), None)]
    except DataError as error:
        said = str(error)
    else:
        said = str(path)
        assert all(isinstance(row, dict) for row in found)
    assert said.startswith(str(path))
    assert "\n" not in said


@pytest.mark.parametrize(("name", "written"), KINDS)
@ANYTHING
@given(rows=ROWS, cut=st.integers(1, 40))
def test_a_file_that_is_cut_short_gives_no_row_that_was_not_there(
    tmp_path: Path, name: str, written: Callable[[Any], bytes], rows: list[dict[str, str]], cut: int
) -> None:
    path = tmp_path / name
    path.write_bytes(written(rows)[:-cut] or b"x")
    found: list[dict[str, str]] = []
    with suppress(DataError):  # of this kind and no other
        for _, row in read_path(str(path), None):
            found.append(row)
    assert found[:-1] == rows[: max(len(found) - 1, 0)]  # of a CSV file the last line may be a piece of one


def test_a_field_of_two_million_characters_is_read(tmp_path: Path) -> None:
    long = "x" * 2_000_000
    for name, written in KINDS:
        path = tmp_path / name
        path.write_bytes(written([{"q": long, "a": "b"}, {"q": "c", "a": "d"}]))
        assert [len(row["q"]) for _, row in read_path(str(path), None)] == [2_000_000, 1]


@pytest.mark.parametrize(("name", "written"), KINDS[:3])
def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, name: str, written: Callable[[Any], bytes]
) -> None:
    path = tmp_path / name
    rows = [{"q": str(i), "a": "b" * 100} for i in range(20_000)]
    path.write_bytes(written(rows))
    found: Iterator[Any] = read_path(str(path), None)
    next(found)
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(DataError, match="the file changed while it was read; run the command again"):
        list(found)


def test_a_quoted_field_over_several_lines_leaves_the_lines_right(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,a\n"one\ntwo\nthree",x\nfour,y\nfive\n')
    found = read_path(str(path), None)
    assert [next(found)[0], next(found)[0]] == [f"{path} line 2", f"{path} line 5"]
    with pytest.raises(DataError, match="line 6: 1 fields, the header has 2"):
        next(found)


def test_a_quote_that_is_never_closed_is_told_where_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,a\nx,y\n"open,z\n' + "x,y\n" * 50)
    with pytest.raises(DataError, match="in the row that begins on line 3: unexpected end of data"):
        list(read_path(str(path), None))


def test_a_reader_that_is_left_early_says_nothing_of_later_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": 1}\n{"q": 2}\n')
    left: Any = read_path(str(path), None)
    read_on = read_path(str(path), None)
    assert next(left) == next(read_on)
    path.unlink()
    left.close()
    assert list(left) == []
    with pytest.raises(DataError, match="the file changed while it was read"):
        list(read_on)
