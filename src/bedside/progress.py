"""Progress of long work, on stderr: a bar with rate and time left in a terminal, else a line every few seconds.

with progress.bar("train", total=36, unit="steps") as advance:
    advance(1, "loss 2.31")
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

LINE_EVERY_S = 15.0
Advance = Callable[[int, str], None]
Item = TypeVar("Item")


@contextmanager
def bar(label: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Yields `advance(n, note)`, for any thread; `done` units were finished before, as after a resume."""
    show = _terminal(label, total, unit, done) if sys.stderr.isatty() else _lines(label, total, unit, done)
    with show as advance:
        yield advance


def counted(items: Iterable[Item], label: str, unit: str) -> Iterator[Item]:
    """Passes items on and says every few seconds how many there were: for reading, whose end nobody knows."""
    started = last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            say(f"{label}: {number:,} {unit}, {_clock(now - started)} gone")


def say(line: str) -> None:
    """One line on stderr, where progress goes; stdout is for results."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _terminal(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(f"{label:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, completed=done, note="")
        yield lambda n, note: progress.update(task, advance=n, note=note)


@contextmanager
def _lines(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    started = last = time.monotonic()
    count = 0
    lock = Lock()

    def advance(n: int, note: str) -> None:
        with lock:
            told(n, note)

    def told(n: int, note: str) -> None:
        nonlocal count, last
        count += n
        now = time.monotonic()
        if now - last < LINE_EVERY_S and done + count < total:
            return
        last = now
        rate = count / max(now - started, 1e-9)
        left = _clock((total - done - count) / rate) if rate else "?"
        say(f"{label}: {done + count}/{total} {unit}, {_clock(now - started)} gone, {left} left  {note}".rstrip())

    yield advance


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
