"""A release: the files that may leave the run, each with its SHA-256.

In: the folder that the export stage fills, and the folders of the other stages. Out: beside the model files an
`evidence/` folder with the files that the card cites, each under its path in the run, and `SHA256SUMS` over all, which
`sha256sum -c SHA256SUMS` checks anywhere. What names or quotes single rows stays in the run.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bedside.errors import DataError
from bedside.files import read_json, sha256, tree_digests, write_json, write_text
from bedside.recipe import Recipe
from bedside.recipe_file import to_toml
from bedside.runs import KEY, MANIFEST

CARD = "README.md"
SUMS = "SHA256SUMS"
MODELFILE = "Modelfile"
BUNDLE = ".tar.zst"
"""Ends the name of a release that is packed into one file."""
EVIDENCE = "evidence"
RECIPE = f"{EVIDENCE}/recipe.toml"
EXPORT = f"{EVIDENCE}/export.json"
DATA = f"{EVIDENCE}/data/card.json"
TRAIN = f"{EVIDENCE}/adapter/train.json"
COMPARISON = f"{EVIDENCE}/comparison/comparison.json"
ROLES = ("base", "tuned")
LOCAL = ("export.json", KEY, MANIFEST)
"""What the run keeps for itself: it may quote rows, or tell of other stages."""
ROWS = frozenset({"won", "lost", "question"})
"""Keys under which a stage's file names or quotes rows."""
LARGEST_TEXT = 16 * 2**20
"""Bytes of a card or an evidence file; ours have some ten thousand."""
SUM = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>.+)")


def scores(role: str) -> str:
    """Where the scores of the base or of the tuned model are."""
    return f"{EVIDENCE}/evaluation/{role}/scores.json"


def take_evidence(folder: Path, recipe: Recipe, stages: Mapping[str, Path], export: Mapping[str, Any]) -> None:
    """Copies what the card cites: the recipe, what this export found, and a file of each of the other stages.

    `stages` are the folders of "data", "adapter", "evaluation/base", "evaluation/tuned" and "comparison".
    """
    write_text(folder / RECIPE, to_toml(recipe))
    told = {
        key: value if key in ("base", "files") else without_rows(_without_sentences(value))
        for key, value in export.items()
    }
    write_json(folder / EXPORT, told)
    for path in (DATA, TRAIN, COMPARISON, *map(scores, ROLES)):
        stage, _, name = path.removeprefix(f"{EVIDENCE}/").rpartition("/")
        write_json(folder / path, without_rows(read_json(stages[stage] / name)))


def without_rows(value: Any) -> Any:
    """A stage's file without what names or quotes single rows: they may be about patients."""
    if isinstance(value, dict):
        return {key: without_rows(one) for key, one in value.items() if key not in ROWS}
    return [without_rows(one) for one in value] if isinstance(value, list) else value


def _without_sentences(value: Any) -> Any:
    """Findings as numbers and words; what has spaces may be quoted from a row."""
    if isinstance(value, dict):
        return {key: _without_sentences(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_sentences(one) for one in value]
    return None if isinstance(value, str) and re.search(r"\s", value) else value


def listed(folder: Path) -> dict[str, str]:
    """{path: SHA-256} of what the card names: all files of an export but the card, and what is for this run alone."""
    return {path: value for path, value in tree_digests(folder).items() if path not in (*LOCAL, CARD, SUMS)}


def seal(folder: Path, named: Mapping[str, str]) -> None:
    """Writes `SHA256SUMS` over the card and the files that it names."""
    every = {**named, CARD: sha256(folder / CARD)}
    write_text(folder / SUMS, "".join(f"{value}  {path}\n" for path, value in sorted(every.items())))


def sums(folder: Path) -> dict[str, str]:
    """{path: SHA-256} as `SHA256SUMS` has it. Raises DataError if it is no such list, or names what lies elsewhere."""
    path = folder / SUMS
    if not path.is_file():
        raise DataError(f"{path}: no such file, so this is no release; `bedside export RECIPE` writes one")
    listed = {}
    for number, line in enumerate(text(path).splitlines(), 1):
        found = SUM.fullmatch(line)
        if not found or not is_inside(found["path"]):
            raise DataError(f"{path} line {number}: want a SHA-256, two spaces and a path below this folder")
        listed[found["path"]] = found["sha256"]
    return listed


def text(path: Path) -> str:
    """A card or a list of a release, which may come from elsewhere. Raises DataError if it is too large, or no text."""
    if path.stat().st_size > LARGEST_TEXT:
        raise DataError(f"{path}: {path.stat().st_size:,} bytes, which no release has there")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error


def is_inside(path: str) -> bool:
    """Whether a path with slashes can only lie below the folder that it is joined to."""
    parts = path.split("/")
    return (
        PurePosixPath(path).as_posix() == path and not {"", ".", ".."} & set(parts) and not re.search(r"[\\:\0]", path)
    )
