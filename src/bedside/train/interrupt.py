"""Ctrl-C, and the signal by which a cluster takes a machine back, let the step in hand end first.

    with finishing_the_step() as stop:
        while …:
            …
            if stop.asked:  # a checkpoint, then KeyboardInterrupt

Both end the command line alike, with the status of an interruption (130): the same command goes on from there.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from bedside.progress import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Stop:
    """Whether the end was asked for."""

    asked: bool = False


@contextmanager
def finishing_the_step() -> Iterator[Stop]:
    """Within it the first signal only sets `asked`; the second one raises KeyboardInterrupt at once; lanes end
    the rows that they have in hand.

    A signal that the process ignores stays ignored. Outside the main thread, which alone gets signals, nothing changes.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        with suppress(RuntimeError):  # stderr may be in the middle of another line
            say("stopping after this step, with a checkpoint; once more stops after the rows in hand")

    before = {number: signal.getsignal(number) for number in _caught()}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
        if stop.asked:  # too late for a step to see it, but not for what comes after the training
            raise KeyboardInterrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # none: it was set outside Python


def _caught() -> list[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
