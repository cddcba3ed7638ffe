"""How many rows are trained and how long they are: counted by the data stage, else estimated from a local source, else
known of a published data set. Which of these it was is always told.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bedside.errors import DataError
from bedside.plan.setup import Lengths
from bedside.recipe import Recipe

SAMPLE = 2000
"""Rows at most that are read of a local source."""
CHARACTERS_A_TOKEN = 4.7
"""English medical text in byte-level BPE of 49,152 tokens: 4.5 to 5.2 in six data sets."""
LAYOUT_TOKENS = {"alpaca-think": 75, "chat": 40}
SHARED_TOKENS = {"alpaca-think": 65, "chat": 35}
"""Tokens of a prompt beside the person's own words; those of them that stand before these words."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows (None: not known), their lengths, and where both come from."""

    count: int | None
    lengths: Lengths
    source: str


@dataclass(frozen=True, slots=True)
class Published:
    """Mean tokens of prompt and completion of a known data set, and its rows where its card tells them."""

    prompt: float
    completion: float
    rows: int | None = None


FILES = {".json", ".jsonl", ".csv", ".parquet"}
PUBLISHED = {
    "medical-o1": Published(118, 642),
    "pubmedqa": Published(420, 54, 1000),
    "flashcards": Published(50, 90, 33_955),
}
"""Lengths measured on rows of these kinds with SmolLM2's tokenizer; rows as the data cards tell them."""


def from_stats(stats: Mapping[str, Any], max_length: int) -> Rows | None:
    """What the data stage counted; None if it could not count tokens. Longer rows than `max_length` are left out."""
    tokens = stats.get("tokens")
    if not tokens:
        return None
    share, mean = within(tokens["whole"]["histogram"], max_length)
    if not share:
        return Rows(0, Lengths(max_length, max_length, 0), "the data stage: every row is longer than model.max_length")
    prompt = min(float(tokens["prompt"]["mean"]), mean)
    lengths = Lengths(min(int(tokens["whole"]["max"]), max_length), prompt, mean - prompt)
    return Rows(round(stats["splits"]["train"] * share), lengths, "the data stage")


def within(histogram: Mapping[str, Sequence[int]], limit: int) -> tuple[float, float]:
    """Share of the rows that have at most `limit` tokens, and their mean length, from the counts in bins."""
    rows = tokens = 0.0
    edges, counts = histogram["edges"], histogram["counts"]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        top = min(high, limit + 1)
        if top > low:
            part = count * (top - low) / (high - low)
            rows += part
            tokens += part * (low + top - 1) / 2
    return rows / max(1, sum(counts)), tokens / rows if rows else 0.0


def estimated(recipe: Recipe) -> Rows:
    """Without a data stage: from the source's own files where they are here, else from what is published."""
    found = _from_files(recipe) or _from_published(recipe)
    limit = recipe.data.limit
    if found.count is None:
        return found if limit is None else _share(found, recipe, limit)
    return _share(found, recipe, found.count if limit is None else min(limit, found.count))


def _share(rows: Rows, recipe: Recipe, drawn: int) -> Rows:
    return Rows(max(1, round(drawn * recipe.data.split[0])), rows.lengths, rows.source)


def _from_files(recipe: Recipe) -> Rows | None:
    """Reads the first rows; longer sources are estimated by their size. None if nothing is here."""
    from bedside.data import sources
    from bedside.text.chat import user_text

    home = recipe.data.path or sources.SOURCES[recipe.data.source].path
    if home is None or not Path(home).expanduser().exists():
        return None
    thinks = recipe.prompt.reasoning == "think"
    prompts, completions = [], []
    for example in islice(sources.read(recipe.data), SAMPLE):
        asked, answered = len(user_text(example)), len(example.answer) + len(example.reasoning) * thinks
        prompts.append(asked / CHARACTERS_A_TOKEN + LAYOUT_TOKENS[recipe.prompt.style])
        completions.append(answered / CHARACTERS_A_TOKEN + 2)
    if not prompts:
        return None
    whole = len(prompts) < SAMPLE
    count = len(prompts) if whole else _count(Path(home).expanduser())
    return Rows(count, _lengths(prompts, completions, recipe.model.max_length, whole), _told(home, whole))


def _told(home: str, whole: bool) -> str:
    return f"{home}: its rows, tokens estimated" if whole else f"{home}: estimated from its size and first rows"


def _lengths(prompts: Sequence[float], completions: Sequence[float], max_length: int, whole: bool) -> Lengths:
    """Means of the rows that fit, and the longest with a margin, which is wider if there are others."""
    pairs = list(zip(prompts, completions, strict=True))
    fitting = [pair for pair in pairs if sum(pair) <= max_length] or [min(pairs, key=sum)]
    longest = round((1.1 if whole else 1.4) * max(sum(pair) for pair in fitting))
    prompt, completion = (sum(column) / len(fitting) for column in zip(*fitting, strict=True))
    return Lengths(min(longest, max_length), min(prompt, max_length - 1), min(completion, max_length))


def _count(home: Path) -> int:
    """About how many rows there are: by the size of the first ones, or as a parquet file says itself."""
    import pyarrow.parquet

    from bedside.data.read import files_of, read_path

    files = files_of(home) if home.is_dir() else [home]
    if all(file.suffix.lower() == ".parquet" for file in files):
        return sum(int(pyarrow.parquet.read_metadata(file).num_rows) for file in files)
    first = sum(len(json.dumps(row)) + 1 for _, row in islice(read_path(str(home), None), SAMPLE))
    return round(SAMPLE * sum(file.stat().st_size for file in files) / first)


def _from_published(recipe: Recipe) -> Rows:
    """A hub data set that is not here. Its rows are known only if it is the source's own."""
    data, most = recipe.data, recipe.model.max_length
    if data.path is not None and (Path(data.path).suffix in FILES or data.path.startswith(("/", ".", "~"))):
        raise DataError(f"data.path: {data.path}: no such file")  # no hub id looks like that
    known = PUBLISHED.get(data.source)
    if known is None:
        lengths = Lengths(most, 0.25 * most, 0.75 * most)
        return Rows(None, lengths, f"'{data.path}' is not here: every row counted as model.max_length tokens")
    fitting = min(1.0, most / (known.prompt + known.completion))
    lengths = Lengths(most, known.prompt * fitting, known.completion * fitting)
    told = f"'{data.source}' is not here: lengths as of published rows of its kind"
    return Rows(known.rows if data.path is None else None, lengths, told)
