import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bedside.data.read import as_list, looks_local, read_path
from bedside.errors import DataError, OfflineError
from bedside.models import hub

ROWS = [
    {"question": "Why a raised JVP?", "answer": "Heart failure,\nmostly."},
    {"question": "β?", "answer": "A “beta”\u2028x"},
]


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_path(str(path), None)]


def refusal(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        list(read_path(str(path), None))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def jsonl(folder: Path, name: str = "a.jsonl") -> Path:
    return write(folder, name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))


def json_list(folder: Path) -> Path:
    return write(folder, "a.json", json.dumps(ROWS))


def csv(folder: Path) -> Path:
    return write(
        folder, "a.csv", 'question,answer\r\nWhy a raised JVP?,"Heart failure,\nmostly."\r\n\r\nβ?,A “beta”\u2028x\r\n'
    )


def parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("make", [jsonl, json_list, csv, parquet])
def test_each_kind_of_file_gives_the_same_rows(tmp_path: Path, make: Any) -> None:
    assert rows(make(tmp_path)) == ROWS


@pytest.mark.parametrize("name", ["A.JSONL", "a.Jsonl"])
def test_an_ending_in_capitals_is_known(tmp_path: Path, name: str) -> None:
    assert rows(jsonl(tmp_path, name)) == ROWS


@pytest.mark.parametrize(
    ("make", "where"),
    [(jsonl, "line 2"), (json_list, "row 2"), (csv, "line 5"), (parquet, "row 2")],
)
def test_each_row_carries_its_place(tmp_path: Path, make: Any, where: str) -> None:
    path = make(tmp_path)
    assert [place for place, _ in read_path(str(path), None)][1] == f"{path} {where}"


def test_objects_keyed_by_id_become_rows_with_that_id(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps({"123": {"QUESTION": "Q?"}, "7": {"QUESTION": "R?"}}))
    assert rows(path) == [{"id": "123", "QUESTION": "Q?"}, {"id": "7", "QUESTION": "R?"}]


def test_pubmedqas_own_file_is_read(shared_data: Path) -> None:
    found = rows(shared_data / "pubmedqa" / "ori_pqal_train500.json")
    assert len(found) == 500
    assert {"id", "QUESTION", "CONTEXTS", "final_decision"} <= set(found[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", '{"q": "x"}\n'), ("a.json", '[{"q": "x"}]'), ("a.csv", "q\nx\n")],
)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str, content: str) -> None:
    assert rows(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == [{"q": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.parquet", b"", "the file is empty"),
        ("a.parquet", b"question,answer\nx,y\n", "not a whole Parquet file"),
        ("a.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "cannot be read"),
        (
            "a.json",
            b'{"q": 1}\n{"q": 2}\n',
            "line 1: wanted a list of objects, or objects keyed by id; a file with one",
        ),
        ("a.json", b'[{"q": 1},\n{"q": 2},\n{"q": }]', "line 3: not JSON"),
        ("a.json", b'[{"q": 1},\n{"q": 2}', "line 2: not JSON"),
        ("a.json", b'[{"q": 1}]\n[]', "line 2: not JSON"),
        ("a.json", b'[{"q": "x"},\n {"q": "\xff"}]', "line 2: not UTF-8"),
        ("a.json", b" \n ", "wanted a list of objects, or objects keyed by id"),
        ("a.json", b'"text"', "wanted a list of objects, or objects keyed by id"),
        ("a.json", b'[{"q": 1}, 2]', "wanted a list of objects, or objects keyed by id"),
        ("a.json", b'{"q": 1}', "wanted a list of objects, or objects keyed by id"),
        ("a.jsonl", b'{"q": 1}\n{"q": \n', "line 2: not JSON"),
        ("a.jsonl", b"q,a\nx,y\n", "line 1: not JSON"),
        ("a.csv", b"q,a\nx,y\nx\n", "line 3: 1 fields, the header has 2"),
        ("a.csv", b"q,a\nx,y,z\n", "line 2: 3 fields, the header has 2"),
        ("a.csv", b'q,a\nx,"y\n', "not CSV (unexpected end of data)"),
        ("a.csv", b'q,a\nx,"y"z\n', "line 2: not CSV"),
        ("a.csv", b"q,a\n" + b"x,y\n" * 9000 + b"x,caf\xe9\n", "line 9002: not UTF-8 text"),
        ("a.csv", "q,a\nx,y\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("a.txt", b"question", "unknown ending '.txt'; known: .jsonl, .json, .csv, .parquet"),
        ("rows", b"question", "unknown ending ''"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = write(tmp_path, name, content)
    said = refusal(path)
    assert said.startswith(str(path))
    assert message in said


@pytest.mark.parametrize("name", ["gone.jsonl", "deep/er/gone.csv", "gone"])
def test_a_missing_file_is_asked_for(tmp_path: Path, name: str) -> None:
    assert "no such file" in refusal(tmp_path / name)


def test_reading_csv_lets_long_fields_through_and_importing_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"q\n{'x' * 200_000}\n")
    code = (
        "import csv, sys\n"
        "before = csv.field_size_limit()\n"
        "from bedside.data.read import read_path\n"
        "assert csv.field_size_limit() == before\n"
        "assert len(next(read_path(sys.argv[1], None))[1]['q']) == 200_000\n"
        "csv.field_size_limit(2**30)\n"
        "list(read_path(sys.argv[1], None))\n"
        "assert csv.field_size_limit() == 2**30, 'lowered what another set'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_a_parquet_file_cut_short_is_told_in_one_line(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a whole Parquet file" in refusal(path)


def test_a_folder_gives_the_rows_of_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", '{"q": "2"}\n')
    write(tmp_path, "a.csv", "q\n1\n")
    write(tmp_path, "README.md", "# nothing")
    assert rows(tmp_path) == [{"q": "1"}, {"q": "2"}]


def test_a_folder_without_rows_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: no .jsonl, .json, .csv, .parquet file in this folder"


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("rows.jsonl", True),
        ("data/rows.CSV", True),
        ("./org/name", True),
        ("/org", True),
        ("~/rows", True),
        ("rows", True),
        ("a/b/c", True),
        ("org/name", False),
    ],
)
def test_a_hub_id_is_told_from_a_path(path: str, local: bool) -> None:
    assert looks_local(path) is local


def test_a_hub_data_set_without_network_fails_in_one_line_that_says_what_to_do() -> None:
    with pytest.raises(OfflineError) as caught:
        list(read_path("nobody/no-such-set", None))
    assert str(caught.value).startswith("data set 'nobody/no-such-set': ")
    assert "save it as a file and give that as data.path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_given_up_at_once() -> None:
    code = (
        "from bedside.data.read import read_path\n"
        "from bedside.errors import OfflineError\n"
        "try:\n    list(read_path('nobody/no-such-set', None))\n"
        "except OfflineError as error:\n    print(error)\n"
    )
    outside = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment = {**outside, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert "give that as data.path" in done.stdout


@pytest.mark.parametrize(
    ("address", "port"), [("http://hub.local", 80), ("https://hub.local", 443), ("http://hub.local:8080", 8080)]
)
def test_the_hub_is_looked_for_at_its_own_port(monkeypatch: pytest.MonkeyPatch, address: str, port: int) -> None:
    asked: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], timeout: float) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert not hub.online()
    assert asked == [("hub.local", port)]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (["a", 1], ["a", "1"]),
        ('["a", "b"]', ["a", "b"]),
        ("[not json", ["[not json"]),
        ("text", ["text"]),
        (None, []),
        ("", []),
    ],
)
def test_a_column_of_lists_is_read_from_json_text_too(value: Any, items: list[str]) -> None:
    assert as_list(value) == items


def test_a_parquet_column_that_is_no_utf8_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pyarrow.array([b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"q": column}), path)
    assert "not a whole Parquet file" in refusal(path)


@pytest.mark.parametrize("text", ["[" * 20_000, "[" + "9" * 5_000 + "]"])
def test_what_only_looks_like_a_list_is_one_text(text: str) -> None:
    assert as_list(text) == [text]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"q": 1}\n{"q": 1, "a": 2, "q": 3}\n', "line 2: the key 'q' stands there twice"),
        ("a.jsonl", b'{"m": [{"role": "user", "role": "x"}]}\n', "line 1: the key 'role' stands there twice"),
        ("a.csv", b"q;a\nx;y\n", "line 1: one column, 'q;a': separated by semicolons? save it with commas"),
        ("a.csv", b"q\ta\nx\ty\n", "line 1: one column, 'q a': separated by tabs? save it with commas"),
        ("a.jsonl", b"\x1f\x8b\x08rest", "is gzip: unpack it first"),
        ("a.csv", b"\x1f\x8b\x08rest", "is gzip: unpack it first"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    said = refusal(path)
    assert said.startswith(str(path))
    assert message in said


def test_a_column_of_one_name_may_have_a_semicolon_in_its_fields(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "a.csv", "q\nx;y\n")) == [{"q": "x;y"}]


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pyarrow.array(["x"])
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays([column, column], names=["q", "q"]), path)
    assert refusal(path) == f"{path}: two columns are named 'q'; give each its own name"


def test_hidden_files_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", '{"q": "1"}\n')
    write(tmp_path, "._a.jsonl", b"\x00\x05\x16\x07")
    write(tmp_path, ".a.csv", "half")
    assert rows(tmp_path) == [{"q": "1"}]
