"""Experiment trackers: the numbers of each step → W&B, trackio, TensorBoard, all of them on this machine's disk.

Nothing leaves the machine unless the user says so by `WANDB_MODE`. What a tracker gets is the numbers that are logged
and the recipe's settings: no text of a row, no console output, no source code, no host name. A tracker that fails is
left out with a line on stderr, and the training goes on. A training that begins at its first step is a new run to its
trackers; one that begins later goes on with the run that the folder knows, and no step is there twice.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Protocol

from bedside.errors import MissingExtra, RunError, first_line
from bedside.files import write_text
from bedside.progress import say
from bedside.recipe import TrackerName

RUN_ID = "run-id"
WANDB_FLUSH_S = 0.1


class Tracker(Protocol):
    """What a training loop tells its numbers to."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, counted from 1, by names other than "step" and "time"; a step may come in parts."""
        ...

    def close(self) -> None:
        """Writes out what is left, and ends what the tracker has started."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a tracker is opened with; `first` is the first step that this process logs."""

    project: str
    run: str
    folder: Path
    settings: Mapping[str, Any]
    first: int


@contextmanager
def trackers(
    names: Sequence[TrackerName], project: str, run: str, folder: Path, settings: Mapping[str, Any]
) -> Iterator[Tracker]:
    """One tracker that tells all the named ones, each of which keeps its files in a folder of its name below `folder`.

    `settings` holds what JSON can. Raises MissingExtra at once for a package that is not installed; the packages
    themselves are loaded at the first step. Of several processes only one may open trackers for a folder.
    """
    for name in names:
        try:
            distribution(name)
        except PackageNotFoundError as error:
            raise MissingExtra.named(f"train.track = ['{name}']", "track") from error
    together = _Together(names, lambda name, first: OPEN[name](Attempt(project, run, folder, settings, first)))
    try:
        yield together
    finally:
        together.close()


class _Together:
    """Tells several trackers, opens each at its first step, and goes on without those that fail."""

    def __init__(self, names: Sequence[TrackerName], begin: Callable[[TrackerName, int], Tracker]) -> None:
        self._names = list(dict.fromkeys(names))
        self._begin = begin
        self._begun: dict[TrackerName, Tracker] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name in tuple(self._names):
            try:
                if name not in self._begun:
                    self._begun[name] = self._begin(name, step)
                self._begun[name].log(step, values)
            except Exception as error:  # noqa: BLE001 — whatever it is: who watches must not stop what is watched
                self._names.remove(name)
                say(f"train.track: {name} is left out from here on: {first_line(error)}")
                with suppress(Exception):
                    self._begun.pop(name).close()

    def close(self) -> None:
        for name, tracker in self._begun.items():
            try:
                tracker.close()
            except Exception as error:  # noqa: BLE001 — the same, and the others are to be closed, too
                say(f"train.track: {name} could not be closed: {first_line(error)}")


class _Wandb:
    """Weights & Biases, offline unless `WANDB_MODE` says otherwise: files for `wandb sync`, an attempt a folder.

    `wandb sync` joins the attempts of one id in their order, but does not look for steps that several of them have.
    """

    def __init__(self, attempt: Attempt) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported, and by its service
        import wandb

        own = attempt.folder / "wandb"
        name = _run_id(own, attempt.first)
        self._last = own / f"{name}.last-step"
        self._seen = self._step = int(self._last.read_text(encoding="utf-8")) if self._last.is_file() else 0
        self._teardown = wandb.teardown
        options: dict[str, Any] = {
            "mode": os.environ.get("WANDB_MODE", "offline"),
            "resume": "allow",
            "reinit": "create_new",
            "settings": wandb.Settings(**WANDB_SETTINGS),
        }
        try:
            self._run = wandb.init(
                project=attempt.project,
                name=attempt.run,
                id=name,
                dir=attempt.folder,
                config=dict(attempt.settings),
                **options,
            )
        except BaseException:
            self._teardown()
            raise

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step <= self._seen:
            return
        self._run.log(dict(values), step=step)
        if step > self._step:  # W&B keeps a step back until the next one, since it may come in parts
            write_text(self._last, str(self._step))
            self._step = step

    def close(self) -> None:
        try:
            self._run.finish()
            write_text(self._last, str(self._step))
        finally:
            self._teardown()  # or its service would stay until this process ends


WANDB_SETTINGS = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "init_timeout": 20.0,  # seconds to wait for a server, 90 by default
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": WANDB_FLUSH_S,  # by default a kill loses up to 15 s
}
"""W&B's defaults record console output, command line, paths, host, git state, packages and use of the machine."""


class _Trackio:
    """Trackio's data base in the folder, or in `TRACKIO_DIR`.

    It is written through trackio's own storage and not by `trackio.init`, which asks huggingface.co for the user's
    name wherever there is a token, prints to stdout, and makes a warning of each failure.
    """

    def __init__(self, attempt: Attempt) -> None:
        own = attempt.folder / "trackio"
        self._storage = _trackio_storage(os.environ.get("TRACKIO_DIR") or str(own.absolute()))
        self._id = _run_id(own, attempt.first)
        self._attempt = attempt

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._storage.bulk_log(
            self._attempt.project,
            self._attempt.run,
            [dict(values)],
            steps=[step],
            config=dict(self._attempt.settings),
            log_ids=[" ".join((self._id, str(step), *sorted(values)))],  # a second row of the same id is ignored
            run_id=self._id,
        )

    def close(self) -> None:
        """Each row is on disk already."""


def _trackio_storage(folder: str) -> Any:
    """Trackio's storage class, which takes its folder from the environment once, when it is imported."""
    asked = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = folder
    try:
        from trackio import utils
        from trackio.sqlite_storage import SQLiteStorage
    finally:
        if asked is None:
            del os.environ["TRACKIO_DIR"]
    if str(utils.TRACKIO_DIR) != folder:
        raise RunError(f"this process already writes to {utils.TRACKIO_DIR}; set TRACKIO_DIR to track several runs")
    return SQLiteStorage


class _TensorBoard:
    """Event files; of an earlier attempt's, TensorBoard passes over those that come at or after the first step."""

    def __init__(self, attempt: Attempt) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(attempt.folder / "tensorboard"), purge_step=attempt.first)
        text = json.dumps(attempt.settings, indent=2, ensure_ascii=False)
        self._writer.add_text("recipe", f"```json\n{text}\n```", attempt.first)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # by default a kill loses up to 2 minutes

    def close(self) -> None:
        self._writer.close()


OPEN: dict[TrackerName, Callable[[Attempt], Tracker]] = {
    "wandb": _Wandb,
    "trackio": _Trackio,
    "tensorboard": _TensorBoard,
}


def _run_id(folder: Path, first: int) -> str:
    """The id that a run has at a tracker: kept in its folder, and a new one when training starts over."""
    kept = folder / RUN_ID
    if first <= 1 or not kept.is_file():
        write_text(kept, secrets.token_hex(4))
    return kept.read_text(encoding="utf-8")
