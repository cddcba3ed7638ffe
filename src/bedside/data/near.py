"""Near duplicates: texts that share most of their word shingles with an earlier one.

    texts ─ shingles ─ MinHash ─► candidates that share a band of the signature ─ exact Jaccard ─► (later, earlier, J)

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

MISSED = 0.01
PERMUTATIONS = 128


class Near(NamedTuple):
    """Two positions in the texts, from 0, and the Jaccard similarity of their word triples in (0, 1]."""

    later: int
    earlier: int
    jaccard: float


def near_duplicates(texts: Iterable[str], threshold: float) -> Iterator[Near]:
    """Each text whose similarity with an earlier *kept* one reaches `threshold`, beside the most similar of those.

    A text that is yielded is not kept: of a chain a ~ b ~ c in which a and c differ, only b is yielded. Texts without
    a word are nobody's duplicates. Texts are drawn one by one, so a progress bar may stand around them.
    """
    bands, rows = banding(threshold)
    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    empty = MinHash(num_perm=bands * rows, hashfunc=int)  # takes its values for hashes, which shingles are
    kept: dict[int, Shingles] = {}
    for position, text in enumerate(texts):
        found = shingles(words(text))
        if not len(found):
            continue
        sketch = empty.copy()
        sketch.update_batch(found.astype(np.uint32).tolist())
        candidates = sorted(index.query(sketch))
        similar = jaccard(found, [kept[other] for other in candidates])
        if similar.max(initial=0.0) >= threshold:
            best = int(similar.argmax())  # of equals the earliest
            yield Near(position, candidates[best], float(similar[best]))
        else:
            index.insert(position, sketch, check_duplication=False)
            kept[position] = found


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


def jaccard(one: Shingles, others: Sequence[Shingles]) -> NDArray[np.float64]:
    """Shared shingles over all shingles, of one text with each of the others, all of which have some; in [0, 1]."""
    sizes = np.array([len(other) for other in others], dtype=np.int64)
    every = np.concatenate([one[:0], *others])
    at = np.searchsorted(one, every)
    at[at == len(one)] = 0
    shared = np.add.reduceat(one[at] == every, np.cumsum(sizes) - sizes, dtype=np.int64)
    similar: NDArray[np.float64] = shared / (sizes + len(one) - shared)
    return similar
