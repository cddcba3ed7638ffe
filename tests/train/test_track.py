"""Each tracker's real library, offline: what was written is read back, and who was called is counted."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from bedside.errors import MissingExtra
from bedside.recipe import TrackerName
from bedside.train import track
from bedside.train.track import trackers

NAMES: tuple[TrackerName, ...] = ("wandb", "trackio", "tensorboard")
SETTINGS = {"seed": 7, "train": {"lr": 2e-4, "targets": ["q_proj", "v_proj"]}}
ATTEMPT = """
import socket, sys
from pathlib import Path

def refuse(self, address, *rest, connect=socket.socket.connect):
    assert self.family == socket.AF_UNIX, f"a connection to {address}"
    return connect(self, address, *rest)

socket.socket.connect = refuse
from bedside.train.track import trackers

folder, first, last, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with trackers(("wandb", "trackio", "tensorboard"), "bedside", "demo", folder, {"seed": 7}) as tracker:
    for step in range(first, last + 1):
        tracker.log(step, {"loss": 1 / step})
    if end == "waits":
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and none of the developer's settings."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "demo"


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackio takes its folder once a process, so that all tests in this process share one."""
    return tmp_path_factory.mktemp("trackio")


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A server that refuses everything, and the paths that it was asked for."""
    asked: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_CONNECT = do_POST

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def opened(name: TrackerName, folder: Path):
    return trackers([name], "bedside", "demo", folder, SETTINGS)


def log(name: TrackerName, folder: Path, steps: range) -> None:
    with opened(name, folder) as tracker:
        for step in steps:
            tracker.log(step, {"loss": 1 / step, "lr": 2e-4})


def attempt(folder: Path, first: int, last: int, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", ATTEMPT, str(folder), str(first), str(last), end]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def tensorboard_steps(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    rows = events.Scalars("loss") if "loss" in events.Tags()["scalars"] else []
    return [(row.step, pytest.approx(row.value)) for row in rows]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: protobuf in a LevelDB log (7 bytes of header, blocks of 32 KiB)."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if place + 7 + length > len(content):  # it is being written
            return
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""
        left = -place % 32768
        place += left if left < 7 else 0


def wandb_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def wandb_steps(folder: Path) -> list[tuple[int, float]]:
    rows = []
    for path in wandb_files(folder):
        for record in wandb_records(path):
            if record.WhichOneof("record_type") == "history":
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                rows.append((json.loads(items["_step"]), pytest.approx(json.loads(items["loss"]))))
    return rows


def trackio_steps(folder: Path) -> list[tuple[int, float]]:
    """Through trackio itself, in a process that has not yet chosen another folder."""
    code = (
        "import json, trackio\nfrom trackio.sqlite_storage import SQLiteStorage\n"
        "print(json.dumps([[(row['step'], row['loss']) for row in SQLiteStorage.get_logs('bedside', run.name,"
        " run_id=run.id)] for run in trackio.Api().runs('bedside')]))"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(folder / "trackio")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    [rows] = json.loads(done.stdout)
    return [(step, pytest.approx(loss)) for step, loss in rows]


READ: dict[TrackerName, Callable[[Path], list[tuple[int, float]]]] = {
    "wandb": wandb_steps,
    "trackio": trackio_steps,
    "tensorboard": tensorboard_steps,
}


def test_an_attempt_that_was_killed_goes_on_with_no_step_twice_and_none_missing(run: Path, own_home: Path):
    with attempt(run, 1, 6, "waits") as killed:
        wait_for(lambda: len(wandb_steps(run)) == 5)  # its service writes a step when the next one comes
        wait_for(lambda: len(tensorboard_steps(run)) == 6)  # the last one to be told of a step
        killed.kill()
        assert killed.communicate() == ("", "")
    with attempt(run, 5, 8, "ends") as resumed:
        assert resumed.communicate() == ("", "")
    for name in NAMES:
        assert READ[name](run) == [(step, 1 / step) for step in range(1, 9)], name
    assert {path.name for path in run.iterdir()} == set(NAMES)
    assert not [path for path in own_home.rglob("*") if path.is_file() and "core-debug" not in path.name]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_what_was_logged_is_read_back_by_the_library(name: TrackerName, run: Path):
    log(name, run, range(1, 4))
    assert READ[name](run) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_trackio_keeps_each_part_of_a_step_once_and_the_settings(
    run: Path, trackio_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRACKIO_DIR", str(trackio_folder))
    for first in (1, 2):
        with opened("trackio", run) as tracker:
            for step in range(first, 4):
                tracker.log(step, {"loss": 1 / step})
                tracker.log(step, {"validation_loss": 2 / step})
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    [found] = trackio.Api().runs("bedside")
    rows = SQLiteStorage.get_logs("bedside", "demo", run_id=found.id)
    assert found.config == SETTINGS
    assert [row["step"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert [row["validation_loss"] for row in rows[1::2]] == [2 / 1, 2 / 2, 2 / 3]


def test_a_second_run_in_the_process_is_not_written_into_the_first_ones_trackio(
    run: Path, trackio_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TRACKIO_DIR", str(trackio_folder))
    log("trackio", run, range(1, 2))
    before = (trackio_folder / "bedside.db").read_bytes()
    monkeypatch.delenv("TRACKIO_DIR")
    log("trackio", run.with_name("second"), range(1, 3))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"train.track: trackio is left out from here on: this process already writes to {trackio_folder}"
    )
    assert (trackio_folder / "bedside.db").read_bytes() == before
    assert "TRACKIO_DIR" not in os.environ


def test_wandb_goes_on_with_the_same_run_and_begins_another_at_the_first_step(run: Path):
    log("wandb", run, range(1, 4))
    log("wandb", run, range(3, 6))
    first, second = (path.stem for path in wandb_files(run))
    assert first == second
    assert [step for step, _ in wandb_steps(run)] == [1, 2, 3, 4, 5]
    log("wandb", run, range(1, 3))
    assert wandb_files(run)[-1].stem != first
    assert [step for step, _ in wandb_steps(run)] == [1, 2, 3, 4, 5, 1, 2]


def test_wandb_gets_numbers_and_settings_and_nothing_about_the_machine(run: Path, capfd: pytest.CaptureFixture[str]):
    with opened("wandb", run) as tracker:
        tracker.log(1, {"loss": 1.0})
        print("a row of a patient")
    assert capfd.readouterr() == ("a row of a patient\n", "")
    [path] = wandb_files(run)
    content = path.read_bytes()
    private = (b"row of a patient", socket.gethostname().encode() + b'"', str(Path.cwd()).encode(), b"pytest")
    assert not [text for text in private if text in content]
    [started] = [record.run for record in wandb_records(path) if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in started.config.update if item.key != "_wandb"}
    assert config == SETTINGS
    assert (started.host, started.git.commit, started.project, started.display_name) == ("", "", "bedside", "demo")
    assert not [
        found.name for found in path.parent.rglob("*") if found.is_file() and found.suffix not in (".wandb", ".log")
    ]


def test_tensorboard_shows_the_settings(run: Path):
    log("tensorboard", run, range(1, 2))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    [text] = events.Tensors("recipe/text_summary")
    assert json.loads(text.tensor_proto.string_val[0].decode().strip("`json\n")) == SETTINGS


@pytest.mark.parametrize(("mode", "called"), [(None, False), ("offline", False), ("online", True)])
def test_wandb_calls_its_server_only_if_the_user_says_so(
    run: Path,
    web: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mode: str | None,
    called: bool,
):
    url, asked = web
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("HTTPS_PROXY", url)  # whatever else its service may want to reach
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    log("wandb", run, range(1, 3))
    told = capfd.readouterr().err.splitlines()
    assert (bool(asked), bool(told)) == (called, called)
    assert sum(line.startswith("train.track: wandb is left out from here on: ") for line in told) == called
    assert not processes_left()


def processes_left() -> list[psutil.Process]:
    """Processes that this one has begun, but for the browser that other tests of a session share."""
    return [child for child in psutil.Process().children() if not child.name().startswith("node")]


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_not_installed_is_told_before_anything_is_done(
    name: TrackerName, run: Path, monkeypatch: pytest.MonkeyPatch
):
    def missing(wanted: str) -> None:
        if wanted == name:
            raise track.PackageNotFoundError(wanted)

    monkeypatch.setattr(track, "distribution", missing)
    told = rf"train.track = \['{name}'\] .*pip install 'bedside\[track\]'"
    with pytest.raises(MissingExtra, match=told), trackers(NAMES, "bedside", "demo", run, SETTINGS):
        pytest.fail("opened")
    assert not run.exists()


def test_without_trackers_nothing_is_loaded_and_nothing_written(run: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom bedside.train.track import trackers\n"
        "with trackers((), 'bedside', 'demo', Path(sys.argv[1]), {}) as tracker:\n    tracker.log(1, {'loss': 1.0})\n"
        "print(*[name for name in ('torch', 'wandb', 'trackio', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert not run.exists()


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_training_leaves_no_process_and_loses_no_step(
    name: TrackerName, error: type[BaseException], run: Path
):
    def train() -> None:
        with opened(name, run) as tracker:
            tracker.log(1, {"loss": 1.0})
            raise error

    with pytest.raises(error):
        train()
    assert not processes_left()
    assert READ[name](run) == [(1, 1.0)]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_tracker_that_cannot_begin_is_left_out_with_one_line(
    name: TrackerName, run: Path, capfd: pytest.CaptureFixture[str]
):
    run.mkdir(parents=True)
    (run / name).write_text("a file where its folder should be")
    log(name, run, range(1, 5))
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(f"train.track: {name} is left out from here on: ")
    assert not processes_left()


class Fails:
    """A tracker whose second step fails, and that says when it is closed."""

    def __init__(self, closed: list[str], *, at_close: bool = False) -> None:
        self.steps: list[int] = []
        self._closed = closed
        self._at_close = at_close

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)
        if step == 2 and not self._at_close:
            raise OSError("no space\nleft")

    def close(self) -> None:
        self._closed.append("closed")
        if self._at_close:
            raise RuntimeError("too late")


def test_a_tracker_that_fails_in_the_middle_is_closed_and_the_others_go_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    closed: list[str] = []
    fails, late = Fails(closed), Fails(closed, at_close=True)
    monkeypatch.setitem(track.OPEN, "wandb", lambda _: fails)
    monkeypatch.setitem(track.OPEN, "trackio", lambda _: late)
    with trackers(NAMES, "bedside", "demo", run, SETTINGS) as tracker:
        for step in range(1, 4):
            tracker.log(step, {"loss": 1 / step})
        assert closed == ["closed"]
    assert (fails.steps, late.steps, closed) == ([1, 2], [1, 2, 3], ["closed", "closed"])
    assert [step for step, _ in tensorboard_steps(run)] == [1, 2, 3]
    assert capsys.readouterr().err.splitlines() == [
        "train.track: wandb is left out from here on: no space",
        "train.track: trackio could not be closed: too late",
    ]
