"""A whole run of the tiny model, made once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedside import cli

DRUGS = ("aspirin", "insulin", "digoxin", "warfarin", "heparin", "atropine", "morphine", "steroid")


@dataclass(frozen=True)
class Place:
    """A folder with a recipe, its rows, and the runs."""

    folder: Path
    recipe: Path
    runs: Path

    def command(self, name: str, *arguments: str) -> list[str]:
        return [name, str(self.recipe), *arguments, "--runs", str(self.runs)]


def write_rows(path: Path, n: int = 40) -> None:
    rows = [
        {"q": f"Which drug is number {i}?", "a": f"It is {DRUGS[i % 8]}.", "why": f"I count {i}.", "d": ["yes", "no", "maybe"][i % 3]}
        for i in range(n)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(path: Path, model: Path, rows: Path) -> None:
    path.write_text(f"""
name = "tiny"
[model]
base = "{model}"
max_length = 256
[data]
source = "medical-o1"
path = "{rows}"
split = [0.6, 0.1, 0.3]
columns = {{ question = "q", answer = "a", reasoning = "why", label = "d" }}
[prompt]
style = "chat"
system = ""
[lint]
allow = ["first-loss"]  # the tiny model is random and wide
[train]
rank = 4
accumulation = 2
max_steps = 4
checkpoint_every = 2
[evaluate]
tasks = ["likelihood", "rouge", "decision"]
generate_limit = 4
max_tokens = 8
""")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Place:
    """The recipe with nothing run yet."""
    folder = tmp_path_factory.mktemp("place")
    write_rows(folder / "rows.jsonl")
    write_recipe(folder / "tiny.toml", tiny_llama, folder / "rows.jsonl")
    return Place(folder, folder / "tiny.toml", folder / "runs")


@pytest.fixture(scope="session")
def done(place: Place) -> Place:
    """The recipe with every stage run."""
    assert cli.run(place.command("run")) == 0
    return place


@pytest.fixture
def json_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with --json and reads what it printed: one object, and nothing else on stdout."""

    def read(*arguments: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert cli.run([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return read
