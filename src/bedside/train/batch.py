"""Examples → token rows of which the completion is trained, in a seeded order → padded batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bedside.errors import DataError
from bedside.fused.packs import Row
from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.runtime.tokenizer import encode_completion, renderer_of
from bedside.text.chat import render_example

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows that fit, and the ids of those that do not: cutting them would train an answer without its end."""

    rows: list[Row]
    too_long: list[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows. `labels_BT` is `IGNORED` where nothing is trained; `trained` counts the other labels."""

    ids_BT: Tensor
    mask_BT: Tensor
    labels_BT: Tensor
    trained: int
    tokens: int


def encode(
    examples: Sequence[Example], section: PromptSection, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Encoded:
    """Renders and tokenises; a row longer than `max_length` is left out whole. Raises DataError if none is left."""
    renderer = renderer_of(tokenizer)
    rows: list[Row] = []
    too_long: list[str] = []
    for example in examples:
        text = render_example(example, section, renderer)
        prompt, completion = encode_completion(tokenizer, text.prompt, text.completion)
        if len(prompt) + len(completion) > max_length:
            too_long.append(example.id)
        else:
            rows.append(Row(example.id, (*prompt, *completion), len(prompt)))
    if not rows:
        raise DataError(f"all {len(too_long)} training rows are longer than model.max_length = {max_length}; raise it")
    return Encoded(rows, too_long)


@lru_cache(maxsize=2)
def order(rows: int, epoch: int, seed: int) -> tuple[int, ...]:
    """The order of the rows in an epoch: a permutation that depends on seed and epoch alone."""
    return tuple(int(i) for i in np.random.default_rng([seed, epoch]).permutation(rows))


def step_rows(rows: Sequence[Row], step: int, size: int, seed: int) -> list[Row]:
    """The `size` rows of an optimiser step; epochs follow each other without a gap."""
    chosen = []
    for position in range(step * size, (step + 1) * size):
        epoch, index = divmod(position, len(rows))
        chosen.append(rows[order(len(rows), epoch, seed)[index]])
    return chosen


def batches(rows: Sequence[Row], size: int, pad: int) -> Iterator[Batch]:
    """Batches of up to `size` rows, alike in length so that little is padding."""
    alike = sorted(rows, key=lambda row: len(row.ids))
    for start in range(0, len(alike), size):
        yield collate(alike[start : start + size], pad)


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """Pads to the longest row. Padding is masked by position, never by id: the pad token may be the end token."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        mask[i, :n] = 1
        labels[i, row.prompt : n] = ids[i, row.prompt : n]
    return Batch(ids, mask, labels, sum(row.trained for row in rows), sum(len(row.ids) for row in rows))
