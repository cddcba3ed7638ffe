"""`bedside data`: rows → train, validation and test; and, as a part that needs no source, what is told about them."""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bedside.errors import BedsideError
from bedside.files import read_json, write_json, write_text
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import DataSection, Recipe
from bedside.records import Example
from bedside.runs import Run, Stage
from bedside.verbs import evaluate

COUNTED = 20_000
"""Training rows at most whose tokens are counted: the first ones."""
FOUND = "found.json"
"""What reading found: the statistics, the files and the hub's revision."""
SECTIONS = ("seed", *(f"data.{name}" for name in DataSection.model_fields if name != "licence"))
TOLD = ("name", "data", "model.base", "model.revision", "model.max_length", "prompt")
TOLD_BY = ("data/stats", "data/card", "data/origins", "report", "plots", "text", "runtime/tokenizer", "verbs/data")


def stage(recipe: Recipe) -> Stage:
    """Depends on the rows' files, on those that they are compared with, and on the settings that decide about rows."""
    from bedside.data.sources import fingerprint

    data = recipe.data
    outside = fingerprint(data.path, data.source) | evaluate.files(recipe)
    for path in (*data.against, *data.documents, data.test_ids, data.validation_ids):
        outside |= fingerprint(path, data.source) if path else {}
    rooms = ("data", "records", "text/chat", "verbs/data")
    return Stage("data", SECTIONS, rooms=rooms, outside=outside, aside=(FOUND, "dropped.jsonl"))


def report_stage(recipe: Recipe) -> Stage:
    """The part that depends on the model, whose tokenizer counts, and on what is installed."""
    outside = {"tokenizer": _tokenizer(recipe), "plots": str(_plots_are_here())}
    aside = ("README.md", "report.html")
    return Stage("data/report", TOLD, ("data",), TOLD_BY, outside, aside, part=True)


def make(run: Run, folder: Path) -> None:
    """Reads, mends, thins out, splits and writes the rows, and notes what was found."""
    from bedside.data import card, prepare, sources

    recipe = run.recipe
    rows = sources.read(recipe.data)
    documents = _texts(recipe.data.documents)
    prepared = prepare.prepare(rows, recipe.data, recipe.seed, folder, _evaluation_sets(recipe), documents)
    files = card.described(sources.fingerprint(recipe.data.path, recipe.data.source))
    revision = None if files else _revision(recipe.data)
    statistics = prepared.statistics.to_json(prepared.contamination)
    write_json(folder / FOUND, {"statistics": statistics, "files": files, "revision": revision})


def make_report(run: Run, folder: Path) -> None:
    """Counts tokens and writes statistics, data card and, where matplotlib is installed, the report."""
    from bedside.data import card

    recipe = run.recipe
    rows = run.folder("data")
    found = read_json(rows / FOUND)
    stats = {**found["statistics"], "tokens": _tokens(recipe, rows)}
    told = card.card(recipe.name, recipe.data, stats, found["files"], found["revision"])
    write_json(folder / "stats.json", stats)
    write_json(folder / "card.json", told)
    write_text(folder / "README.md", card.markdown(told))
    if not _plots_are_here():
        say("data: no report.html, since its plots need an extra: pip install 'bedside[report]'")
        return
    from bedside.report.data_page import render

    write_text(folder / "report.html", render(stats, told))


def _tokenizer(recipe: Recipe) -> str:
    """What changes when the base's tokenizer does; "" where it is not here."""
    if importlib.util.find_spec("transformers") is None or not locate.is_here(recipe.model):
        return ""
    try:
        return locate.identify(recipe.model)
    except BedsideError as error:
        return str(error)


def _plots_are_here() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _evaluation_sets(recipe: Recipe) -> dict[str, Iterable[tuple[str, str]]]:
    """{name: (id, text) of each item} of what no training row may contain, beside the test rows."""
    from bedside.data.contamination import item_texts
    from bedside.evaluate.tasks import outside

    judged_on = {name: item_texts(items) for name, items in outside(recipe.evaluate).items()}
    return {**_texts(recipe.data.against), **judged_on}


def _texts(paths: Sequence[str]) -> dict[str, Iterable[tuple[str, str]]]:
    from bedside.data.sources import read_texts
    from bedside.data.store import Again

    return {path: Again(partial(read_texts, path)) for path in paths}


def _revision(section: DataSection) -> str | None:
    """The commit of a data set of the hub."""
    from bedside.data.sources import SOURCES
    from bedside.models.hub import dataset_revision

    source = SOURCES[section.source]
    home = section.path or str(source.path)
    return dataset_revision(home, section.subset or (source.subset if home == source.path else None))


def _tokens(recipe: Recipe, rows: Path) -> dict[str, Any] | None:
    """Token lengths as the recipe's own model counts them; None, with the reason on stderr, where it is not here."""
    if not _tokenizer(recipe):
        say(f"data: tokens are not counted, since the tokenizer of '{recipe.model.base}' is not here yet")
        return None
    from bedside.data.stats import token_lengths

    try:
        base = locate.resolve(recipe.model)
        return token_lengths(_part_lengths(recipe, base.folder, rows), base.name, recipe.model.max_length)
    except BedsideError as error:  # the rows are sound all the same; lint says what is wrong with the model
        say(f"data: tokens are not counted: {error}")
        return None


def _part_lengths(recipe: Recipe, base: Path, rows: Path) -> Iterator[tuple[int, int, int]]:
    """Tokens of prompt, reasoning and answer of the first training rows."""
    from itertools import islice

    from bedside.files import read_jsonl
    from bedside.runtime.tokenizer import load_tokenizer, part_lengths

    tokenizer = load_tokenizer(base, recipe.prompt)
    for _, row in islice(read_jsonl(rows / "train.jsonl"), COUNTED):
        yield part_lengths(tokenizer, Example.from_json(row), recipe.prompt)


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints: the statistics."""
    return dict(read_json(run.folder("data/report") / "stats.json"))


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    splits = ", ".join(f"{name} {count:,}" for name, count in result["splits"].items())
    lines = [f"{result['read']:,} rows read = {result['kept']:,} kept + {result['read'] - result['kept']:,} left out"]
    lines.append(f"kept: {splits}")
    lines += [f"left out: {count:,} {reason}" for reason, count in result["dropped"].items()]
    lines += [
        f"  {one['row']} says {one['says']!r}, {one['kept']}, which stays, {one['kept_says']!r}: {one['question']}"
        for one in result["contradictions"]
    ]
    lines += [f"mended: {count:,} {kind}" for kind, count in result["changed"].items()]
    for found in result["contamination"]:
        hit = f"{found['rows']:,} training rows contain {found['hit_items']:,} of {found['items']:,} items"
        lines.append(f"against {found['set']}: {hit} ({found['action']})")
    return "\n".join(lines)
