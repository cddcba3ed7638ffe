"""The first signal lets the step end, the second one does not."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from bedside.train.interrupt import SIGNALS, finishing_the_step


def send(*signals: int) -> list[bool]:
    """What `asked` was after each signal that a block lived through."""
    asked = []
    with suppress(KeyboardInterrupt), finishing_the_step() as stop:
        for number in signals:
            os.kill(os.getpid(), number)
            asked.append(stop.asked)
    return asked


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_only_asks_and_says_so(number: int, capsys: pytest.CaptureFixture[str]):
    assert send(number) == [True]
    assert "once more stops after the rows in hand" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in SIGNALS for b in SIGNALS])
def test_the_second_signal_interrupts_at_once(first: int, second: int):
    assert send(first, second) == [True]


def test_a_signal_after_the_last_step_still_ends_what_comes_next():
    with pytest.raises(KeyboardInterrupt), finishing_the_step():
        os.kill(os.getpid(), signal.SIGTERM)


def test_the_handlers_are_those_from_before_afterwards():
    before = [signal.getsignal(number) for number in SIGNALS]
    with finishing_the_step() as stop:
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert not stop.asked
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_error_goes_its_way_even_after_a_signal():
    def work() -> None:
        with finishing_the_step():
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a command that a shell starts in the background
    try:
        with finishing_the_step() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_caught():
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with finishing_the_step() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGTERM) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
