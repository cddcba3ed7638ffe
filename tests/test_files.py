import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside import files
from bedside.errors import DataError, RunError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_written_json_reads_back_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    files.write_json(path, {"dose": "5 µg", "n": [1, 2.5, None]})
    assert files.read_json(path) == {"dose": "5 µg", "n": [1, 2.5, None]}
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert "µ" in path.read_text(encoding="utf-8")


def test_a_float_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"loss": float("nan")})
    assert not path.exists()


@given(rows=st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=3), max_size=4))
def test_rows_survive_the_round_trip_whatever_they_hold(
    rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    assert files.write_jsonl(path, rows) == len(rows)
    assert [row for _, row in files.read_jsonl(path)] == rows


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\r", "\x1c"])
def test_a_line_separator_inside_a_row_does_not_end_it(tmp_path: Path, char: str) -> None:
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, [{"a": f"one{char}two"}, {"a": "three"}])
    assert list(files.read_jsonl(path)) == [(1, {"a": f"one{char}two"}), (2, {"a": "three"})]


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n   \n{"a": 2}')
    assert list(files.read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert files.read_json(path) == {"a": 1}


FAR = b'{"a": "' + b"x" * 20_000 + b'"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        (b'{"a": 1}\n[1, 2]\n', "line 2: a list, wanted an object"),
        (b'{"a": 1}\n\n"text"\n', "line 3: a str, wanted an object"),
        (FAR * 3 + b'{"a": "caf\xe9"}\n' + FAR * 3, "line 4: not UTF-8 text"),
        ('{"a": 1}\n'.encode("utf-16"), "line 1: not UTF-8 text"),
        (b'{"a": 1}\n{"a": "cut \\ud83d"}\n', "line 2: half of a surrogate pair"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(files.read_jsonl(path))
    assert str(caught.value).startswith(f"{path} {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{\n"a": 1,\n}', "line 3: not JSON"),
        (b'{"a": 1}\n{"a": 2}\n', "line 2: not JSON (Extra data); a file with one object a line is named .jsonl"),
        (b'{"a": 1,\n"b": "\xff"}', "line 2: not UTF-8 text"),
        (b'["\\uDC00"]', "half of a surrogate pair"),
    ],
)
def test_broken_json_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        files.read_json(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [files.read_json, lambda path: list(files.read_jsonl(path))])
def test_a_missing_file_and_a_folder_are_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"gone\.json: no such file"):
        read(tmp_path / "gone.json")
    with pytest.raises(DataError, match="a folder, wanted a file"):
        read(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError) as caught:
        files.write_text(path, "new")
    assert str(caught.value) == f"{path}: the disk is full; free some space and run the same command again"
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, number: int) -> None:
    with pytest.raises(RunError, match=r"cannot be written .*choose another folder"), files.disk_errors(tmp_path):
        raise OSError(number, "no")


def test_other_failures_of_the_disk_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken") as caught, files.disk_errors(tmp_path):
        raise OSError(errno.EIO, "broken")
    assert not isinstance(caught.value, RunError)


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "x")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": "1"})
    assert files.digest({"path": Path("/x")}) == files.digest({"path": "/x"})


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")  # the example of FIPS 180-2
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_tree_is_known_by_its_files_and_their_relative_names(tmp_path: Path) -> None:
    files.write_text(tmp_path / "b" / "c.txt", "2")
    files.write_text(tmp_path / "a.txt", "1")
    found = files.tree_digests(tmp_path)
    assert list(found) == ["a.txt", "b/c.txt"]
    assert found["a.txt"] == files.sha256(tmp_path / "a.txt")


def test_jsonl_holds_characters_and_not_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.write_jsonl(path, [{"a": "β-blocker 😀"}])
    assert path.read_text(encoding="utf-8") == json.dumps({"a": "β-blocker 😀"}, ensure_ascii=False) + "\n"


def test_a_hash_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_text(path, "one")
    first = files.sha256(path)
    assert files.sha256(path) == first
    files.write_text(path, "two")
    assert files.sha256(path) != first


def test_a_folder_appears_whole_and_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder"
    for text in ("old", "new"):
        with files.whole_folder(final) as partial:
            assert not list(partial.iterdir())
            files.write_text(partial / "a.txt", text)
            assert not final.exists() or (final / "a.txt").read_text(encoding="utf-8") == "old"
    assert (final / "a.txt").read_text(encoding="utf-8") == "new"
    assert [path.name for path in final.parent.iterdir()] == ["folder"]


def test_a_folder_that_failed_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    with files.whole_folder(tmp_path / "a") as partial:
        files.write_text(partial / "a.txt", "old")

    def fail() -> None:
        with files.whole_folder(tmp_path / "a") as partial:
            files.write_text(partial / "a.txt", "new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="the disk is full"):
        fail()
    assert (tmp_path / "a" / "a.txt").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what was synced")
def test_names_of_files_and_folders_reach_the_disk_before_and_after_they_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    with files.whole_folder(tmp_path / "a") as partial:
        (partial / "b").write_text("x", encoding="utf-8")
    assert synced == [f"{tmp_path}/.a.partial/b", f"{tmp_path}/.a.partial", str(tmp_path)]


def test_sweeping_removes_what_was_being_written_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.json.x7.partial", "b/.c.partial/.state.json.x7.partial", "b/.c.partial/d", ".hidden", "a.partial"):
        files.write_text(tmp_path / name, "x")
    files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "a.partial", "b"]
