import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from bedside.errors import RunError
from bedside.serve import private
from bedside.serve.audit import Audit, Entry, verify

Lines = list[bytes]


def entry(number: int = 0, **given: object) -> Entry:
    values = {
        "answer_id": f"chatcmpl-{number}",
        "endpoint": "/v1/chat/completions",
        "model": "tiny",
        "key_name": None,
        "prompt_hmac": "p",
        "prompt_characters": 9,
        "answer_hmac": "a",
        "answer_characters": 5,
        "prompt_tokens": 4,
        "completion_tokens": 2,
        "seconds": 0.5,
        "finish": "stop",
    }
    return Entry(**{**values, **given})  # type: ignore[arg-type]


def write(path: Path, lines: int) -> None:
    audit = Audit(path)
    for number in range(lines):
        audit.record(entry(number))
        audit._writer.submit(lambda: None).result()  # else lines are written together
    audit.close()
    assert audit.fault == ""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of five lines."""
    path = tmp_path / "audit" / "audit.jsonl"
    write(path, 5)
    return path


def test_an_untouched_log_holds_and_goes_on_where_it_was(log: Path) -> None:
    write(log, 3)
    found = verify(log)
    assert (found.fault, found.lines) == ("", 8)
    assert [json.loads(line)["sequence"] for line in log.read_text().splitlines()] == list(range(1, 9))
    assert found.first <= found.last


def test_a_log_holds_no_text_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "audit.jsonl"
    audit = Audit(path)
    audit.record(entry(prompt_hmac=audit.mark("Mr Smith, born 1950"), flags=("stroke",)))
    audit.close()
    kept = "".join(file.read_text() for file in path.parent.iterdir())
    assert "Smith" not in kept
    assert json.loads(path.read_text())["flags"] == ["stroke"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {"audit.jsonl", "audit.key", "audit.head"}


def test_the_same_text_has_the_same_mark_in_one_log_and_another_in_the_next(tmp_path: Path) -> None:
    first, again, other = Audit(tmp_path / "a.jsonl"), Audit(tmp_path / "a.jsonl"), Audit(tmp_path / "b.jsonl")
    assert first.mark("yes") == again.mark("yes") != other.mark("yes")
    assert first.mark("\ud800") != first.mark("no")


def changed(lines: Lines, at: int) -> Lines:
    return [line.replace(b'"tiny"', b'"huge"') if number == at else line for number, line in enumerate(lines, 1)]


def swapped(lines: Lines) -> Lines:
    return [lines[0], lines[2], lines[1], *lines[3:]]


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda lines: changed(lines, 1), "line 1 was changed"),
        (lambda lines: changed(lines, 3), "line 3 was changed"),
        (lambda lines: changed(lines, 5), "line 5 was changed"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"previous": "', b'"previous": "0'), *lines[3:]], "line 3 was changed"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"sequence": 3', b'"sequence": 4'), *lines[3:]], "line 3 was changed"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3 says that it is line 4: lines 3 to 3 were taken out or moved"),
        (lambda lines: lines[1:], "line 1 says that it is line 2"),
        (swapped, "line 2 says that it is line 3"),
        (lambda lines: [*lines[:3], lines[1], *lines[3:]], "line 4 says that it is line 2: it was moved or copied there"),
        (lambda lines: lines[:4], "ends after line 4, and 5 were written: line 5 is missing"),
        (lambda lines: lines[:1], "ends after line 1, and 5 were written: line 2 is missing"),
        (lambda lines: [], "ends after line 0, and 5 were written"),
        (lambda lines: [*lines, b"{}\n"], "line 6 is not a line of this log"),
        (lambda lines: [*lines[:2], b"\xff\n", *lines[3:]], "line 3 is not a line of this log"),
        (lambda lines: [*lines[:4], lines[4][:-9]], "line 5 is not whole"),
    ],
)  # fmt: skip
def test_what_was_done_to_a_log_is_named_by_its_first_broken_line(
    log: Path, tamper: Callable[[Lines], Lines], fault: str
) -> None:
    log.write_bytes(b"".join(tamper(log.read_bytes().splitlines(keepends=True))))
    assert fault in verify(log).fault


def test_a_line_that_was_chained_on_by_hand_is_found_by_the_head(log: Path) -> None:
    last = verify(log)
    line = json.dumps({"sequence": 6, "previous": last.sha256, "time": last.last})
    with log.open("a") as file:
        file.write(f"{line}\n")
    assert verify(log).fault == "line 6 was added by something else"


@pytest.mark.parametrize(
    ("name", "fault"), [("audit.head", "audit.head is missing"), ("audit.key", "audit.key is missing")]
)
def test_without_head_or_key_a_log_is_not_called_whole(log: Path, name: str, fault: str) -> None:
    log.with_name(name).unlink()
    assert fault in verify(log).fault
    with pytest.raises(RunError, match="missing"):
        Audit(log)


def test_a_head_that_was_made_for_a_shorter_log_is_not_believed(log: Path) -> None:
    head = log.with_suffix(".head")
    signature, _, rest = head.read_bytes().partition(b"\n")
    shorter = log.read_bytes().splitlines(keepends=True)[:4]
    log.write_bytes(b"".join(shorter))
    offset = len(b"".join(shorter[:3]))
    head.write_bytes(signature + b"\n%d\n" % offset + shorter[3])
    assert "audit.head: not what was written there" in verify(log).fault
    assert rest != head.read_bytes().partition(b"\n")[2]


@pytest.mark.parametrize("keep", [4, 3, 0])
def test_a_broken_log_is_not_continued_and_says_what_to_do(log: Path, keep: int) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(changed(lines, 2) if keep == 4 else lines[:keep]))
    with pytest.raises(RunError, match=r"audit\.jsonl: .*line .*move it away so that a new log begins"):
        Audit(log)


@pytest.mark.parametrize("kept", [0, 1, 50, -1])
def test_a_line_that_a_power_cut_has_kept_from_the_log_is_put_there(log: Path, kept: int) -> None:
    *whole, last = log.read_bytes().splitlines(keepends=True)
    expected = log.read_bytes()
    log.write_bytes(b"".join(whole) + last[:kept])
    Audit(log).close()
    assert log.read_bytes() == expected
    assert verify(log).fault == ""


def test_lines_of_a_busy_time_are_written_together_and_none_is_lost_to_a_power_cut(log: Path) -> None:
    audit = Audit(log)
    with private.locked(log):  # the disk is busy
        for number in range(5, 9):
            audit.record(entry(number))
    audit.close()
    expected = log.read_bytes()
    assert expected.count(b"\n") == 9
    log.write_bytes(expected[: -len(expected.splitlines(keepends=True)[-1]) - 100])
    Audit(log).close()
    assert log.read_bytes() == expected
    assert verify(log).fault == ""


def test_servers_that_share_a_log_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    script = f"from pathlib import Path; from {__name__} import write; write(Path({str(path)!r}), 20)"
    writers = [subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert (verify(path).lines, verify(path).fault) == (60, "")


def test_a_log_that_cannot_be_written_says_so_and_goes_on_when_it_can(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    audit = Audit(log)
    away = log.parent.rename(log.parent.with_name("away"))
    log.parent.write_text("a file in the way")
    audit.record(entry(5))
    audit._writer.submit(lambda: None).result()
    assert str(log) in audit.fault
    log.parent.unlink()
    shutil.move(away, log.parent)
    assert audit.fault  # asking has it tried again
    audit.close()
    assert audit._fault == ""
    assert (verify(log).lines, verify(log).fault) == (6, "")
    assert capfd.readouterr().err.count("no more answers") == 1


def test_lines_that_the_head_has_and_a_full_disk_kept_from_the_log_are_written_once(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_for_real, written = private.write, []

    def full(file: BinaryIO, content: bytes) -> None:
        written.append(content)
        if len(written) == 2:  # the head is first
            raise RunError("no space left")
        write_for_real(file, content)

    audit = Audit(log)
    monkeypatch.setattr(private, "write", full)
    audit.record(entry(5))
    audit._writer.submit(lambda: None).result()
    assert audit.fault == "no space left"  # asking has it tried again
    audit.record(entry(6))
    audit.close()
    assert [json.loads(line)["answer_id"] for line in log.read_text().splitlines()] == [
        f"chatcmpl-{n}" for n in range(7)
    ]
    assert (verify(log).fault, audit.fault) == ("", "")


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        verify(tmp_path / "audit.jsonl")
