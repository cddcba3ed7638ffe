"""Examples → token rows of which the completion is trained, in a seeded order → padded or packed batches."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bedside.errors import DataError
from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.runtime.tokenizer import encode_completion, renderer_of
from bedside.text.chat import render_example

IGNORED = -100
WAITING = 0.25
"""Cores that share a lane wait for each other: twice as many take 2 ** 0.25 as long each (measured with two)."""


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of prompt and completion; the first `prompt` ids are read, the rest are trained."""

    id: str
    ids: tuple[int, ...]
    prompt: int

    @property
    def trained(self) -> int:
        """Number of trained tokens, the end token included."""
        return len(self.ids) - self.prompt


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


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows one after another, without padding. The logits at `before_N` are those of the trained tokens `trained_N`.

    What all rows begin with may stand there once, as the first `shared` tokens, and each row without it: its tokens
    would be computed alike for every row. `lengths` are those of the rows' own parts, which follow.
    """

    ids_T: Tensor
    positions_T: Tensor
    shared: int
    lengths: tuple[int, ...]
    before_N: Tensor
    trained_N: Tensor

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return len(self.trained_N)

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        ids, positions = self.ids_T.to(device), self.positions_T.to(device)
        return Packed(ids, positions, self.shared, self.lengths, self.before_N.to(device), self.trained_N.to(device))


Lanes = tuple[tuple[Packed, ...], ...]
"""A batch of the fused step: packs that follow one another in each lane, and lanes side by side."""


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


def in_lanes(rows: Sequence[Row], tokens: int, *, share: bool, cores: int = 1) -> Iterator[Lanes]:
    """Batches of which at most `tokens` tokens are computed at a time, or a single row that is longer.

    Rows go side by side, in as many lanes as are soonest done on so many cores; each lane has its part of the tokens,
    and rows that are too long for it follow.
    """
    cuts = (_cut(rows, tokens, count) for count in range(1, cores + 1))
    lanes, long = min(cuts, key=lambda cut: _time(cut[0], cut[1], cores))
    room = tokens // len(lanes)
    side_by_side = tuple(tuple(pack(part, share=share) for part in fitting(lane, room)) for lane in lanes)
    if len(lanes) > 1:
        yield side_by_side
    else:
        yield from (((alone,),) for alone in side_by_side[0])
    yield from (((pack(part, share=share),),) for part in fitting(long, tokens))


def _cut(rows: Sequence[Row], tokens: int, count: int) -> tuple[list[list[Row]], list[Row]]:
    """Rows in so many lanes, and those that are too long for a lane's part of the tokens."""
    short = [row for row in rows if len(row.ids) * count <= tokens]
    return evenly(short, count), [row for row in rows if len(row.ids) * count > tokens]


def _time(lanes: Sequence[Sequence[Row]], long: Sequence[Row], cores: int) -> float:
    """How long a cut takes, in tokens: cores that share a lane wait for each other."""
    longest = max(map(_tokens, lanes)) * len(lanes)
    return longest * math.pow(cores / len(lanes), WAITING) + _tokens(long) * math.pow(cores, WAITING)


def fitting(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Rows in as few parts as so many tokens a part allow, about equal; a row that is longer is a part by itself."""
    if not rows:
        return []
    fewest = min(len(rows), -(-_tokens(rows) // tokens))
    cuts = (evenly(rows, count) for count in range(fewest, len(rows) + 1))
    return next(cut for cut in cuts if all(_tokens(part) <= tokens or len(part) == 1 for part in cut))


def evenly(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Rows in `count` parts alike in tokens: the longest first, each to the part with the fewest so far."""
    parts: list[list[Row]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        fewest = filled.index(min(filled))
        parts[fewest].append(row)
        filled[fewest] += len(row.ids)
    return parts


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.ids) for row in rows)


def pack(rows: Sequence[Row], *, share: bool) -> Packed:
    """Puts rows one after another, each with positions of its own; with `share` their common beginning once."""
    shared = common_beginning(rows) if share and len(rows) > 1 else 0
    own = [row.ids[shared:] for row in rows]
    starts = np.cumsum([shared, *map(len, own)])[:-1] - shared  # of each row, as if its beginning stood before it
    before = (range(start + row.prompt - 1, start + len(row.ids) - 1) for start, row in zip(starts, rows, strict=True))
    return Packed(
        _joined([rows[0].ids[:shared], *own]),
        _joined([range(shared), *(range(shared, len(row.ids)) for row in rows)]),
        shared,
        tuple(map(len, own)),
        _joined(before),
        _joined(row.ids[row.prompt :] for row in rows),
    )


def common_beginning(rows: Sequence[Row]) -> int:
    """Number of tokens that all rows begin with, before the last token of any prompt: that one predicts an answer."""
    longest = min(row.prompt for row in rows) - 1
    return next((i for i in range(longest) if len({row.ids[i] for row in rows}) > 1), longest)


def _joined(parts: Iterable[Sequence[int]]) -> Tensor:
    return torch.tensor([value for part in parts for value in part], dtype=torch.long)


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
