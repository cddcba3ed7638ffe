"""Run folder → material."""

import shutil
from pathlib import Path

import pytest

from bedside.errors import RunError
from bedside.report.collect import collect

from .sample import write_run

STAGES = ("adapter", "evaluation/base", "evaluation/tuned", "comparison", "export")


def test_it_reads_back_what_the_stages_wrote(tmp_path: Path):
    assert collect_of(tmp_path) == write_run(tmp_path / "again")


def collect_of(folder: Path):
    write_run(folder / "run")
    return collect(folder / "run")


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_stage_is_named(tmp_path: Path, stage: str):
    write_run(tmp_path)
    shutil.rmtree(tmp_path / stage)
    with pytest.raises(RunError, match=f"stage '{stage}' is not there"):
        collect(tmp_path)


def test_a_data_stage_without_its_report_is_named(tmp_path: Path):
    write_run(tmp_path)
    (tmp_path / "data/report.manifest.json").unlink()
    with pytest.raises(RunError, match="stage 'data/report' is not there"):
        collect(tmp_path)


def test_a_missing_file_of_a_stage_is_named(tmp_path: Path):
    write_run(tmp_path)
    (tmp_path / "data/stats.json").unlink()
    with pytest.raises(RunError, match=r"data/stats\.json: not there"):
        collect(tmp_path)


def test_answers_to_different_questions_are_not_put_side_by_side(tmp_path: Path):
    write_run(tmp_path)
    path = tmp_path / "evaluation/tuned/rouge.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match="question 'case-0' was answered by one model only"):
        collect(tmp_path)
