"""A run is a folder of stages; a stage is a directory that appears whole or not at all.

`Run.build(stage, make)` calls `make(partial_folder)` only if the finished stage's key differs from the stage's key
now. The key covers the recipe sections that the stage depends on, the manifests of the stages that it reads, the
hashes of outside files, the seed, and the source code of the rooms that compute it. While a stage is being made it
lives in a hidden sibling; that folder survives a kill, so a stage that checkpoints goes on from there. A part of a
stage is a stage of its own whose files lie in the other's folder.
"""

import fcntl
import glob
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from bedside.errors import BedsideError, RunError
from bedside.files import digest, disk_errors, read_json, sweep, tree_digests, write_json, write_text
from bedside.progress import say
from bedside.recipe import Recipe, Section
from bedside.recipe_file import KEPT, load, to_toml

MANIFEST = "manifest.json"
KEY = "key"
LOCK = ".lock"
CODE = "Bedside's own code"
StageState = Literal["done", "stale", "missing"]


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage is computed from, so that it is computed again exactly when that changes.

    `name` is the folder below the run; `sections` are recipe sections or keys ("seed", "serve.context"); `reads` other
    stages; `rooms` the packages or modules of bedside whose source it runs; `outside` names and hashes of files
    elsewhere. Files named `aside` are for people and for the stage's own parts: the other stages that read this one
    stay as they are when only those change.

    A `part` ("data/report") puts its files among those of the stage that it belongs to (`data`), is made again without
    it, and with it. Its files must have names of their own, and no folders.
    """

    name: str
    sections: tuple[str, ...]
    reads: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    part: bool = False


class Run:
    """One run folder and the recipe in force."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run folder with the recipe that it holds. Raises RunError if it is none."""
        if not (path / KEPT).is_file():
            raise RunError(f"{path}: no run here (no recipe.toml); `bedside runs` lists what there is")
        return cls(path, load(path / KEPT))

    def folder(self, name: str) -> Path:
        """The folder where a finished stage's files are. Raises RunError if the stage is not there."""
        manifest = self._manifest(name)
        if not manifest.is_file():
            raise RunError(
                f"{self.path}: stage '{name}' is not there; make it with"
                f" `bedside {'export' if name == 'export' else 'run'} {self.path}/{KEPT}`"
            )
        return manifest.parent

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a finished stage."""
        self.folder(name)
        return dict(read_json(self._manifest(name)))

    def inputs(self, stage: Stage) -> dict[str, str]:
        """Everything that a stage is computed from, by name, as digests."""
        sections = {f"recipe '{name}'": digest(self._section(name)) for name in stage.sections}
        read = "files" if stage.part else "content"
        reads = {f"stage '{name}'": digest(self.manifest(name)[read]) for name in stage.reads}
        return {**sections, **reads, **stage.outside, CODE: source_digest(stage.rooms)}

    def key(self, stage: Stage) -> str:
        """What a finished stage must carry to be taken as it is."""
        return digest(self.inputs(stage))

    def changed(self, stage: Stage) -> list[str]:
        """What a finished stage was computed from that is no longer the same, by name."""
        made_from = self.manifest(stage.name).get("inputs", {})
        now = self.inputs(stage)
        return [name for name in {**made_from, **now} if made_from.get(name) != now.get(name)]

    def state(self, stage: Stage) -> StageState:
        """ "done", "stale" (its inputs have changed) or "missing"."""
        if not self._manifest(stage.name).is_file():
            return "missing"
        if any(not self._manifest(name).is_file() for name in stage.reads):
            return "stale"
        return "done" if self.manifest(stage.name)["key"] == self.key(stage) else "stale"

    def build(self, stage: Stage, make: Callable[[Path], None], again: bool = False) -> bool:
        """Makes a stage unless it is done; returns whether it was made.

        `again` makes one that is done once more, and goes on with nothing but what was begun so.
        """
        if not again and self.state(stage) == "done":
            return False
        inputs = self.inputs(stage)
        key = digest(inputs)
        partial = self._partial(stage.name, digest([key, "again"]) if again else key)
        started = time.monotonic()
        with disk_errors(partial):
            if not (partial / MANIFEST).is_file():
                self._make(make, partial)
                self._seal(stage, partial, inputs, time.monotonic() - started)
            move = self._join if stage.part else self._rename
            move(partial, self.path / stage.name)
            for aside in _all_aside(self.path / stage.name):
                shutil.rmtree(aside, ignore_errors=True)
        return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process; another process gets a RunError."""
        with disk_errors(self.path):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                standing = next(
                    (path for path in (self.path, *self.path.parents) if path.exists() or path.is_symlink()), self.path
                )
                raise RunError(f"{standing}: a file stands where the run's folder should be") from error
            except FileNotFoundError as error:  # as below /proc
                raise RunError(f"{self.path}: cannot be made here; choose another folder with --runs") from error
            with (self.path / LOCK).open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(
                        f"{self.path}: another process is at work on this run; wait for it or stop it"
                    ) from error
                try:
                    yield
                finally:
                    if [path.name for path in self.path.iterdir()] == [LOCK]:  # refused before anything was made
                        (self.path / LOCK).unlink()
                        self.path.rmdir()

    def keep_recipe(self) -> None:
        """Writes the recipe into the run, once a stage has been made by it: a mistaken one leaves the run as it was."""
        text = to_toml(self.recipe)
        if not _has_text(self.path / KEPT, text):
            write_text(self.path / KEPT, text)

    def _manifest(self, name: str) -> Path:
        """Where a stage's manifest is or will be: in its folder, or beside the files that a part is put among."""
        part = _beside(self.path / name)
        return part if part.is_file() else self.path / name / MANIFEST

    def _section(self, name: str) -> Any:
        value = attrgetter(name)(self.recipe)
        return value.model_dump(mode="json", exclude=value.ASIDE) if isinstance(value, Section) else value

    def _partial(self, name: str, key: str) -> Path:
        """The hidden folder that the stage is made in; what was begun there from other inputs is set aside."""
        final = self.path / name
        partial = final.parent / f".{final.name}.partial"
        if partial.is_file():
            raise RunError(f"{partial}: a file stands where '{name}' is to be made; remove it")
        sealed = (partial / MANIFEST).is_file() and read_json(partial / MANIFEST)["key"] == key
        with disk_errors(partial):
            if not sealed and not _has_text(partial / KEY, key):
                self._set_aside(name, partial, key)
                partial.mkdir(parents=True, exist_ok=True)
                write_text(partial / KEY, key)
            sweep(partial)
        return partial

    def _set_aside(self, name: str, partial: Path, key: str) -> None:
        """Keeps what was begun from other inputs until the stage is done, or takes it up again if it was from these.

        The folder of an attempt is named by its own key, so that a kill in between mixes up none.
        """
        final = self.path / name
        mine, kept = _aside(final, key), None
        if partial.is_dir() and {path.name for path in partial.iterdir()} - {KEY} and (partial / KEY).is_file():
            kept = _aside(final, (partial / KEY).read_text(encoding="utf-8"))
            say(
                f"{name}: begun from other settings, data or code; begins again, and keeps that attempt"
                f" until it is done in {kept}"
            )
            shutil.rmtree(kept, ignore_errors=True)
            partial.rename(kept)
        shutil.rmtree(partial, ignore_errors=True)
        for other in _all_aside(final):
            if other not in (mine, kept):
                shutil.rmtree(other)
        if mine.is_dir():
            say(f"{name}: goes on with an earlier attempt from these settings")
            mine.rename(partial)

    @staticmethod
    def _make(make: Callable[[Path], None], partial: Path) -> None:
        """After a mistake nothing is left of a stage that had nothing to go on from."""
        try:
            make(partial)
        except BedsideError:
            if [path.name for path in partial.iterdir()] == [KEY]:
                shutil.rmtree(partial)
            raise

    @staticmethod
    def _seal(stage: Stage, partial: Path, inputs: Mapping[str, str], seconds: float) -> None:
        """Writes the manifest, last of all: from here on a killed run has only the renaming left to do."""
        files = {name: value for name, value in tree_digests(partial).items() if name != KEY}
        manifest = {
            "stage": stage.name,
            "key": digest(inputs),
            "inputs": dict(inputs),
            "content": digest({name: value for name, value in files.items() if name not in stage.aside}),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "files": files,
        }
        write_json(partial / MANIFEST, manifest)

    @staticmethod
    def _rename(partial: Path, final: Path) -> None:
        (partial / KEY).unlink(missing_ok=True)
        old = final.parent / f".{final.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        partial.rename(final)
        shutil.rmtree(old, ignore_errors=True)

    @staticmethod
    def _join(partial: Path, part: Path) -> None:
        """Moves the files of a part in place of its old ones, the manifest last: without one, it is moved once more."""
        manifest, folder = _beside(part), part.parent
        (partial / KEY).unlink(missing_ok=True)
        if manifest.is_file():
            old = read_json(manifest)["files"]
            manifest.unlink()
            for name in old:
                (folder / name).unlink(missing_ok=True)
        for path in partial.iterdir():
            if path.name != MANIFEST:
                path.replace(folder / path.name)
        (partial / MANIFEST).replace(manifest)
        partial.rmdir()


@cache
def source_digest(rooms: tuple[str, ...]) -> str:
    """Hash of the source files of the named packages or modules: the version of the code that a stage ran."""
    home = Path(__file__).parent
    state = hashlib.sha256()
    for room in sorted(rooms):
        single = home / f"{room}.py"
        for path in [single] if single.is_file() else sorted((home / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                state.update(str(path.relative_to(home)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _beside(part: Path) -> Path:
    """The manifest of a part, which has no folder of its own."""
    return part.with_name(f"{part.name}.{MANIFEST}")


def _aside(stage: Path, key: str) -> Path:
    """Where an unfinished attempt from the inputs of a key waits."""
    return stage.with_name(f".{stage.name}.{key[:16]}.aside")


def _all_aside(stage: Path) -> list[Path]:
    return list(stage.parent.glob(f".{glob.escape(stage.name)}.{'[0-9a-f]' * 16}.aside"))


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
