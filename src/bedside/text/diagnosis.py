"""The one diagnosis that an answer names, and whether it is the reference or an alias of it.

In: what a model wrote, and the names that are taken as right, the reference first. Out: an `Extracted`, whose value is
the reference where one of its names was named, else the words that stand where a diagnosis is stated. Nothing is
guessed: what is denied, only possible, part of a differential or one of two is not named.

Names are compared word by word once both are levelled: case, accents, articles, what stands in brackets, hyphens, the
possessive 's, and spelling that differs by rule between British and American English. Words before a name may
specialise it ("acute appendicitis" is an appendicitis); a word behind it makes it another ("diabetes insipidus" is no
diabetes), and so does a prefix ("non-Hodgkin", "pre-eclampsia"). A synonym is known as an alias alone.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bedside.records import Finish
from bedside.text.claims import NEARBY, REFUSED, SENTENCE, breaks_off, denied, plain
from bedside.text.extract import TURN, Extracted, Form, spoken

HEDGE = r"(?:(?:most |very )?(?:likely|probably|clearly|definitely|therefore|thus|indeed|simply) ?,? ?){0,2}"
THERE = r"(?: (?:here|now|(?:in|for|of) (?:this|the|our) [a-z]+))?"
WHO = r"(?:(?:the|this) (?:patient|man|woman|boy|girl|child|infant|baby|case|presentation|picture)|this|it|he|she)"
EXPLICIT = re.compile(
    rf"\b(?:diagnosis|dx)\b{THERE}(?: (?:is|(?:would|must|should|appears to) be|remains)(?: {HEDGE}| ?:\s*)"
    rf"|[\"']? ?[:=]\s*| [–—-] )|^(?:(?:the|my|most|likely|final) ){{0,4}}diagnosis\n"
    rf"|\b(?:final answer|answer|conclusion)(?: is {HEDGE}| ?: ?)",
    re.IGNORECASE | re.MULTILINE,
)
PICTURE = re.compile(
    rf"\b{WHO} (?:{HEDGE.replace('{0,2}', '{1,2}')}(?:is|has)|(?:is|has) (?:most likely|probably|a case of)) "
    r"|\b(?:consistent with|suggestive of|characteristic of|in keeping with|suggests?|points? to) ",
    re.IGNORECASE,
)
"""Where a diagnosis is stated: as the diagnosis, and as what the picture is."""
OPENING = re.compile(
    rf"(?:(?:i (?:think|believe|suspect)(?: that)?|most likely),? )?{WHO} {HEDGE}(?:is|has|is suffering from) {HEDGE}",
    re.IGNORECASE,
)
SUBJECT = re.compile(
    r"(?:^|[.!?\n] ?)([^.!?\n:]{2,80}?) is (?:therefore |thus |clearly )?(?:(?:the|my) "
    r"(?:(?:most|single|likely|likeliest|probable|correct|final|best) ){0,3}diagnosis\b"
    r"|(?:the )?most likely\b)(?! ?\?)",
    re.IGNORECASE,
)
OTHER = re.compile(
    r"\b(?:differential|alternative|other|another|second|secondary|less likely|previous|prior|initial|wrong|missed"
    r"|possible|potential|exclude|rule out|consider)\b[^.;:!?\n]{0,40}\Z",
    re.IGNORECASE,
)
"""What stands before a diagnosis that is not the one."""
NO_NAME = re.compile(
    r"(?:(?:most|highly|strongly) )?"
    r"(?:not|unlikely|unclear|uncertain|unknown|confirmed|made|based|established|supported|suggested|usually|often"
    r"|typically|clinical|clinically|clear|difficult|important|further|then|by|in|on|that|to|what|which|if|reached|needed"
    r"|required|consistent|suggestive|as follows|none)\b",
    re.IGNORECASE,
)
END = re.compile(
    r"[;:]|,? ?\b(?:because|since|given|based on|as (?:the|he|she|it|shown|evidenced|there)|which|who|but|although"
    r"|though|rather than|instead of|not|so|where|while|is|was|are|should|would|needs?|requires?|explains?)\b"
    r"|, an? | [–—-] |,? and (?=(?:the|he|she|it|this|i|we|you|needs?|should|requires?)\b)",
    re.IGNORECASE,
)
GOES_ON = (
    *("of", "due", "secondary", "caused", "complicated", "mimicking", "resembling", "with", "without", "following"),
    *("after", "from", "in", "on", "at", "by", "for", "during", "leading", "causing", "associated", "related"),
)
"""Words behind which something else is named than the diagnosis itself."""
AWAY = re.compile(rf"\b(?:{'|'.join(GOES_ON)})\b", re.IGNORECASE)
JOINS = re.compile(r"\b(?:or|and|versus|vs)\b|/", re.IGNORECASE)
ITEM = re.compile(r"^(?:\d{1,2}[.)]|[•*-]) ?\w", re.MULTILINE)
SAYS_MORE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|should|would|could|may|might|can|must|needs?|patient|he|she|it|this|that|there"
    r"|i|we|you|they|what|please|let|start|give|order|diagnosis|differential|answer|suggests?|points?)\b",
    re.IGNORECASE,
)
"""With one of these words a line says more than a name."""
LINE_WORDS = 8
BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
PREFIX = re.compile(r"\b(non|pre|post|anti|pseudo) (?=[a-z])")
SPELLING = (
    (re.compile(r"(?<![a-z])oe|ae|(?<=[a-z])oe(?=[a-z])"), "e"),
    (re.compile(r"(?<=[a-z]{2})our\b"), "or"),
    (re.compile("sulph"), "sulf"),
    (re.compile(r"is(?=(?:ed|ation)\b)"), "iz"),
)
"""British and American spelling; a word that is levelled without need is so on both sides."""


class Stated(NamedTuple):
    """Words that stand where a diagnosis does, and where they do."""

    phrase: str
    at: int
    end: int


def diagnosis(text: str, names: Sequence[str], finish: Finish = "stop") -> Extracted:
    """Which diagnosis the text names; a text that was cut is not trusted to end as it does."""
    answer, inside = spoken(text)
    if inside:
        return Extracted(None, "truncated")
    turn = TURN.search(answer)
    said = plain(answer[: turn.start()] if turn else answer)
    for form, found in _stated(said):
        whole = [one for one in found if finish == "stop" or one.end < len(said)]
        if whole:
            return _settled(form, [one.phrase for one in whole], names)
    if len(ITEM.findall(answer)) > 1:
        return Extracted(None, "several", "line")
    if finish == "length" or breaks_off(answer):
        return Extracted(None, "truncated")
    return Extracted(None, "refused" if REFUSED.search(said) else "none")


def is_named(name: str, phrase: str) -> bool:
    """Whether the diagnosis of a phrase is the named one: it begins in the phrase's head, and the head ends with it."""
    inner = [a or b for a, b in BRACKETS.findall(phrase)]
    return any(_heads(levelled(name), one) for one in (BRACKETS.sub(" ", phrase), *inner))


def levelled(name: str) -> list[str]:
    """The words of a name without what makes no other name of it; see the module."""
    text = unicodedata.normalize("NFKD", BRACKETS.sub(" ", name)).casefold()
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    text = re.sub(r"['’]s\b|['’]", "", text)
    text = PREFIX.sub(r"\1", " ".join(re.findall(r"[a-z0-9+]+", text)))
    for pattern, instead in SPELLING:
        text = pattern.sub(instead, text)
    return re.sub(r"^(?:an?|the) |\bthe ", "", text).split()


def _stated(said: str) -> Iterator[tuple[Form, list[Stated]]]:
    """What stands where a diagnosis is stated, form by form, the strongest first."""
    subjects = [Stated(one[1], one.start(1), one.end()) for one in SUBJECT.finditer(said) if _is_subject(one)]
    stated = sorted([*_behind(EXPLICIT, said), *subjects], key=lambda one: one.at)
    last = max((one.end() for one in SENTENCE.finditer(said, 0, stated[-1].at)), default=0) if stated else 0
    yield "statement", [one for one in stated if one.at >= last]
    yield "line", list(_opening(said))
    yield "text", list(_behind(PICTURE, said))


def _behind(lead: re.Pattern[str], said: str) -> Iterator[Stated]:
    for match in lead.finditer(said):
        found = _phrase(said, match.end())
        if found.phrase and not NO_NAME.match(found.phrase) and not _turned(match):
            yield found


def _turned(match: re.Match[str]) -> bool:
    """Whether a statement is denied, left open, or about another diagnosis."""
    return denied(match) or bool(OTHER.search(match.string[max(0, match.start() - NEARBY) : match.start()]))


def _is_subject(match: re.Match[str]) -> bool:
    return "diagnosis" not in match[1].casefold() and not _turned(match)


def _phrase(said: str, at: int) -> Stated:
    """The words from a place on as far as they may be a name."""
    rest = SENTENCE.split(said[at : at + NEARBY], maxsplit=1)[0]
    end = END.search(rest)
    phrase = rest[: end.start()] if end else rest
    return Stated(re.sub(r",? (?:and|or)$|,$", "", phrase.strip(" \"'“”")), at, at + len(phrase))


def _opening(said: str) -> Iterator[Stated]:
    """The beginning, if it is nothing but a name, or says that this is what the patient has."""
    lead = OPENING.match(said)
    found = _phrase(said, lead.end() if lead else 0)
    behind = END.match(said, found.end)
    is_name = len(found.phrase.split()) <= LINE_WORDS and re.search(r"[^\W\d]{2}", found.phrase)
    whole = said[found.at : behind.end() if behind else found.end]
    if is_name and not SAYS_MORE.search(whole) and not NO_NAME.match(found.phrase):
        yield found


def _settled(form: Form, phrases: Sequence[str], names: Sequence[str]) -> Extracted:
    """One value, if all phrases come to it; a phrase that joins two diagnoses comes to none."""
    values = {_value(phrase, names) for phrase in phrases}
    if len(values) > 1 or None in values:
        return Extracted(None, "several", form)
    return Extracted(values.pop(), "answered", form)


def _value(phrase: str, names: Sequence[str]) -> str | None:
    """The reference, if one of its names is named; else the phrase; None of a phrase that names several."""
    named = next((name for name in names if is_named(name, phrase)), None)
    head = " ".join(levelled(AWAY.split(phrase.replace("/", " or "))[0]))
    if JOINS.search(head.replace(" ".join(levelled(named)), "") if named else head):
        return None
    return names[0] if named else " ".join(phrase.split())


def _heads(name: Sequence[str], phrase: str) -> bool:
    said = levelled(phrase.replace("/", " or "))
    opening = len(levelled(re.split(rf",|{AWAY.pattern}", phrase.replace("/", " or "), flags=re.IGNORECASE)[0]))
    after = {"", *GOES_ON, "or", "and", "versus", "vs"}
    return bool(name) and any(
        said[i : i + len(name)] == name and ([*said, ""][i + len(name)] in after or i + len(name) == opening)
        for i in range(max(opening, 1))
    )
