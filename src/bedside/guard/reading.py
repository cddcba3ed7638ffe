"""What a case text says is there: signs that are neither denied nor past nor only asked about, and vital signs.

In: a text. Out: a `Reading`. Around each sign its sentence is read for words that deny it, put it into the past or only
suppose it (NegEx, Chapman 2001, doi:10.1006/jbin.2001.1029). A sentence that asks about a topic, with no person in it,
says nothing. All is done in time that grows with the length of the text: what is read around a sign is bounded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from bedside.guard.rules import Cues, Rules, Sign, Topic
from bedside.guard.vitals import Vitals, is_child, numbers

BEFORE = 120
AFTER = 60
"""Characters that are read around a sign."""
SENTENCE = re.compile(r"[!?;\n]|\.(?=\s|$)")
CLAUSE = re.compile(r"[,:(]| and | but ")
STRAIGHT = str.maketrans("’‘“”‐‑–—\u00a0\u202f₂", "''\"\"----  2")


@dataclass(frozen=True, slots=True)
class Reading:
    """The names of the signs and the values of the vital signs that a text tells of somebody now."""

    signs: frozenset[str]
    vitals: Vitals = field(default_factory=dict)
    child: bool = False


def read(text: str, rules: Rules) -> Reading:
    """Reads a case text."""
    plain = rules.cues.ignored.sub(_blank, _plain(text))
    told = [sentence for sentence in _sentences(plain) if not _is_topic(sentence, rules.topic)]
    signs = {sign.name for sign in rules.signs if any(_tells(sentence, sign, rules.cues) for sentence in told)}
    values: dict[str, tuple[float, ...]] = {}
    for sentence in told:
        for name, value, at in numbers(sentence):
            before = CLAUSE.split(_before(sentence, at, rules.cues))[-1]
            if not rules.cues.supposed.search(before) and not rules.cues.past.search(before):
                values[name] = (*values.get(name, ()), value)
    return Reading(frozenset(signs), values, is_child(plain))


def _plain(text: str) -> str:
    """Lower case, straight quotes and dashes, single spaces; lines stay apart."""
    straight = text.translate(STRAIGHT).casefold()
    return re.sub(r"[^\S\n]+", " ", re.sub(r"[*_`#>|]+", " ", straight))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _sentences(text: str) -> Iterator[str]:
    """Sentences with the sign that ends them; those without a word are left out."""
    starts = [0, *(end.end() for end in SENTENCE.finditer(text)), len(text)]
    sentences = (text[start:end].strip() for start, end in pairwise(starts))
    return (sentence for sentence in sentences if len(sentence) > 1)


def _is_topic(sentence: str, topic: Topic) -> bool:
    general = sentence.endswith("?") or topic.asks.match(sentence) or topic.general.search(sentence)
    return bool(general) and not topic.person.search(sentence)


def _tells(sentence: str, sign: Sign, cues: Cues) -> bool:
    return any(_counts(match, sign, cues) for match in sign.pattern.finditer(sentence))


def _counts(match: re.Match[str], sign: Sign, cues: Cues) -> bool:
    sentence = match.string
    before = _before(sentence, match.start(), cues)
    after = CLAUSE.split(sentence[match.end() : match.end() + AFTER].lstrip(" ,:("), maxsplit=1)[0]
    behind = sentence[match.end() : match.end() + AFTER]
    if cues.negated.search(before) or cues.negated_near.search(before) or cues.negated_after.match(behind):
        return False
    if sign.time != "recent" and cues.resolved_after.match(behind):
        return False
    if cues.supposed.search(before):
        return False
    if sign.time == "ever":
        return True
    if cues.past.search(before) or cues.past_after.match(after):
        return False
    return sign.time == "lasting" or not (cues.chronic.search(before) or cues.chronic_after.match(after))


def _before(sentence: str, at: int, cues: Cues) -> str:
    """What stands before a place, back to where something new begins."""
    text = sentence[max(0, at - BEFORE) : at]
    last = 0
    for end in cues.ends.finditer(text):
        last = end.end()
    return text[last:]
