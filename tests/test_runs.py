import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bedside import runs
from bedside.errors import RecipeError, RunError
from bedside.recipe import Recipe
from bedside.runs import Run, Stage

DATA = Stage("data", ("data", "seed"))
TRAIN = Stage("adapter", ("train",), reads=("data",))
TRAIN_ALONE = Stage("adapter", ("train",))
PART = Stage("data/report", ("model",), ("data",), aside=("page.txt",), part=True)
NESTED = Stage("evaluation/base", ("evaluate",), reads=("data",))


class Killed(BaseException):
    """Stands for a kill: nothing that follows in the process runs."""


def saying(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "out.txt").write_text(text, encoding="utf-8") and None


def never(_: Path) -> None:
    raise AssertionError("made again")


def changed(run: Run, **sections: object) -> Run:
    """The same folder with another recipe in force."""
    return Run(run.path, Recipe.model_validate({**run.recipe.model_dump(), **sections}))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "a", Recipe(name="a"))


def out(run: Run, stage: Stage) -> str:
    return (run.folder(stage.name) / "out.txt").read_text(encoding="utf-8")


def test_a_stage_is_made_once(run: Run) -> None:
    assert run.state(DATA) == "missing"
    assert run.build(DATA, saying("1"))
    assert run.state(DATA) == "done"
    assert not run.build(DATA, never)
    assert out(run, DATA) == "1"


def test_the_manifest_names_the_files_with_their_hashes(run: Run) -> None:
    run.build(DATA, saying("1"))
    manifest = run.manifest("data")
    assert manifest["stage"] == "data"
    assert list(manifest["files"]) == ["out.txt"]
    assert manifest["key"] == run.key(DATA)
    assert sorted(file.name for file in run.folder("data").iterdir()) == ["manifest.json", "out.txt"]


@pytest.mark.parametrize(
    ("sections", "state"),
    [
        ({"data": {"limit": 5}}, "stale"),
        ({"seed": 7}, "stale"),
        ({"train": {"rank": 4}}, "done"),
        ({"serve": {"port": 9}}, "done"),
    ],
)
def test_a_stage_is_stale_when_a_section_that_it_depends_on_changes(
    run: Run, sections: dict[str, object], state: str
) -> None:
    run.build(DATA, saying("1"))
    assert changed(run, **sections).state(DATA) == state


def test_a_stage_is_stale_when_an_outside_file_or_the_code_changes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.build(DATA, saying("1"))
    assert run.state(dataclasses.replace(DATA, outside={"rows.csv": "other hash"})) == "stale"
    monkeypatch.setattr(runs, "source_digest", lambda rooms: "another version")
    assert run.state(DATA) == "stale"


def test_what_has_changed_since_a_stage_was_made_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.build(DATA, saying("1"))
    assert run.changed(DATA) == []
    assert changed(run, seed=7).changed(DATA) == ["recipe 'seed'"]
    assert run.changed(dataclasses.replace(DATA, outside={"rows.csv": "hash"})) == ["rows.csv"]
    monkeypatch.setattr(runs, "source_digest", lambda rooms: "another version")
    assert run.changed(DATA) == ["Bedside's own code"]


def test_settings_that_change_nothing_of_the_outcome_leave_a_stage_done(run: Run) -> None:
    run.build(TRAIN_ALONE, saying("1"))
    assert changed(run, train={"checkpoint_every": 3, "track": ["tensorboard"]}).state(TRAIN_ALONE) == "done"
    assert changed(run, train={"checkpoint_every": 3, "lr": 1e-4}).state(TRAIN_ALONE) == "stale"


def test_what_was_begun_from_other_settings_is_kept_until_the_stage_is_done(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training of days must not be lost to a setting that was changed by mistake."""

    def killed(partial: Path) -> None:
        (partial / "checkpoint").write_text(str(run.recipe.train.lr))
        raise KeyboardInterrupt

    def going_on(partial: Path) -> None:
        assert (partial / "checkpoint").read_text() == str(run.recipe.train.lr)
        raise KeyboardInterrupt

    other = changed(run, train={"lr": 1e-4})
    with pytest.raises(KeyboardInterrupt):
        run.build(TRAIN_ALONE, killed)
    with pytest.raises(KeyboardInterrupt):
        other.build(TRAIN_ALONE, killed)
    assert "begun from other settings, data or code; begins again" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        run.build(TRAIN_ALONE, going_on)
    assert "goes on with an earlier attempt" in capsys.readouterr().err
    other.build(TRAIN_ALONE, saying("done"))
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".adapter")] == []


def test_an_attempt_is_taken_up_by_its_own_settings_alone_even_if_the_taking_up_was_killed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(partial: Path) -> None:
        assert not (partial / "checkpoint").exists()
        (partial / "checkpoint").write_text("x")
        raise KeyboardInterrupt

    def kill(line: str) -> None:
        raise KeyboardInterrupt

    for one in (run, changed(run, train={"lr": 1e-4})):
        with pytest.raises(KeyboardInterrupt):
            one.build(TRAIN_ALONE, killed)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "say", kill)
        with pytest.raises(KeyboardInterrupt):
            run.build(TRAIN_ALONE, never)
    with pytest.raises(KeyboardInterrupt):
        changed(run, train={"lr": 1e-3}).build(TRAIN_ALONE, killed)


def test_a_file_where_a_stage_is_to_be_made_is_told(run: Run) -> None:
    run.path.mkdir(parents=True)
    (run.path / ".data.partial").write_text("x")
    with pytest.raises(RunError, match="a file stands where 'data' is to be made"):
        run.build(DATA, saying("1"))


def test_a_stage_may_depend_on_one_key_of_a_section(run: Run) -> None:
    stage = Stage("export", ("serve.context",))
    run.build(stage, saying("1"))
    assert changed(run, serve={"port": 9}).state(stage) == "done"
    assert changed(run, serve={"context": 512}).state(stage) == "stale"


def test_what_reads_a_stage_is_stale_when_that_stage_changes(run: Run) -> None:
    run.build(DATA, saying("1"))
    run.build(TRAIN, saying("trained"))
    other = changed(run, seed=7)
    assert other.state(TRAIN) == "done"
    other.build(DATA, saying("2"))
    assert other.state(TRAIN) == "stale"
    assert other.build(TRAIN, saying("trained again"))
    assert out(other, TRAIN) == "trained again"


def test_a_stage_made_again_with_the_same_outcome_from_the_same_inputs_leaves_its_readers_done(run: Run) -> None:
    run.build(DATA, saying("1"))
    run.build(TRAIN, saying("trained"))
    before = run.manifest("data")["content"]
    (run.folder("data") / "manifest.json").unlink()
    run.build(DATA, saying("1"))
    assert run.manifest("data")["content"] == before
    assert run.state(TRAIN) == "done"


def test_a_reader_without_its_source_is_stale_and_says_which_stage_is_missing(run: Run) -> None:
    with pytest.raises(RunError, match="stage 'data' is not there"):
        run.build(TRAIN, never)


def test_a_nested_stage_has_its_own_folder(run: Run) -> None:
    run.build(DATA, saying("1"))
    assert run.build(NESTED, saying("base"))
    assert run.state(NESTED) == "done"
    assert out(run, NESTED) == "base"


def reporting(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "report.txt").write_text(text, encoding="utf-8") and None


def told(run: Run) -> str:
    return (run.folder("data/report") / "report.txt").read_text(encoding="utf-8")


def with_its_part(run: Run) -> Run:
    run.build(DATA, saying("rows"))
    run.build(PART, reporting("old"))
    run.build(TRAIN, saying("trained"))
    return changed(run, model={"max_length": 99})


def test_a_part_lies_among_the_files_of_its_stage(run: Run) -> None:
    assert run.state(PART) == "missing"
    with_its_part(run)
    names = ["manifest.json", "out.txt", "report.manifest.json", "report.txt"]
    assert sorted(path.name for path in (run.path / "data").iterdir()) == names
    assert run.folder("data/report") == run.folder("data")
    assert list(run.manifest("data/report")["files"]) == ["report.txt"]
    assert list(run.manifest("data")["files"]) == ["out.txt"]
    assert not run.build(PART, never)


def test_a_part_is_made_again_alone(run: Run) -> None:
    other = with_its_part(run)
    assert [other.state(stage) for stage in (DATA, PART, TRAIN)] == ["done", "stale", "done"]
    assert other.changed(PART) == ["recipe 'model'"]
    assert not other.build(DATA, never)
    assert other.build(PART, reporting("new"))
    assert (told(other), out(other, DATA)) == ("new", "rows")
    assert [other.state(stage) for stage in (DATA, PART, TRAIN)] == ["done"] * 3


def test_a_part_goes_with_its_stage_and_is_made_anew(run: Run) -> None:
    with_its_part(run)
    other = changed(run, seed=7)
    other.build(DATA, saying("other rows"))
    assert other.state(PART) == "missing"
    with pytest.raises(RunError, match="stage 'data/report' is not there"):
        other.folder("data/report")
    assert other.build(PART, reporting("of other rows"))
    assert told(other) == "of other rows"


def test_a_part_reads_also_what_its_stage_keeps_aside_from_the_others(run: Run) -> None:
    data = dataclasses.replace(DATA, aside=("counts.txt",))

    def counting(counts: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            (folder / "out.txt").write_text("rows", encoding="utf-8")
            (folder / "counts.txt").write_text(counts, encoding="utf-8")

        return make

    run.build(data, counting("1"))
    run.build(TRAIN, saying("trained"))
    run.build(PART, reporting("of 1"))
    aside = (run.folder("data") / "report.manifest.json").read_bytes()
    other = changed(run, seed=7)
    other.build(data, counting("2"))
    (run.folder("data") / "report.manifest.json").write_bytes(aside)
    assert (other.state(TRAIN), other.state(PART)) == ("done", "stale")


def test_what_reads_a_part_is_stale_only_when_what_it_holds_changes(run: Run) -> None:
    reader = Stage("report", ("name",), reads=("data/report",))

    def paged(page: str, report: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            (folder / "page.txt").write_text(page, encoding="utf-8")
            reporting(report)(folder)

        return make

    run.build(DATA, saying("rows"))
    run.build(PART, paged("a page", "1"))
    run.build(reader, saying("read"))
    for length, report, state in ((98, "1", "done"), (99, "2", "stale")):
        other = changed(run, model={"max_length": length})
        other.build(PART, paged("another page", report))
        assert other.state(reader) == state


def test_what_a_part_no_longer_makes_is_taken_away(run: Run) -> None:
    other = with_its_part(run)
    other.build(PART, lambda folder: (folder / "other.txt").write_text("new", encoding="utf-8") and None)
    assert not (run.path / "data" / "report.txt").exists()
    assert (run.path / "data" / "other.txt").is_file()


def test_a_killed_stage_leaves_nothing_finished_and_goes_on_from_what_it_had(run: Run) -> None:
    def killed(folder: Path) -> None:
        (folder / "checkpoint").write_text("step 10", encoding="utf-8")
        raise Killed

    with pytest.raises(Killed):
        run.build(DATA, killed)
    assert run.state(DATA) == "missing"
    found: list[str] = []
    run.build(DATA, lambda folder: found.append((folder / "checkpoint").read_text(encoding="utf-8")))
    assert found == ["step 10"]


def test_a_killed_stage_begins_anew_when_its_inputs_have_changed(run: Run) -> None:
    def killed(folder: Path) -> None:
        (folder / "checkpoint").write_text("step 10", encoding="utf-8")
        raise Killed

    with pytest.raises(Killed):
        run.build(DATA, killed)
    found: list[list[str]] = []
    changed(run, seed=7).build(DATA, lambda folder: found.append([file.name for file in folder.iterdir()]))
    assert found == [["key"]]


def kill_at(nth: int, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The nth call of a method of Path does not happen, and nothing after it."""
    real = getattr(Path, name)
    calls = iter(range(1, 1000))

    def method(self: Path, *args: object, **named: object) -> object:
        if next(calls) == nth:
            raise Killed
        return real(self, *args, **named)

    monkeypatch.setattr(Path, name, method)


@pytest.mark.parametrize(("name", "nth"), [("rename", 1), ("rename", 2), ("unlink", 1)])
def test_a_kill_between_sealing_and_renaming_costs_no_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    run.build(DATA, saying("old"))
    other = changed(run, seed=7)
    with monkeypatch.context() as patch:
        kill_at(nth, patch, name)
        with pytest.raises(Killed):
            other.build(DATA, saying("new"))
    assert other.state(DATA) in ("stale", "missing")
    assert other.build(DATA, never)
    assert out(other, DATA) == "new"
    assert other.state(DATA) == "done"
    assert [path.name for path in run.path.iterdir()] == ["data"]


@pytest.mark.parametrize(("name", "nth"), [("unlink", 1), ("unlink", 2), ("unlink", 3), ("replace", 3), ("replace", 4)])
def test_a_kill_while_a_part_is_put_in_place_costs_no_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    other = with_its_part(run)
    with monkeypatch.context() as patch:
        kill_at(nth, patch, name)
        with pytest.raises(Killed):
            other.build(PART, reporting("new"))
    assert other.state(DATA) == "done"
    assert other.state(PART) in ("stale", "missing")
    assert other.build(PART, never)
    assert told(other) == "new"
    assert other.state(PART) == "done"
    assert not (run.path / "data" / ".report.partial").exists()


def test_a_killed_rebuild_leaves_the_old_stage_whole(run: Run) -> None:
    run.build(DATA, saying("old"))

    def killed(folder: Path) -> None:
        raise Killed

    with pytest.raises(Killed):
        changed(run, seed=7).build(DATA, killed)
    assert out(run, DATA) == "old"
    assert run.state(DATA) == "done"


def test_the_recipe_that_is_kept_opens_the_run_again(run: Run) -> None:
    with run.lock():
        run.keep_recipe()
    assert Run.open(run.path).recipe == run.recipe


def test_a_second_user_of_a_run_is_told_to_wait(run: Run) -> None:
    with (
        run.lock(),
        pytest.raises(RunError, match="another process is at work on this run"),
        Run(run.path, Recipe(name="other")).lock(),
    ):
        pass


def test_the_lock_ends_with_its_process(run: Run) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from bedside.recipe import Recipe\n"
        "from bedside.runs import Run\n"
        "context = Run(pathlib.Path(sys.argv[1]), Recipe(name='a')).lock()\n"
        "context.__enter__()\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(run.path)], check=False).returncode == 9
    with run.lock():
        pass


def test_a_lock_is_free_again_after_a_failure(run: Run) -> None:
    with pytest.raises(Killed), run.lock():
        raise Killed
    with run.lock():
        pass


def test_what_was_being_written_when_a_stage_was_killed_is_not_sealed_into_it(run: Run) -> None:
    def killed(folder: Path) -> None:
        (folder / ".out.txt.x7f3.partial").write_text("hal", encoding="utf-8")
        raise Killed

    with pytest.raises(Killed):
        run.build(DATA, killed)
    run.build(DATA, saying("1"))
    assert list(run.manifest("data")["files"]) == ["out.txt"]


def test_a_file_in_the_place_of_the_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("x", encoding="utf-8")
    (tmp_path / "to" / "runs").parent.mkdir()
    (tmp_path / "to" / "runs").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "runs", tmp_path / "runs" / "a", tmp_path / "to" / "runs"):
        with (
            pytest.raises(RunError, match="/runs: a file stands where the run's folder should be"),
            Run(path, Recipe(name="a")).lock(),
        ):
            pass


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        Run.open(tmp_path / "none")
    (tmp_path / "recipe.toml").write_text("name = 3", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"recipe\.toml: name = 3"):
        Run.open(tmp_path)


def test_the_source_digest_covers_packages_modules_and_their_data() -> None:
    assert runs.source_digest(("data",)) != runs.source_digest(("text",))
    assert runs.source_digest(("recipe", "text")) == runs.source_digest(("text", "recipe"))
    assert runs.source_digest(()) == runs.source_digest(())


def test_a_manifest_is_plain_json(run: Run) -> None:
    run.build(DATA, saying("1"))
    text = (run.folder("data") / runs.MANIFEST).read_text(encoding="utf-8")
    assert set(json.loads(text)) == {"stage", "key", "inputs", "content", "created", "seconds", "files"}
