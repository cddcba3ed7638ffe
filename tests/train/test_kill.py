"""The shorter version of `benchmarks/kill.py`: its words are what is tested, too."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"


@pytest.mark.slow
def test_five_runs_that_are_killed_at_random_end_as_runs_that_nobody_disturbed():
    pytest.importorskip("bitsandbytes")
    done = subprocess.run([sys.executable, SCRIPT, "--kills", "5"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *kills, last = done.stdout.splitlines()
    assert [line.split()[0] for line in kills] == ["1", "2", "3", "4", "5"]
    assert last.startswith("5 of 5 identical")
