"""The journal survives a kill, and tells each step once."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from bedside.errors import RunError
from bedside.files import read_jsonl
from bedside.train.journal import METRICS, StepMetrics, journal

from .conftest import SmallDisk


def metrics(step: int, **changes: object) -> StepMetrics:
    return StepMetrics(
        **{"step": step, "loss": 2.5, "lr": 1e-4, "grad_norm": 0.5, "tokens": 9, "seconds": 1.0, **changes}
    )


def write(folder: Path, *steps: StepMetrics, after: Sequence[StepMetrics] = ()) -> list[StepMetrics]:
    with journal(folder, after) as log:
        for step in steps:
            log.add(step)
    return log.steps


def lines(folder: Path) -> int:
    return len((folder / METRICS).read_text().splitlines())


def test_a_line_is_there_as_soon_as_the_step_is(tmp_path: Path):
    with journal(tmp_path, []) as log:
        log.add(metrics(1))
        assert lines(tmp_path) == 1


def test_what_was_logged_after_the_checkpoint_is_told_once_and_without_a_word(tmp_path: Path, capsys):
    before = [*map(metrics, (1, 2, 3))]
    write(tmp_path, *before, *map(metrics, (4, 5)))
    again = [metrics(4, loss=2.0), metrics(5, loss=1.0)]
    assert write(tmp_path, *again, after=before) == [*before, *again]
    assert [row for _, row in read_jsonl(tmp_path / METRICS)] == [asdict(step) for step in (*before, *again)]
    assert capsys.readouterr().err == ""


LINE = json.dumps(asdict(metrics(1))).encode() + b"\n"


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b"\0\0\0\0", b'{"step": 3}\n[\n'])
def test_a_line_that_a_kill_cut_is_forgotten_without_a_word(tmp_path: Path, torn: bytes, capsys):
    before = [metrics(1), metrics(2)]
    write(tmp_path, *before)
    with (tmp_path / METRICS).open("ab") as file:
        file.write(torn)
    assert write(tmp_path, metrics(3), after=before) == [*before, metrics(3)]
    assert lines(tmp_path) == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n{}\n",
        b"1\n2\n",
        LINE,
        LINE + b'{"step": 2, "lo',
        b"garbage\n" + LINE.replace(b'"step": 1', b'"step": 2'),
        LINE.replace(b"2.5", b"2.75") + LINE.replace(b'"step": 1', b'"step": 2'),
        b"\x00\xff\x1f\x8b" * 99,
        None,
    ],
)
def test_a_damaged_journal_is_mended_from_the_checkpoint_and_it_is_said_in_a_line(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
):
    if content is not None:
        (tmp_path / METRICS).write_bytes(content)
    before = [metrics(1), metrics(2)]
    write(tmp_path, metrics(3), after=before)
    assert [row for _, row in read_jsonl(tmp_path / METRICS)] == [asdict(step) for step in (*before, metrics(3))]
    told = capsys.readouterr().err
    assert told.endswith("metrics.jsonl: not every step up to 2 has its line as it was; mended from the checkpoint\n")
    assert told.count("\n") == 1


def test_a_full_disk_is_told_and_the_run_goes_on_afterwards(small_disk: SmallDisk):
    folder = small_disk.folder
    write(folder, metrics(1))
    small_disk.fill()
    with pytest.raises(RunError, match="the disk is full"):
        write(folder, *map(metrics, range(2, 200)), after=[metrics(1)])
    small_disk.free()
    assert write(folder, metrics(2), after=[metrics(1)]) == [metrics(1), metrics(2)]
