"""The journal survives a kill, and tells each step once."""

from pathlib import Path

import pytest

from bedside.errors import RunError
from bedside.train.journal import METRICS, StepMetrics, journal
from bedside.train.world import World

from .conftest import SmallDisk


def metrics(step: int, **changes: object) -> StepMetrics:
    return StepMetrics(
        **{"step": step, "loss": 2.5, "lr": 1e-4, "grad_norm": 0.5, "tokens": 9, "seconds": 1.0, **changes}
    )


def write(folder: Path, *steps: StepMetrics, after: int = 0) -> list[StepMetrics]:
    with journal(folder, after, World()) as log:
        for step in steps:
            log.add(step)
    return log.steps


def lines(folder: Path) -> int:
    return len((folder / METRICS).read_text().splitlines())


def test_a_line_is_there_as_soon_as_the_step_is(tmp_path: Path):
    with journal(tmp_path, 0, World()) as log:
        log.add(metrics(1))
        assert lines(tmp_path) == 1


def test_what_was_logged_after_the_checkpoint_is_told_once(tmp_path: Path):
    write(tmp_path, *map(metrics, (1, 2, 3, 4, 5)))
    again = [metrics(4, loss=2.0), metrics(5, loss=1.0)]
    assert write(tmp_path, *again, after=3) == [*map(metrics, (1, 2, 3)), *again]
    assert write(tmp_path, after=5) == [*map(metrics, (1, 2, 3)), *again]


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b"\0\0\0\0", b'{"step": 3}\n[\n'])
def test_a_line_that_a_kill_cut_is_forgotten(tmp_path: Path, torn: bytes):
    write(tmp_path, metrics(1), metrics(2))
    with (tmp_path / METRICS).open("ab") as file:
        file.write(torn)
    assert write(tmp_path, metrics(3), after=2) == [metrics(1), metrics(2), metrics(3)]
    assert lines(tmp_path) == 3


@pytest.mark.parametrize("content", ["", "{}\n{}\n", "{\n{\n", '{"step": 1}\n', "1\n2\n"])
def test_a_journal_behind_its_checkpoint_is_told_in_one_line(tmp_path: Path, content: str):
    (tmp_path / METRICS).write_text(content)
    with pytest.raises(RunError, match=r"not every step up to 2 has its line; delete .* to begin again"):
        write(tmp_path, after=2)
    assert (tmp_path / METRICS).read_text() == content


def test_a_step_that_was_skipped_and_one_that_was_validated_read_back(tmp_path: Path):
    steps = [metrics(1, grad_norm=None), metrics(2, validation_loss=2.25)]
    write(tmp_path, *steps)
    assert write(tmp_path, after=2) == steps


def test_a_full_disk_is_told_and_the_run_goes_on_afterwards(small_disk: SmallDisk):
    folder = small_disk.folder
    write(folder, metrics(1))
    small_disk.fill()
    with pytest.raises(RunError, match="the disk is full"):
        write(folder, *map(metrics, range(2, 200)), after=1)
    small_disk.free()
    assert write(folder, metrics(2), after=1) == [metrics(1), metrics(2)]
