"""Examples → a data stage: duplicates out, split by a stable hash, counted.

The split of a row depends on its question and the seed alone, so adding rows moves none, and rows with the same
question always stand in the same split. Every row that is left out is in `dropped.jsonl` with its reason:
read = kept + dropped.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, Literal

from bedside.errors import DataError
from bedside.files import read_jsonl, write_json, write_jsonl
from bedside.recipe import DataSection
from bedside.records import Example

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NOT_WORD = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The outcome of the data stage; `dropped` pairs each left-out example with the reason."""

    splits: dict[Split, list[Example]]
    dropped: list[tuple[Example, str]]

    @property
    def read(self) -> int:
        """Rows that came in."""
        return sum(map(len, self.splits.values())) + len(self.dropped)


def prepare(examples: Iterable[Example], section: DataSection, seed: int) -> Prepared:
    """Drops what cannot be used, draws `limit` rows, splits. Raises DataError if train would be empty."""
    kept: list[Example] = []
    dropped: list[tuple[Example, str]] = []
    seen: set[str] = set()
    for example in examples:
        reason = _fault(example, seen)
        if reason:
            dropped.append((example, reason))
        else:
            kept.append(example)
    _check_ids(kept)
    if section.limit is not None and len(kept) > section.limit:
        drawn = set(sorted((place(f"limit {e.id}{e.question}", seed), i) for i, e in enumerate(kept))[: section.limit])
        chosen = {i for _, i in drawn}
        dropped += [(e, "over data.limit") for i, e in enumerate(kept) if i not in chosen]
        kept = [e for i, e in enumerate(kept) if i in chosen]
    splits: dict[Split, list[Example]] = {name: [] for name in SPLITS}
    for example in kept:
        splits[split_of(example, section.split, seed)].append(example)
    _check_not_empty(splits, section, len(kept))
    return Prepared(splits, dropped)


def split_of(example: Example, shares: tuple[float, float, float], seed: int) -> Split:
    """The split that an example belongs to, by a hash of its question."""
    at = place(normalised(example.question), seed)
    if at < shares[0]:
        return "train"
    return "validation" if at < shares[0] + shares[1] else "test"


def place(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on text and seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:7]) / 2**56


def normalised(text: str) -> str:
    """Text in which case, punctuation and spacing no longer differ."""
    return " ".join(NOT_WORD.split(text.casefold())).strip()


def write(prepared: Prepared, folder: Path) -> None:
    """Writes the splits, the dropped rows and the statistics."""
    for name, examples in prepared.splits.items():
        write_jsonl(folder / f"{name}.jsonl", (example.to_json() for example in examples))
    rows = ({"reason": reason, **example.to_json()} for example, reason in prepared.dropped)
    write_jsonl(folder / "dropped.jsonl", rows)
    write_json(folder / "stats.json", statistics(prepared))


def load(folder: Path, split: Split) -> list[Example]:
    """A split of a finished data stage."""
    return [Example.from_json(row) for _, row in read_jsonl(folder / f"{split}.jsonl")]


def statistics(prepared: Prepared) -> dict[str, Any]:
    """Counts and word lengths, for `--json` and the report."""
    kept = [example for examples in prepared.splits.values() for example in examples]
    return {
        "read": prepared.read,
        "kept": len(kept),
        "dropped": dict(Counter(reason for _, reason in prepared.dropped)),
        "splits": {name: len(examples) for name, examples in prepared.splits.items()},
        "with_reasoning": sum(bool(example.reasoning) for example in kept),
        "labels": dict(sorted(Counter(example.label for example in kept if example.label).items())),
        "subjects": dict(Counter(example.subject for example in kept if example.subject).most_common()),
        "words": {
            name: lengths([words(getattr(example, name)) for example in kept if getattr(example, name)])
            for name in ("question", "context", "reasoning", "answer")
        },
    }


def lengths(counts: Sequence[int]) -> dict[str, Any] | None:
    """Mean, median, standard deviation, largest, and the counts themselves; None of nothing."""
    if not counts:
        return None
    return {
        "n": len(counts),
        "mean": round(mean(counts), 1),
        "median": median(counts),
        "stdev": round(stdev(counts), 1) if len(counts) > 1 else 0.0,
        "max": max(counts),
        "histogram": histogram(counts),
    }


def histogram(counts: Sequence[int], bins: int = 20) -> dict[str, list[float]]:
    """Equal-width bins from 0 to the largest count: `edges` (bins + 1) and `counts` (bins)."""
    width = max(max(counts), 1) / bins
    filled = Counter(min(int(count / width), bins - 1) for count in counts)
    return {"edges": [round(i * width, 2) for i in range(bins + 1)], "counts": [filled[i] for i in range(bins)]}


def words(text: str) -> int:
    """Number of words, split at white space."""
    return len(text.split())


def _fault(example: Example, seen: set[str]) -> str:
    """Why an example cannot be used, or ""."""
    if not example.question.strip():
        return "empty question"
    if not example.answer.strip():
        return "empty answer"
    texts = (example.context, example.question, example.answer, *(turn.content for turn in example.history))
    key = hashlib.sha256("\0".join(_folded(text) for text in texts).encode()).hexdigest()
    if key in seen:
        return "duplicate"
    seen.add(key)
    return ""


def _folded(text: str) -> str:
    """Text in which case and spacing no longer differ; signs do, since "HLA-B27 +" is not "HLA-B27 -"."""
    return " ".join(text.casefold().split())


def _check_ids(kept: Sequence[Example]) -> None:
    """Scores are paired by id, so two rows with one id must not get as far as that."""
    seen: dict[str, str] = {}
    for example in kept:
        if example.id in seen:
            raise DataError(f"{example.where}: id '{example.id}' is taken by {seen[example.id]}; give each row its own")
        seen[example.id] = example.where


def _check_not_empty(splits: dict[Split, list[Example]], section: DataSection, kept: int) -> None:
    if not kept:
        raise DataError(f"{section.path or section.source}: no usable row")
    for name, share in zip(SPLITS, section.split, strict=True):
        if share and not splits[name]:
            raise DataError(
                f"{section.path or section.source}: {kept} rows leave split '{name}' empty at"
                f" data.split = {list(section.split)}; use more rows or another split"
            )
