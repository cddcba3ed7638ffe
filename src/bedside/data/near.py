"""Near duplicates: rows each of whose parts shares most of its word shingles with that part of an earlier row.

    rows ─ shingles ─ MinHash ─► candidates that share a band of the signature ─ exact Jaccard ─► (later, earlier, J)

A row has a few parts, such as question and answer, and is as similar to another as its least similar part. "Is Gaucher
disease inherited?" and "Is Coats plus syndrome inherited?" are two facts, though long answers to both say the same.

MinHash (Broder 1997) and banding (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3) come from
datasketch and only propose: whether two texts are near duplicates is decided on their shingles, exactly.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from bedside.data.shingles import Shingles, shingles, words

Parts = tuple[Shingles, ...]
MISSED = 0.01
PERMUTATIONS = 128


class Near(NamedTuple):
    """Two positions in the rows, from 0, and the Jaccard similarity of the word triples of their least similar part."""

    later: int
    earlier: int
    jaccard: float


def near_duplicates(rows: Iterable[Sequence[str]], threshold: float, common: int = 0) -> Iterator[Near]:
    """Each row whose similarity with an earlier *kept* one reaches `threshold`, beside the most similar of those.

    A row that is yielded is not kept: of a chain a ~ b ~ c in which a and c differ, only b is yielded. Every row has
    the same number of parts; the last `common` of them propose nothing, since a system message that all rows share
    would propose every pair. Rows without a word in the others are nobody's duplicates. Rows are drawn one by one, so a
    progress bar may stand around them.
    """
    bands, width = banding(threshold)
    index = MinHashLSH(num_perm=bands * width, params=(bands, width))
    empty = MinHash(num_perm=bands * width, hashfunc=int)  # takes its values for hashes, which shingles are
    kept: dict[int, Parts] = {}
    for position, row in enumerate(rows):
        parts = tuple(shingles(words(text)) for text in row)
        whole = np.concatenate(parts[: len(parts) - common])
        if not len(whole):
            continue
        sketch = empty.copy()
        sketch.update_batch(whole.astype(np.uint32).tolist())
        candidates = sorted(index.query(sketch))
        similar = similarity(parts, [kept[other] for other in candidates])
        if similar.max(initial=0.0) >= threshold:
            best = int(similar.argmax())  # of equals the earliest
            yield Near(position, candidates[best], float(similar[best]))
        else:
            index.insert(position, sketch, check_duplication=False)
            kept[position] = parts


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
    """The smallest b (datasketch wants 2) with (1 - threshold^rows)^b ≤ `MISSED`."""
    agree = min(threshold**rows, 1 - MISSED)
    return max(2, math.ceil(math.log(MISSED) / math.log1p(-agree)))


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
