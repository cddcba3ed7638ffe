"""`bedside data`: rows → train, validation and test."""

from pathlib import Path
from typing import Any

from bedside.files import read_json
from bedside.recipe import Recipe
from bedside.runs import Run, Stage


def stage(recipe: Recipe) -> Stage:
    """Depends on the data section, the seed and the rows' files."""
    from bedside.data.sources import fingerprint

    rooms = ("data", "records", "text")
    return Stage("data", ("data", "seed"), rooms=rooms, outside=fingerprint(recipe.data.path, recipe.data.source))


def make(run: Run, folder: Path) -> None:
    """Reads, splits and writes the rows."""
    from bedside.data import prepare, sources

    examples = sources.read(run.recipe.data)
    prepare.write(prepare.prepare(examples, run.recipe.data, run.recipe.seed), folder)


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints: the statistics."""
    return dict(read_json(run.folder("data") / "stats.json"))


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    splits = ", ".join(f"{name} {count}" for name, count in result["splits"].items())
    dropped = ", ".join(f"{count} {reason}" for reason, count in result["dropped"].items()) or "none"
    return f"{result['read']} rows read, {result['kept']} kept ({splits}); dropped: {dropped}"
