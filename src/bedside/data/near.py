"""Near duplicates: rows each of whose parts shares most of its word shingles with that part of an earlier row.

    rows ─ shingles ─► a file
              └─ MinHash ─► keys of bands ─ sort ─► rows that share a key ─ exact Jaccard ─► (later, earlier, J)

A row has a few parts, such as question and answer, and is as similar to another as its least similar part. "Is Gaucher
disease inherited?" and "Is Coats plus syndrome inherited?" are two facts, though long answers to both say the same.

MinHash (Broder 1997, from datasketch) and banding (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
chapter 3) only propose: whether two texts are near duplicates is decided on their shingles, exactly. Memory holds four
bytes a row and band, and some 50 more while they are sorted: 120 a row at 0.8. The file holds eight bytes a word.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

from bedside.data.shingles import STEP, Shingles, shingles, words
from bedside.data.store import Arrays

Parts = tuple[Shingles, ...]
Keys = NDArray[np.uint32]
Links = NDArray[np.int32]
MISSED = 0.01
PERMUTATIONS = 128
AT_ONCE = 1000
"""Rows of shingles that are in memory together."""


class Near(NamedTuple):
    """Two positions in the rows, from 0, and the Jaccard similarity of the word triples of their least similar part."""

    later: int
    earlier: int
    jaccard: float


def near_duplicates(
    rows: Iterable[Sequence[str]], threshold: float, common: int = 0, folder: Path | None = None, kept: int = 0
) -> Iterator[Near]:
    """Each row whose similarity with an earlier *kept* one reaches `threshold`, beside the most similar of those.

    A row that is yielded is not kept: of a chain a ~ b ~ c in which a and c differ, only b is yielded. Every row has
    the same number of parts; the last `common` of them propose nothing, since a system message that all rows share
    would propose every pair. Rows without a word in the others are nobody's duplicates. Rows are drawn one by one, so a
    progress bar may stand around them; their shingles wait in a file in `folder`, or where temporary files go. The
    first `kept` rows are compared with, and never yielded.
    """
    sketch = Sketch(*banding(threshold))
    keys, positions = array("I"), array("q")
    with TemporaryFile(dir=folder) as file:
        told = Arrays(file)
        for position, row in enumerate(rows):
            parts = tuple(shingles(words(text)) for text in row)
            whole = np.concatenate(parts[: len(parts) - common])
            if len(whole):
                told.append(parts)
                keys.frombytes(sketch.keys(whole).tobytes())
                positions.append(position)
        links = linked(np.frombuffer(keys, np.uint32).reshape(-1, sketch.bands))
        for later, earlier, similar in _proved(links, told, threshold, bisect_left(positions, kept)):
            yield Near(positions[later], positions[earlier], similar)


class Sketch:
    """The MinHash signature of a text, cut into bands of as many `rows`, as a key for each band.

    Keys are hashed to 32 bits (multilinear hashing, Lemire and Kaser, arXiv:1202.4961). Ten million rows have some ten
    thousand pairs of keys in a band that are the same by chance, each of which costs a comparison and no more.
    """

    def __init__(self, bands: int, rows: int) -> None:
        self.bands = bands
        self._empty = MinHash(num_perm=bands * rows, hashfunc=int)  # takes its values for hashes, which shingles are
        self._factors = np.cumprod(np.full(rows, STEP, np.uint64))

    def keys(self, found: Shingles) -> Keys:
        """One for each band."""
        signature = self._empty.copy()
        signature.update_batch(found.astype(np.uint32).tolist())
        hashed = signature.hashvalues.reshape(self.bands, -1) * self._factors
        keys: Keys = (hashed.sum(axis=1) >> 32).astype(np.uint32)
        return keys


def linked(keys: Keys) -> Links:
    """For each row and band the row before it that has the same key, or -1; written over the keys."""
    links = keys.view(np.int32)
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable").astype(np.int32)
        of_row = keys[order, band]
        same = of_row[1:] == of_row[:-1]
        links[:, band] = -1
        links[order[1:][same], band] = order[:-1][same]
    return links


def _proved(links: Links, rows: Arrays, threshold: float, kept: int) -> Iterator[Near]:
    """Of the rows that share a key those that are similar, in their order, from row `kept` on."""
    dropped = bytearray(len(links))
    for later in (kept + np.flatnonzero((links[kept:] >= 0).any(axis=1))).tolist():
        candidates = _reached(links, dropped, later)
        similar = _similarities(rows, later, candidates)
        if similar.max(initial=0.0) >= threshold:
            best = int(similar.argmax())  # of equals the earliest
            dropped[later] = True
            yield Near(later, candidates[best], float(similar[best]))


def _reached(links: Links, dropped: bytearray, row: int) -> list[int]:
    """The kept rows before `row` that share a key with it; its own links lead to kept ones alone from now on."""
    found = set()
    for band, other in enumerate(links[row].tolist()):
        if other >= 0 and dropped[other]:
            other = links[row, band] = links.item(other, band)
        while other >= 0:
            found.add(other)
            other = links.item(other, band)
    return sorted(found)


def _similarities(rows: Arrays, one: int, others: Sequence[int]) -> NDArray[np.float64]:
    own = rows[one]
    starts = range(0, len(others), AT_ONCE)
    found = [similarity(own, [rows[other] for other in others[start : start + AT_ONCE]]) for start in starts]
    return np.concatenate([np.empty(0), *found])


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows) of a signature in which two texts at the threshold meet with a probability of at least 0.99.

    Two texts of similarity s agree in a band of r rows with probability s^r, and in one or more of b bands with
    1 - (1 - s^r)^b. The longest bands that 128 permutations have room for propose the fewest pairs in vain: for 0.8
    that is r = 6 and b = 16, which finds 0.992 at 0.8, 0.9999 at 0.9, and proposes 0.22 at 0.5 and 0.001 at 0.2.
    """
    for rows in range(PERMUTATIONS // 2, 1, -1):
        bands = _bands(threshold, rows)
        if bands * rows <= PERMUTATIONS:
            return bands, rows
    return _bands(threshold, 1), 1


def _bands(threshold: float, rows: int) -> int:
    """The smallest b with (1 - threshold^rows)^b ≤ `MISSED`."""
    agree = min(threshold**rows, 1 - MISSED)
    return math.ceil(math.log(MISSED) / math.log1p(-agree))


def similarity(one: Parts, others: Sequence[Parts]) -> NDArray[np.float64]:
    """That of the least similar part, of one row with each of the others; in [0, 1]."""
    least = np.ones(len(others))
    for number, part in enumerate(one):
        np.minimum(least, jaccard(part, [other[number] for other in others]), out=least)
    return least


def jaccard(one: Shingles, others: Sequence[Shingles]) -> NDArray[np.float64]:
    """Shared shingles over all shingles, of one text with each of the others; in [0, 1], and 1 of two empty texts."""
    sizes = np.array([len(other) for other in others], dtype=np.int64)
    every = np.concatenate([one[:0], *others])
    at = np.minimum(np.searchsorted(one, every), max(len(one) - 1, 0))
    same = one[at] == every if len(one) else np.zeros(len(every), dtype=bool)
    shared = np.bincount(np.repeat(np.arange(len(others)), sizes), same, minlength=len(others))
    either = sizes + len(one) - shared
    similar: NDArray[np.float64] = np.divide(shared, either, out=np.ones(len(others)), where=either > 0)
    return similar
