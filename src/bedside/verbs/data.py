"""`bedside data`: rows → train, validation and test, with their statistics, data card and report."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bedside.errors import BedsideError
from bedside.files import read_json, write_json, write_text
from bedside.models import locate
from bedside.progress import say
from bedside.recipe import Recipe
from bedside.records import Example
from bedside.runs import Run, Stage

COUNTED = 20_000
"""Training rows at most whose tokens are counted: the first ones."""
SECTIONS = ("data", "seed", "name", "model", "prompt", "evaluate.tasks", "evaluate.choice_from")
ASIDE = ("stats.json", "card.json", "README.md", "report.html")


def stage(recipe: Recipe) -> Stage:
    """Depends on the rows' files and those they are compared with; the model counts tokens for what people read."""
    from bedside.data.sources import fingerprint

    outside = fingerprint(recipe.data.path, recipe.data.source)
    if _compares_choices(recipe) and recipe.evaluate.choice_from != "starter":
        outside |= fingerprint(recipe.evaluate.choice_from, "mcq")
    data = recipe.data
    for path in (*data.against, *data.documents, data.test_ids, data.validation_ids):
        outside |= fingerprint(path, recipe.data.source) if path else {}
    outside["tokenizer and plots"] = str((_tokenizer_is_here(recipe), _plots_are_here()))
    rooms = ("data", "records", "text", "report", "plots", "verbs/data")
    return Stage("data", SECTIONS, rooms=rooms, outside=outside, aside=ASIDE)


def make(run: Run, folder: Path) -> None:
    """Reads, mends, thins out, splits and writes the rows, and tells about them."""
    from bedside.data import prepare, sources

    recipe = run.recipe
    rows = sources.read(recipe.data)
    documents = _texts(recipe.data.documents)
    prepared = prepare.prepare(rows, recipe.data, recipe.seed, folder, _evaluation_sets(recipe), documents)
    stats = prepared.statistics.to_json(prepared.contamination, _tokens(recipe, folder))
    write_json(folder / "stats.json", stats)
    _tell(recipe, folder, stats)


def _tokenizer_is_here(recipe: Recipe) -> bool:
    return importlib.util.find_spec("transformers") is not None and locate.is_here(recipe.model)


def _plots_are_here() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _compares_choices(recipe: Recipe) -> bool:
    return "choice" in recipe.evaluate.tasks


def _evaluation_sets(recipe: Recipe) -> dict[str, list[tuple[str, str]]]:
    """{name: (id, text) of each item} of what no training row may contain, beside the test rows."""
    from bedside.data.contamination import item_texts
    from bedside.data.sources import read_choices

    sets = _texts(recipe.data.against)
    if _compares_choices(recipe):
        chosen = recipe.evaluate.choice_from
        sets["the embedded questions" if chosen == "starter" else chosen] = item_texts(read_choices(chosen))
    return sets


def _texts(paths: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    from bedside.data.sources import read_texts

    return {path: list(read_texts(path)) for path in paths}


def _tokens(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """Token lengths as the recipe's own model counts them; None, with the reason on stderr, where it is not here."""
    if not _tokenizer_is_here(recipe):
        say(f"data: tokens are not counted, since the tokenizer of '{recipe.model.base}' is not here yet")
        return None
    from bedside.data.stats import token_lengths

    try:
        base = locate.resolve(recipe.model)
        return token_lengths(_token_counts(recipe, base.folder, folder), base.name, recipe.model.max_length)
    except BedsideError as error:  # the rows are sound all the same; lint says what is wrong with the model
        say(f"data: tokens are not counted: {error}")
        return None


def _token_counts(recipe: Recipe, base: Path, folder: Path) -> Iterator[tuple[int, int, int]]:
    """Tokens of prompt, reasoning and answer of the training rows, as they are trained."""
    from itertools import islice

    from bedside.files import read_jsonl
    from bedside.runtime.tokenizer import encode, encode_completion, load_tokenizer, renderer_of
    from bedside.text import think
    from bedside.text.chat import render_example

    tokenizer = load_tokenizer(base, recipe.prompt)
    renderer = renderer_of(tokenizer)
    for _, row in islice(read_jsonl(folder / "train.jsonl"), COUNTED):
        text = render_example(Example.from_json(row), recipe.prompt, renderer)
        prompt, completion = encode_completion(tokenizer, text.prompt, text.completion)
        before, closed, _ = text.completion.partition(think.CLOSE_TAG)
        reasoning = len(encode(tokenizer, before + closed)) if closed else 0
        yield len(prompt), reasoning, len(completion) - reasoning


def _tell(recipe: Recipe, folder: Path, stats: dict[str, Any]) -> None:
    """Writes the data card and, where matplotlib is installed, the report."""
    from bedside.data import card
    from bedside.data.sources import fingerprint

    files = card.described(fingerprint(recipe.data.path, recipe.data.source))
    told = card.card(recipe.name, recipe.data, stats, files)
    write_json(folder / "card.json", told)
    write_text(folder / "README.md", card.markdown(told))
    if not _plots_are_here():
        say("data: no report.html, since its plots need an extra: pip install 'bedside[report]'")
        return
    from bedside.report.data_page import render

    write_text(folder / "report.html", render(stats, told))


def result(run: Run) -> dict[str, Any]:
    """What `--json` prints: the statistics."""
    return dict(read_json(run.folder("data") / "stats.json"))


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    splits = ", ".join(f"{name} {count:,}" for name, count in result["splits"].items())
    lines = [f"{result['read']:,} rows read = {result['kept']:,} kept + {result['read'] - result['kept']:,} left out"]
    lines.append(f"kept: {splits}")
    lines += [f"left out: {count:,} {reason}" for reason, count in result["dropped"].items()]
    lines += [f"mended: {count:,} {kind}" for kind, count in result["changed"].items()]
    for found in result["contamination"]:
        hit = f"{found['rows']:,} training rows contain {found['hit_items']:,} of {found['items']:,} items"
        lines.append(f"against {found['set']}: {hit} ({found['action']})")
    return "\n".join(lines)
