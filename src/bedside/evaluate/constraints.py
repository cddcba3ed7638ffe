"""Constraints on the form of an answer that a program can check, each a small pure function of the text.

In: an answer and the name and arguments of each of its checks. Out: which of them it meets, read strictly or loosely.
The idea, and the loose reading, are IFEval's (Zhou 2023, arXiv:2311.07911); constraints and prompts are our own.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?]+[\"'’”)]*(?=\s|$)")
FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
MARKS = re.compile(r"[*`]+|^#+\s+", re.MULTILINE)
"""Markdown's own signs; in the loose reading an answer may be emphasised, headed or fenced."""


@dataclass(frozen=True, slots=True)
class Check:
    """One constraint: its name in `CHECKS`, and what its function takes beside the text."""

    name: str
    arguments: Mapping[str, Any]

    def met(self, text: str) -> bool:
        """Whether the text, as it is, meets the constraint. A blank text meets none."""
        return bool(text.strip()) and CHECKS[self.name](text.strip(), **self.arguments)

    def met_loosely(self, text: str) -> bool:
        """Whether it does so without Markdown, without its first or last line, or without any of them."""
        return any(self.met(reading) for reading in readings(text))


def readings(text: str) -> Iterator[str]:
    """The eight texts of IFEval's loose reading: a model may open with "Sure:", or close with an offer."""
    for one in (text.strip(), MARKS.sub("", FENCE.sub("", text)).strip()):
        lines = one.split("\n")
        yield from ("\n".join(lines[first:last]) for first in (0, 1) for last in (len(lines), -1))


def words(text: str, at_least: int = 0, at_most: int | None = None) -> bool:
    """Contractions and hyphenated words count as one."""
    return _between(len(WORD.findall(text)), at_least, at_most)


def sentences(text: str, at_least: int, at_most: int) -> bool:
    """What ends in a full stop, an exclamation or a question mark; a rest without one counts, too."""
    return _between(sum(bool(WORD.search(part)) for part in SENTENCE_END.split(text)), at_least, at_most)


def lines(text: str, exactly: int) -> bool:
    """Blank lines do not count."""
    return len(_lines(text)) == exactly


def items(text: str, mark: str, exactly: int) -> bool:
    """Every line is an item with a word in it that begins with the mark; the mark "1." stands for counting from one."""
    found = _lines(text)
    marks = [f"{number}." if mark == "1." else mark for number in range(1, len(found) + 1)]
    marked = all(line.startswith(own) and WORD.search(line, len(own)) for own, line in zip(marks, found, strict=True))
    return marked and len(found) == exactly


def parts(text: str, separator: str, exactly: int) -> bool:
    """Parts between separators, each with a word in it; the text has no separator at its ends."""
    found = text.split(separator)
    return len(found) == exactly and all(WORD.search(part) for part in found)


def lower_case(text: str) -> bool:
    """There are letters, and none is a capital."""
    return text.islower()


def upper_case(text: str) -> bool:
    """There are letters, and none is small."""
    return text.isupper()


def json_object(text: str, keys: Sequence[str]) -> bool:
    """The whole text is one JSON object with exactly these keys."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and sorted(value) == sorted(keys)


def begins(text: str, wanted: str) -> bool:
    """Case does not count; a word must end where `wanted` does."""
    return bool(re.match(_whole(wanted), text, re.IGNORECASE))


def ends(text: str, wanted: str) -> bool:
    """Case does not count; a word must begin where `wanted` does."""
    return bool(re.search(_whole(wanted) + r"\Z", text, re.IGNORECASE))


def contains(text: str, terms: Sequence[str]) -> bool:
    """Each of the terms at least once, whatever its case, as a whole word."""
    return all(_count(text, term) for term in terms)


def lacks(text: str, terms: Sequence[str]) -> bool:
    """None of the terms, whatever its case; as part of a longer word they are allowed."""
    return not any(_count(text, term) for term in terms)


def lacks_characters(text: str, characters: str) -> bool:
    """None of the characters, neither small nor capital."""
    return not set(text.casefold()) & set(characters.casefold())


def mentions(text: str, word: str, at_least: int, at_most: int | None = None) -> bool:
    """How often the word stands there, the plural in "s" included."""
    return _between(_count(text, word) + _count(text, f"{word}s"), at_least, at_most)


def number(text: str, digits: int | None = None) -> bool:
    """Digits and nothing else; `digits` tells how many."""
    return bool(re.fullmatch(rf"[0-9]{{{digits}}}" if digits else r"[0-9]+", text))


def one_of(text: str, options: Sequence[str]) -> bool:
    """One of the options, whatever its case, with or without a full stop."""
    return text.removesuffix(".").casefold() in {option.casefold() for option in options}


def equals(text: str, wanted: str) -> bool:
    """The very text, with its case and punctuation."""
    return text == wanted


def quoted(text: str) -> bool:
    """The whole text stands between double quotation marks, straight or curly."""
    return len(text) > 2 and text[0] in '"“' and text[-1] in '"”'


def titled(text: str) -> bool:
    """The first line is a title in double angle brackets."""
    return bool(re.fullmatch(r"<<[^<>]*\w[^<>]*>>", text.split("\n")[0].strip()))


def words_begin(text: str, letter: str) -> bool:
    """Every word begins with the letter."""
    found = WORD.findall(text)
    return bool(found) and all(word.casefold().startswith(letter) for word in found)


def _between(count: int, at_least: int, at_most: int | None) -> bool:
    return at_least <= count and (at_most is None or count <= at_most)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _whole(text: str) -> str:
    """A pattern for the text that does not stop within a word."""
    before = r"(?<!\w)" if text[0].isalnum() else ""
    after = r"(?!\w)" if text[-1].isalnum() else ""
    return before + re.escape(text) + after


def _count(text: str, word: str) -> int:
    return len(re.findall(_whole(word), text, re.IGNORECASE))


CHECKS: dict[str, Callable[..., bool]] = {
    check.__name__: check
    for check in (
        words, sentences, lines, items, parts, lower_case, upper_case, json_object, begins, ends, contains, lacks,
        lacks_characters, mentions, number, one_of, equals, quoted, titled, words_begin,
    )
}  # fmt: skip
