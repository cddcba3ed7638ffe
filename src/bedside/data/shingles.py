"""Text → words → word shingles: what near duplicates and contamination are measured on.

    text ─ words ─► ["hla", "b27", "+", "uveitis"] ─ shingles ─► one 64-bit hash for each run of n words

Case, punctuation, spacing and Unicode's compatibility forms (ligatures, full-width and raised signs) no longer count.
Shingling: Broder 1997, "On the resemblance and containment of documents".
"""

import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Shingles = NDArray[np.uint64]

CJK = "々〇\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han, Hiragana and Katakana, which are written without spaces. Hangul is written with them."""

WORD = re.compile(
    rf"[^\W_{CJK}]+"
    rf"|[{CJK}]"
    r"|[+<>≤≥↑↓]"
    r"|(?<=\w)-(?![\w-])"  # the result in "Rh- mother", no hyphen: no word follows at once
    r"|(?<!-)-(?=[^\S\n]*(?:[^\w\s-]|$))",  # the result in "HLA-B27 -." and "(-)", no dash: no word follows in the line
    re.MULTILINE,
)
STEP = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: odd, its bits look random


def words(text: str) -> list[str]:
    """The words of a text, folded; a Chinese or Japanese sign is a word by itself.

    Signs that turn a finding round are words, too: "+", "<", ">", "≤", "≥", "↑", "↓", and "-" where it marks a result.
    A hyphen, a dash and every other sign is punctuation.
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("\N{MINUS SIGN}", "-"))


def shingles(words: Sequence[str], n: int = 3) -> Shingles:
    """The distinct runs of n words as sorted hashes, the same on every machine and in every process.

    Fewer than n words are one shingle; no words are none.
    """
    if not words:
        return np.empty(0, dtype=np.uint64)
    hashes = np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    n = min(n, len(words))
    runs = hashes[: len(words) - n + 1]
    for i in range(1, n):
        runs = runs * STEP + hashes[i : i + len(runs)]  # wraps round at 2**64, as it should
    return np.unique(runs)
