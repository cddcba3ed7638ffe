"""Progress goes to stderr, a line at a time where nobody watches."""

import pytest

from bedside import progress


def test_without_a_terminal_the_last_step_is_always_told(capsys: pytest.CaptureFixture[str]):
    with progress.bar("train", total=3, unit="steps") as advance:
        for step in range(3):
            advance(1, f"loss {step}")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("train: 3/3 steps")
    assert printed.err.rstrip().endswith("loss 2")


def test_lines_come_at_intervals_with_what_is_gone_and_left(capsys, monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 10.0, 20.0, 90.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bar("score", total=6, unit="items") as advance:
        for _ in range(3):
            advance(1, "")
    assert capsys.readouterr().err.splitlines() == [
        "score: 2/6 items, 0:20 gone, 0:40 left",
        "score: 3/6 items, 1:30 gone, 1:30 left",
    ]


def test_after_a_resume_the_rate_counts_only_what_was_done_now(capsys, monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.bar("train", total=10, unit="steps", done=6) as advance:
        advance(1, "")
    assert capsys.readouterr().err == "train: 7/10 steps, 0:30 gone, 1:30 left\n"


def test_in_a_terminal_it_is_a_bar(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.bar("train", total=2, unit="steps") as advance:
        advance(2, "loss 1.0")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "2/2" in printed.err


def test_reading_without_a_known_end_tells_how_far_it_is(capsys, monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 5.0, 20.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.counted("abc", "data", "rows read")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == ["data: 2 rows read, 0:20 gone"]
