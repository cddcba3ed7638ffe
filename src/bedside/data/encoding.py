"""UTF-8 that somebody read as Windows-1252 ("Ã©") → what it was; and how to tell text that nothing restores.

ftfy (Speer, doi:10.5281/zenodo.2591652) knows how. Its heuristic was not made for medical text, where it also takes
"60 Å²" for Lithuanian, "TNFα† " for Hangul and the end of "„Fuß“" for N'Ko. So it is shown only what may have been
bytes of Windows-1252, and that only where one sequence is a common one, or where there are two in a row.
"""

import re

import ftfy
from ftfy.badness import is_bad

WIDE = r"\x80-\u2fff\uf8ff\ufb00-\uffff"
SUSPECT = re.compile(rf"[{WIDE}](?:[{WIDE}]|(?<=[\x80-\x9f])|(?<=[ÂÃ]) |(?<=[Œœ])[^A-Za-z])")
"""Finds something wherever the heuristic would, which itself takes a hundred times as long."""

WINDOWS = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
BYTES = re.compile(rf"[\x00-\x09\x0b-\xff{WINDOWS}]+")
LATER = rf"[\x80-\xbf{WINDOWS}]"
EVIDENCE = re.compile(
    rf"[\x80-\x9f]|[ÂÃ] |[ÂÃËÎÏâïð]{LATER}"
    rf"|(?<=[A-Za-z])[ÄÅ]{LATER}|[ÄÅ]{LATER}(?=[A-Za-z])"  # a letter in a name, no ångström
    rf"|(?:[\xc2-\xf4]{LATER}{{1,3}}){{2}}"
)
TYPOGRAPHY = str.maketrans(dict.fromkeys("‘’“”‚„‹›«»†‡¶§©®™•…–—°µ±×÷¹²³¼½¾≤≥≈≠∆√∞", "."))
"""Signs of medical text that the heuristic suspects beside others: “Guillain–Barré”综合征, "TNFα†", "kg/m²“", "≥Ä"."""


def looks_decoded(text: str) -> bool:
    """A quick test that errs on one side alone: what it passes, `decoded` leaves as it is."""
    return text.isascii() or not SUSPECT.search(text)


def decoded(text: str) -> str:
    """The text with its mojibake restored, each line for itself."""
    if looks_decoded(text):
        return text
    return BYTES.sub(lambda part: ftfy.fix_encoding(part[0]) if EVIDENCE.search(part[0]) else part[0], text)


def is_damaged(text: str) -> bool:
    """Whether a text that was decoded has lost characters, or still looks wrong."""
    return "\ufffd" in text or (not looks_decoded(text) and is_bad(text.translate(TYPOGRAPHY)))
