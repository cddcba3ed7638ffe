r"""What a model committed to: an option's letter, yes/no/maybe, or its open answer; and how that was told.

In: what the model wrote, reasoning included. Out: an `Extracted`. Nothing is guessed: a letter that merely occurs
("A vein", "vitamin B", "hepatitis C") is no answer, and two that are stated together are "several".

The strongest form in which an answer is stated decides, in the order of `Form`: a field of JSON, `\boxed`, a statement
("The answer is B"), a line that is an option, an option's text. Of statements the last sentence that has any counts, so
a correction replaces what it corrects; one that follows a stronger form and says otherwise makes it "several".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bedside.records import Finish
from bedside.text import think
from bedside.text.chat import DECISIONS
from bedside.text.claims import REFUSED, SENTENCE, Claim, How, Reader, breaks_off, decided, lettered, plain

Form = Literal["field", "boxed", "statement", "line", "text", "whole"]

TURN = re.compile(
    r"\n\s{0,9}[#*]{0,4} ?(?:question|q|user|human|instruction)\b[ \d#.*]{0,6}:|<\|im_(?:start|end)\|>", re.IGNORECASE
)
"""Where a model that did not stop goes on with a question of its own."""
FINAL = re.compile(
    r"^\W{0,6}(?:the )?final answer\b(?:\W{0,3}:|\W{0,3}\n)[\s*]{0,6}(?=\S)", re.IGNORECASE | re.MULTILINE
)
PIECE = 4096
"""Characters that are split at a time: every tag costs a copy of what is left of them."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """`value` is there if and only if `how` is "answered"; `form` is what was read, None where nothing was.

    "none" names no option (silence, or "none of the above" where that is no option), "refused" declines to name one,
    "truncated" ends before it could.
    """

    value: str | None
    how: How
    form: Form | None = None


def letter(text: str, letters: str, options: Sequence[str] = (), finish: Finish = "stop") -> Extracted:
    """The option's letter, one of `letters` ("ABCD"); where their texts are given, they are read in its place, too.

    `finish` is the generation's: a text that was cut before an answer is "truncated".
    """
    return _extract(text, Reader(lettered(), letters, options), finish)


def decision(text: str, finish: Finish = "stop") -> Extracted:
    """The decision: "yes", "no" or "maybe"."""
    return _extract(text, Reader(decided(), DECISIONS), finish)


def final(text: str, finish: Finish = "stop") -> Extracted:
    """The open answer as it was written: what follows the reasoning, and the last "Final answer:" if there is one.

    It is "refused" if its first sentence declines; an answer that was cut is "truncated", since nobody saw its end.
    """
    answer, inside = spoken(text)
    if inside or finish == "length":
        return Extracted(None, "truncated")
    if not answer:
        return Extracted(None, "none")
    if REFUSED.search(SENTENCE.split(plain(answer), maxsplit=1)[0]):
        return Extracted(None, "refused")
    return Extracted(FINAL.split(answer)[-1].strip() or answer, "answered", "whole")


def _extract(text: str, reader: Reader, finish: Finish) -> Extracted:
    answer, inside = spoken(text)
    if inside:
        return Extracted(None, "truncated")
    turn = TURN.search(answer)
    for part in (answer[: turn.start()], answer) if turn else (answer,):
        found = _read(part, reader, finish)
        if found:
            return found
    if finish == "length" or breaks_off(answer):
        return Extracted(None, "truncated")
    return Extracted(None, "refused" if REFUSED.search(plain(answer)) else "none")


def spoken(text: str) -> tuple[str, bool]:
    """The answer behind the reasoning, and whether the text ends inside that. The prompt may have opened its block."""
    tag = think.TAG.search(text)
    stream = think.ThinkStream(opened=tag is not None and tag[0] == think.CLOSE_TAG)
    deltas = [delta for at in range(0, len(text), PIECE) for delta in stream.feed(text[at : at + PIECE])]
    deltas += stream.close()
    return "".join(delta.answer for delta in deltas).strip(), stream.in_reasoning


def _read(answer: str, reader: Reader, finish: Finish) -> Extracted | None:
    """What the answer states in its strongest form. A text that was cut is not trusted to end as it does."""
    text = plain(answer)
    if fields := list(reader.fields(answer)):
        rest = plain(answer[fields[-1].end :])
        return _settled("field", _last(fields, answer), _last(reader.statements(rest), rest))
    text = reader.unlisted(text)
    statements = reader.statements(text)
    if boxes := list(reader.boxes(text)):
        later = [claim for claim in statements if claim.at >= boxes[-1].end]
        return _settled("boxed", _last(boxes, text), _last(later, text))
    if statements:
        return _settled("statement", _last(statements, text))
    cut = finish == "length"
    if lines := list(reader.lines(text, cut)):
        return _settled("line", lines)
    texts = [] if cut else list(reader.texts(text))
    return _settled("text", texts) if texts else None


def _last(claims: Sequence[Claim], text: str) -> Sequence[Claim]:
    """The claims of the last sentence that has any, from the last correction on."""
    first = len(claims) - 1
    while first > 0 and not claims[first].corrects:
        if SENTENCE.search(text, claims[first - 1].end, claims[first].at):
            break
        first -= 1
    return claims[max(first, 0) :]


def _settled(form: Form, claims: Sequence[Claim], later: Sequence[Claim] = ()) -> Extracted:
    """What claims that count alike come to; `later` ones, of a weaker form, contradict or correct them."""
    if any(claim.corrects for claim in later):
        claims = later
    values = frozenset[str]().union(*(claim.values for claim in (*claims, *later)))
    if len(values) > 1 or any(claim.how == "several" for claim in claims):
        return Extracted(None, "several", form)
    return Extracted(next(iter(values)), "answered", form) if values else Extracted(None, claims[-1].how, form)
