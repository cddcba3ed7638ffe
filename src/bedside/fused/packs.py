"""Token rows → packs: rows one after another without padding, in lanes for the cores.

batches = in_lanes(rows, tokens, share=True, cores=2)    # at most so many tokens are computed at a time
losses = [side_by_side(step.summed_loss, batch, parameters) for batch in batches]
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

WAITING = 0.25
"""Cores that share a lane wait for each other: twice as many take 2 ** 0.25 as long each (measured with two)."""
WORTH = 16
"""Tokens that are not computed again for which a beginning is a piece of its own: each piece costs a few operations."""


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


class Layout(NamedTuple):
    """Pieces of rows, one after another: the tokens of each, and the piece that it goes on `after`; -1: it begins rows.

    A row is the last piece of it, with those that this goes on after.
    """

    lengths: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows one after another, without padding. The logits at `before_N` are those of the trained tokens `trained_N`.

    What rows begin alike with may stand there once: its tokens would be computed alike for every row.
    """

    ids_T: Tensor
    positions_T: Tensor
    layout: Layout
    before_N: Tensor
    trained_N: Tensor

    @property
    def trained(self) -> int:
        """Number of trained tokens."""
        return len(self.trained_N)

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        ids, positions = self.ids_T.to(device), self.positions_T.to(device)
        return Packed(ids, positions, self.layout, self.before_N.to(device), self.trained_N.to(device))


Lanes = tuple[tuple[Packed, ...], ...]
"""A batch of the fused step: packs that follow one another in each lane, and lanes side by side."""


def in_lanes(rows: Sequence[Row], tokens: int, *, share: bool, cores: int = 1) -> Iterator[Lanes]:
    """Batches of which at most `tokens` tokens are computed at a time, or a single row that is longer.

    Rows go side by side, in as many lanes as are soonest done on so many cores; each lane has its part of the tokens,
    and rows that are too long for it follow.
    """
    alike = common_beginning(rows) if share and len(rows) > 1 else 0
    cuts = (_cut(rows, tokens, count) for count in range(1, cores + 1))
    lanes, long = min(cuts, key=lambda cut: _time(cut[0], cut[1], cores, alike))
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
    return evenly(short, max(1, min(count, len(short)))), [row for row in rows if len(row.ids) * count > tokens]


def _time(lanes: Sequence[Sequence[Row]], long: Sequence[Row], cores: int, alike: int) -> float:
    """How long a cut takes, in tokens of one core; `alike` tokens that all rows begin with are computed once a lane."""
    longest = max(_tokens(lane) - alike * (len(lane) - 1) for lane in lanes)
    return longest * _waiting(cores // len(lanes)) + _tokens(long) * _waiting(cores)


def _waiting(threads: int) -> float:
    """What a token takes so many cores, in that of one."""
    return math.pow(threads, WAITING - 1)


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


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens of rows from position `start` on; `row` is the one that ends with them, -1 if it is several that go on."""

    ids: tuple[int, ...]
    start: int
    after: int
    row: int = -1


def pack(rows: Sequence[Row], *, share: bool) -> Packed:
    """Puts rows one after another, each with positions of its own; with `share` what some of them begin with once."""
    pieces: list[_Piece] = []
    if share:
        _grow(dict(enumerate(rows)), 0, -1, pieces)
    else:
        pieces += (_Piece(row.ids, 0, -1, i) for i, row in enumerate(rows))
    places = accumulate((len(piece.ids) for piece in pieces), initial=0)
    starts = {piece.row: place - piece.start for place, piece in zip(places, pieces, strict=False)}
    before = (range(starts[i] + row.prompt - 1, starts[i] + len(row.ids) - 1) for i, row in enumerate(rows))
    return Packed(
        _joined(piece.ids for piece in pieces),
        _joined(range(piece.start, piece.start + len(piece.ids)) for piece in pieces),
        Layout(tuple(len(piece.ids) for piece in pieces), tuple(piece.after for piece in pieces)),
        _joined(before),
        _joined(row.ids[row.prompt :] for row in rows),
    )


def _grow(rows: Mapping[int, Row], start: int, after: int, pieces: list[_Piece]) -> None:
    """Adds what rows hold from `start` on, as branches of a tree; up to there all are as piece `after` has them."""
    if len(rows) == 1:
        ((place, row),) = rows.items()
        pieces.append(_Piece(row.ids[start:], start, after, place))
        return
    alike = common_beginning(list(rows.values()), start)
    if (alike - start) * (len(rows) - 1) >= WORTH:
        any_row = next(iter(rows.values()))
        pieces.append(_Piece(any_row.ids[start:alike], start, after))
        start, after = alike, len(pieces) - 1
    branches: dict[tuple[int, int], dict[int, Row]] = {}
    for place, row in rows.items():
        own = row.prompt - 1 == alike  # what follows is its own
        branches.setdefault((place, -1) if own else (-1, row.ids[alike]), {})[place] = row
    for branch in branches.values():
        _grow(branch, start, after, pieces)


def common_beginning(rows: Sequence[Row], start: int = 0) -> int:
    """Number of tokens that all rows begin with, before the last token of any prompt: that one predicts an answer.

    Up to `start` they are known to be alike.
    """
    longest = min(row.prompt for row in rows) - 1
    return next((i for i in range(start, longest) if len({row.ids[i] for row in rows}) > 1), longest)


def _joined(parts: Iterable[Sequence[int]]) -> Tensor:
    return torch.tensor([value for part in parts for value in part], dtype=torch.long)
