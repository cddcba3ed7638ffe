"""The texts of an example, mended; and why a mended example still cannot be trained on.

    Example ─ clean ─► Example, kinds of change ─ fault ─► "" or the reason to leave it out

No change may alter what a text says: "p<0.05" is no tag, "10<sup>9</sup>" is "10^9" and not "109", "5²" and "µg" stay.
Lines stay lines, since lists are made of them. Mending goes on until nothing changes any more, so that cleaning twice
is cleaning once. Normal form: Unicode Annex 15.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from bedside.data import encoding, markup
from bedside.data.shingles import words
from bedside.recipe import DataSection
from bedside.records import Example
from bedside.text.chat import DECISIONS

Change = Literal["unicode", "characters", "html", "mojibake", "whitespace"]

UNCHANGED: frozenset[Change] = frozenset()
HEAD = 32
"""Characters in which most texts have more words than an answer needs."""
OPENING = re.compile(r"[a-z0-9]++(?=[ -~])(?: [a-z0-9]++(?=[ -~])){0,7}+|[\u4e00-\u9fff]", re.ASCII | re.IGNORECASE)
"""The first words of a text, where they are plain: with other spelling they are other words."""

JOINED = r"\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc"
EMOJI = r"\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    r"|[\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff]"
    rf"|(?<![{JOINED}])(?:\u200c|(?<![{EMOJI}])\u200d|\u200d(?![{EMOJI}]))"  # Arabic, Indic, emoji need joiners
)
SYMBOL_FONT = {
    "\uf02b": "+", "\uf02d": "−", "\uf03c": "<", "\uf03d": "=", "\uf03e": ">", "\uf061": "α", "\uf062": "β",
    "\uf067": "γ", "\uf06d": "µ", "\uf0a3": "≤", "\uf0ac": "←", "\uf0ad": "↑", "\uf0ae": "→", "\uf0af": "↓",
    "\uf0b0": "°", "\uf0b1": "±", "\uf0b3": "≥", "\uf0b4": "×", "\uf0b7": "•", "\uf0b9": "≠", "\uf0bb": "≈",
}  # fmt: skip
"""Where Word and PDF files put the signs of the Symbol font; the other private characters have no known meaning."""

BLANK_LINES = re.compile(r"\n{3,}")


def clean(example: Example) -> tuple[Example, frozenset[Change]]:
    """The example with its texts mended, and what kinds of change that took (empty: the very same object)."""
    if all(map(looks_clean, texts_of(example))):
        return example, UNCHANGED
    kinds: set[Change] = set()

    def mend(text: str) -> str:
        text, found = mended(text)
        kinds.update(found)
        return text

    result = replace(
        example,
        question=mend(example.question),
        answer=mend(example.answer),
        reasoning=mend(example.reasoning),
        context=mend(example.context),
        label=mend(example.label),
        subject=mend(example.subject),
        options=tuple(map(mend, example.options)),
        accepted=tuple(map(mend, example.accepted)),
        history=tuple(replace(turn, content=mend(turn.content)) for turn in example.history),
    )
    return (result, frozenset(kinds)) if kinds else (example, UNCHANGED)


def fault(example: Example, section: DataSection) -> str:
    """Why a cleaned example cannot be trained on, as a short phrase that becomes a key of stats["dropped"], or ""."""
    texts = texts_of(example)
    if not example.question:
        return "empty question"
    if not example.answer:
        return "empty answer"
    if max(map(len, texts)) > section.max_characters:
        return "over data.max_characters"
    if any(map(encoding.is_damaged, texts)):
        return "encoding damage"
    least = section.min_answer_words
    if _too_short(example, least):
        return "one-word answer" if least <= 2 else f"answer of fewer than {least} words"
    return "question equal to answer" if _repeats(example.question, example.answer) else ""


def texts_of(example: Example) -> tuple[str, ...]:
    """Every text of an example that is cleaned; neither its id, nor its group, nor its place."""
    own = (example.question, example.answer, example.reasoning, example.context, example.label, example.subject)
    return (*own, *example.options, *example.accepted, *(turn.content for turn in example.history))


def looks_clean(text: str) -> bool:
    """A quick test that errs on one side alone: what it passes, `mended` leaves as it is."""
    if not markup.looks_flat(text) or not _looks_spaced(text):
        return False
    return text.isascii() or (unicodedata.is_normalized("NFC", text) and encoding.looks_decoded(text))


def _looks_spaced(text: str) -> bool:
    """Whether new lines are all that is unprintable, as control, format, private and most space characters are."""
    if "  " in text or text != text.strip():
        return False
    if text.isprintable():
        return True
    loose = " \n" in text or "\n " in text or "\n\n\n" in text
    return not loose and text.replace("\n", "").isprintable()


def mended(text: str) -> tuple[str, frozenset[Change]]:
    """A text as it should be, and the kinds of change that it took.

    It ends: but for NFC, which undoes nothing, each step shortens a text or replaces what no step puts there.
    """
    kinds: set[Change] = set()
    before = None
    while text != before:
        before = text
        for kind, step in STEPS:
            after = step(text)
            if after != text:
                kinds.add(kind)
            text = after
    return text, frozenset(kinds)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _visible(text: str) -> str:
    if text.replace("\n", " ").isprintable():
        return text
    return INVISIBLE.sub(lambda found: SYMBOL_FONT.get(found[0], ""), text)


def _spaced(text: str) -> str:
    if _looks_spaced(text):
        return text
    return BLANK_LINES.sub("\n\n", "\n".join(map(_line, text.splitlines()))).strip()


def _line(line: str) -> str:
    """One space between words. Indentation of two and more stays: Markdown's nested lists are made of it."""
    body = " ".join(line.split())
    if not body or not line[0].isspace():
        return body
    width = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
    return " " * width + body if width > 1 else body


STEPS: tuple[tuple[Change, Callable[[str], str]], ...] = (
    ("html", markup.flattened),
    ("mojibake", encoding.decoded),  # while it still has the invisible characters and spaces that it is made of
    ("unicode", _composed),
    ("characters", _visible),
    ("whitespace", _spaced),
)


def _too_short(example: Example, least: int) -> bool:
    """An option may be one word, and so may a diagnosis or a decision."""
    if (
        example.options or example.accepted or len(words(example.answer[:HEAD])) > least
    ):  # more, since the cut may make two of one
        return False
    said = words(example.answer)
    return len(said) < least and not (said and said[0] in DECISIONS)


def _repeats(question: str, answer: str) -> bool:
    """Whether both have the same words; mostly the first ones tell that they have not."""
    openings = OPENING.match(question), OPENING.match(answer)
    if all(openings):
        one, other = (opening[0].lower() for opening in openings if opening)
        if not (one.startswith(other) or other.startswith(one)):
            return False
    asked = words(question)
    start = words(answer[: 2 * len(question)])  # many an answer repeats the question and then goes on
    return len(start) <= len(asked) + 1 and words(answer) == asked
