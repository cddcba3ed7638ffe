"""Where a text states an answer, and what it names there: the reading behind `extract`.

In: a model's answer without its reasoning. Out: `Claim`s, each with the values that it names and where it stands. What
is denied, asked or only supposed is no claim, and so is a letter in a list of the options or in a germ's name. Every
repetition in a pattern is bounded, and so is what is looked at around a match: time grows with the length of the text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple

How = Literal["answered", "none", "several", "truncated", "refused"]

NOUN = r"(?:answers?|ans\.?|choice|option|guess|pick|selection|response|solution|decision|conclusion)"
KIND = "(?:options?|choices?|answers?|letters?|statements?)"
IS = "(?:is|are|be|was|were|remains|seems|appears)"
BEST = "(?:most|only|single|likely|likeliest|best|correct|right|appropriate|suitable|accurate|plausible|final)"
THUS = "(?:therefore|thus|hence|so|then|still|clearly|definitely|indeed|probably|simply|actually|likely|to be)"
CLAUSE = rf"(?:^|[.!?:;,(–—]|\b(?:{THUS}|{KIND}|both|either|that|and|but))[ ]?"
BECAUSE = "(?:because|since|due to|given|based on)"
NEARBY = 200
"""Characters of a sentence that are looked at beside a statement."""

LEADS = (
    rf"\b{NOUN}(?: (?:choice|option|letter))?(?: [^\W\d_]{{1,20}}){{0,6}}? {IS}(?: (?:{THUS}|{BEST}|the)){{0,4}}\b",
    rf"\b{NOUN}(?: (?:choice|option|letter))?(?: ?[:=]| [–—-] )",
    r"^\W{0,3}(?:(?:the|my|final|correct|best) ){0,3}answer\W{0,3}\n",
    rf"\b(?:i|we)(?:'d|'ll)?(?: (?:would|will|must|{THUS})){{0,2}} (?:choose|chose|select|pick|opt for|go with)\b",
    r"<answer>|\bans\. ",
    r"\b(?:no[,.:;–—-]|(?:wait|actually|rather|sorry|correction|i mean|make that)[ ,.:;–—-])[ .]{0,4}"
    r"(?:(?:no|wait|actually|rather|sorry)[ ,.:;–—-]{1,3}){0,3}(?:(?:it|that)(?:'s| is| should be| must be) )?",
)
"""What an answer stands behind, in a text without markup."""
BOXED = re.compile(r"\\(?:boxed|fbox)(?![a-z])")
FIELD = re.compile(
    r"""\\{0,3}["'](?:(?:final|correct|best|selected|chosen|my|your|the)[_ -]?)?"""
    r"(?:answer|choice|option|letter|decision|prediction|label)(?:[_ -]?(?:choice|letter|option|key|idx|index|label))?"
    r"""\\{0,3}["']\s{0,9}:\s{0,9}"""
    r"""(?:(?P<quote>\\{0,3}["'])(?P<text>[^\n]{0,400}?)(?:(?P=quote)\s{0,9}(?:[,}\]]|\Z)|\n|\Z)"""
    r"""|\[(?P<list>[^\]{]{0,200})|(?P<bare>[^"'{\[\],}\n]{1,40}))""",
    re.IGNORECASE,
)
"""A field of JSON that is named as an answer, whether or not the JSON around it is whole, or itself in quotes."""
NONE = re.compile(
    r"\W{0,4}(?:(?:that )?(?:none|neither)\b|not(?: [a-z]{1,20}){1,4} (?:options|choices)\b|not listed\b)",
    re.IGNORECASE,
)
REFUSED = re.compile(
    r"\b(?:can(?: ?not|'t)|could(?: not|n't)|(?:un|not )able to|(?:im|not )possible to|won't|will not|decline to)"
    r"(?: (?!the )[a-z]{1,20}){0,3}? (?:answer|determine|choose|select|provide|give|say|help|assist|decide|comply)"
    r"|\b(?:not enough|insufficient|lack of|not provide (?:enough|sufficient)) (?:[a-z]{1,20} )?information"
    r"|\binformation(?: is)? not (?:available|provided|given)|\bas an ai\b",
    re.IGNORECASE,
)
DENIED = re.compile(
    r"\b(?:not|never|nor|neither|cannot|nobody|may|might|could|whether|incorrect|wrong|worst|least)\b|n't\b",
    re.IGNORECASE,
)
"""Words that turn round, in the same clause, what is stated after them, or leave it open."""
DENIED_AFTER = re.compile(
    r"\W{0,3}(?:(?:this |that |it |which )?(?:is|was) )?"
    r"(?:not (?:correct|right|true|the)\b|incorrect|wrong|false(?=[.,:;!]|$)|ruled out|excluded|unlikely)",
    re.IGNORECASE | re.MULTILINE,
)
DENIED_LINE = re.compile(
    r"[.):]? ?(?!option)[^.,;:]{2,80} is (?:incorrect|wrong|false|ruled out|not (?:correct|right|the)\b)", re.IGNORECASE
)
SUPPOSED = re.compile(r"\b(?:if|unless)\b.*\bwould\b", re.IGNORECASE)
CORRECTS = re.compile(
    r"\b(?:no[,.:;–—-]|wait|actually|rather|sorry|correction|i mean|make that|on second thought)", re.IGNORECASE
)
UNSAID = re.compile(rf"\b{NOUN}(?:[^.?!\n]{{0,80}} {IS}(?: the)?| ?:)[ :(]{{0,9}}\Z", re.IGNORECASE)
SENTENCE = re.compile(r"[.!?\n]")
CLAUSES = re.compile(r"[.,:;!?\n()]|\b(?:but|so|hence|thus|therefore|then|because|since)\b", re.IGNORECASE)
COPULA = re.compile(rf"\b{IS}(?: (?:{THUS}|{BEST})){{0,3}}\b", re.IGNORECASE)
ITEM = re.compile(r"(?<!\w)(?:(?i:option|choice) )?\(?([A-J])[.):]+(?=\s)")
ITEM_LINE = re.compile(r"^(?:(?i:option|choice) )?\(?([A-J])([.):]+(?=\s)|\)?$| is )", re.MULTILINE)
GERM = re.compile(
    r"(?:A\. ?(?:baumannii|fumigatus|flavus|niger|israelii|lumbricoides|duodenale)|B\. ?(?:anthracis|cereus|subtilis"
    r"|fragilis|burgdorferi|pertussis|henselae|melitensis)|C\. ?(?:difficile|perfringens|botulinum|tetani|albicans"
    r"|glabrata|auris|neoformans|jejuni|trachomatis|pneumoniae|psittaci|diphtheriae|burnetii|elegans)|E\. ?(?:coli"
    r"|faecalis|faecium|histolytica|granulosus)|F\. ?tularensis|G\. ?lamblia|H\. ?(?:pylori|influenzae|ducreyi))\b"
)
MARKUP = re.compile(
    r"[*`$~]+|__+|\\[()\[\],;!]|\\(?:text|math|bf|rm)[a-z]{0,9}(?=[\s{])|^[ \t]*(?:(?:#{1,6}|>|[•+-])[ \t]+)+",
    re.MULTILINE,
)


class Grammar(NamedTuple):
    """The patterns that depend on what an answer is made of; `token` finds the values in what they call `marks`."""

    token: re.Pattern[str]
    place: re.Pattern[str]
    lead: re.Pattern[str]
    subject: re.Pattern[str]
    line: re.Pattern[str]


class Claim(NamedTuple):
    """What one statement names, and where it stands; it names nothing where `how` is "none" or "refused"."""

    at: int
    end: int
    values: frozenset[str] = frozenset()
    how: How = "answered"
    corrects: bool = False


def _grammar(token: str, mark: str, behind: str) -> Grammar:
    """`mark` is one sign of an answer, `behind` what may follow it where it begins a line."""
    one = rf"(?:{KIND} )?[(\[\"'“]{{0,3}}{mark}(?!\w)[)\]}}\"'”]{{0,3}}+"
    marks = rf"(?P<marks>{one}(?:(?: ?[/,;&+] ?(?:(?:and|or) )?| (?:and|or) ){one}){{0,9}})"
    plural = r"(?:(?P<plural>both|either|any of|one of|all of) )?"
    end = rf"(?=[.:;,!}}<]|$|(?<=[)\]}}]) | [–—-] | \(| {BECAUSE}\b)(?![^.!?\n]{{0,{NEARBY}}}\?)"
    thus = rf"\b(?:therefore|thus|hence|so|in conclusion|overall),? (?=(?-i:[(\[]?{mark}(?!\w)))"
    choice = rf"(?:{BEST} ){{0,3}}(?:answer|option|choice|one|match|diagnosis|cause|exception)s?\b"
    right = "(?:is|are) (?:correct|right)(?: answers| options)?"
    patterns = (
        rf"[ \n:=→–—-]{{0,6}}{plural}{marks}{end}",
        "|".join((*LEADS, thus)),
        rf"{CLAUSE}{marks} (?:(?:must|would|should|has to|will) )?{IS} (?:{THUS} ){{0,2}}(?:the|my) {choice}(?! ?\?)",
        rf"\W{{0,3}}{plural}{marks}"
        rf"(?:{behind}|(?<=[)\]}}]) | [–—-] |[^\w?]*$|,? {BECAUSE}\b| {right}(?=[.:;!]|$| {BECAUSE}\b))",
    )
    return Grammar(*(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in (token, *patterns)))


@lru_cache(maxsize=1)
def lettered() -> Grammar:
    """Options are named by letters, A to J."""
    return _grammar(r"\b[A-J]\b", "[A-J]", "[.:]")


@lru_cache(maxsize=1)
def decided() -> Grammar:
    """The answer is yes, no or maybe, with or without an option's letter."""
    word = "(?:yes|no|maybe)"
    return _grammar(rf"\b{word}\b", rf"(?:[A-J][.)] )?{word}", r"[.:,;!–—]| (?:it|they|there|this|these|the|we)\b")


class Reader:
    """Reads the claims of one kind of answer; `known` are the values that there are, `options` their texts."""

    def __init__(self, grammar: Grammar, known: Sequence[str], options: Sequence[str] = ()) -> None:
        self._grammar = grammar
        self._known = {value.casefold(): value for value in known}
        self._options: dict[str, frozenset[str]] = {}
        for value, option in zip(known, options, strict=False):
            text = plain(option).rstrip(".").casefold()
            self._options[text] = self._options.get(text, frozenset()) | {value}
        texts = "|".join(re.escape(text) for text in sorted(self._options, key=len, reverse=True) if text) or "(?!)"
        after = rf"(?=[.,;:!)\]}}\"]|$| \(| {BECAUSE}\b)"
        self._option = re.compile(rf"[ \n:=\"'(.)]{{0,4}}(?:(?:an?|the) )?(?P<text>{texts}){after}", re.I | re.M)

    def fields(self, answer: str) -> Iterator[Claim]:
        """Of an answer with its markup: JSON is read as it stands."""
        for match in FIELD.finditer(answer):
            value = plain(match["text"] or match["list"] or match["bare"] or "")
            claim = self._place(value, 0) or next(reversed(self.statements(value)), None)
            if claim:
                yield claim._replace(at=match.start(), end=match.end(), corrects=False)

    def boxes(self, text: str) -> Iterator[Claim]:
        """Of a plain text, like all below."""
        return self._places(BOXED, text)

    def statements(self, text: str) -> list[Claim]:
        """In the order of the text."""
        found = [*self._places(self._grammar.lead, text), *self._subjects(text)]
        return sorted(found, key=lambda claim: claim.at)

    def lines(self, text: str, cut: bool) -> Iterator[Claim]:
        """The first line, the last if it was not cut, and those that are nothing but an answer."""
        lines = text.split("\n")
        ends = (0, len(lines) - 1)
        for number, line in enumerate(lines[:-1] if cut and len(lines) > 1 else lines):
            match = self._grammar.line.match(line)
            if match and (number in ends or not line[match.end("marks") :].strip(".!")):
                claim = self._marked(line, match)
                weighs = len({item[1] for item in ITEM.finditer(line)}) > 1
                if claim and not weighs and not DENIED_LINE.match(line, match.end("marks")):
                    yield claim

    def texts(self, text: str) -> Iterator[Claim]:
        """Where the text of an option is the first line, the last, or what something "is"."""
        lines = text.split("\n")
        whole = [self._option.match(line) for line in (lines[0], lines[-1])]
        yield from (self._by_text(one) for one in whole if one and not one.string[one.end() :].strip(".! "))
        for match in COPULA.finditer(text):
            option = self._option.match(text, match.end())
            if option and not denied(match):
                yield self._by_text(option)

    def unlisted(self, text: str) -> str:
        """The text without the letters that only list options: lines in turn, or A, B, C within one line."""
        least = min(3, len(self._known))
        listing = [run for run in _runs(ITEM_LINE.finditer(text), _ascends) if len(run) > 1]
        listing += [run for run in _runs(ITEM.finditer(text), _follows) if run[0][1] == "A" and len(run) >= least]
        signs = list(text)
        for item in chain.from_iterable(listing):
            signs[item.start(1)] = "·"
        return "".join(signs)

    def _places(self, lead: re.Pattern[str], text: str) -> Iterator[Claim]:
        for match in lead.finditer(text):
            claim = self._place(text, match.end())
            if claim and not denied(match):
                yield claim._replace(at=match.start(), corrects=_corrects(match))

    def _subjects(self, text: str) -> Iterator[Claim]:
        for match in self._grammar.subject.finditer(text):
            claim = self._marked(text, match)
            if claim and not denied(match):
                yield claim._replace(end=match.end(), corrects=_corrects(match))

    def _place(self, text: str, at: int) -> Claim | None:
        """What is named where an answer stands: marks, else an option's text, else that it is none, or not told."""
        match = self._grammar.place.match(text, at)
        if match and (claim := self._marked(text, match)):
            return claim
        if option := self._option.match(text, at):
            return self._by_text(option)
        rest = SENTENCE.split(text[at : at + NEARBY], maxsplit=1)[0]
        how: How | None = "none" if NONE.match(rest) else "refused" if REFUSED.search(rest) else None
        return Claim(at, at + len(rest), how=how) if how else None

    def _marked(self, text: str, match: re.Match[str]) -> Claim | None:
        """What the marks of a match name, unless they are a germ's name, a pronoun, or called wrong."""
        found = list(self._grammar.token.finditer(text, *match.span("marks")))
        names = {one[0].casefold() for one in found} - ({"i"} - self._known.keys())
        end = match.end("marks")
        option = self._option.match(text, end)
        if not names or GERM.match(text, found[0].start()) or (DENIED_AFTER.match(text, end) and not option):
            return None
        values = frozenset(self._known.get(name, name.upper()) for name in names)
        if len(values) > 1 or match.groupdict().get("plural"):
            return Claim(match.start(), end, values, "several")
        if names.isdisjoint(self._known):
            return Claim(match.start(), end, how="none")
        also = self._by_text(option).values if option else values
        return (
            Claim(match.start(), end, values) if values & also else Claim(match.start(), end, values | also, "several")
        )

    def _by_text(self, option: re.Match[str]) -> Claim:
        values = self._options.get(option["text"].casefold(), frozenset())
        return Claim(option.start(), option.end(), values, "answered" if len(values) == 1 else "several")


def plain(text: str) -> str:
    r"""Without Markdown, without LaTeX but for the name of `\boxed`, and without needless white space."""
    text = MARKUP.sub("", text.replace("’", "'")).replace("{", " ")
    return re.sub(r" ?\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()


def breaks_off(answer: str) -> bool:
    """Whether the answer ends behind "The answer is", or inside a JSON object."""
    body = answer.strip("`\n ").removeprefix("json").strip()
    return (body.startswith("{") and not body.endswith("}")) or bool(UNSAID.search(plain(answer)[-NEARBY:]))


def _runs(
    items: Iterable[re.Match[str]], goes_on: Callable[[re.Match[str], re.Match[str]], bool]
) -> list[list[re.Match[str]]]:
    runs: list[list[re.Match[str]]] = []
    for item in items:
        if runs and goes_on(runs[-1][-1], item):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _ascends(one: re.Match[str], other: re.Match[str]) -> bool:
    return one[1] < other[1] and one[2] == other[2]


def _follows(one: re.Match[str], other: re.Match[str]) -> bool:
    return ord(other[1]) - ord(one[1]) == 1 and "\n" not in one.string[one.start() : other.start()]


def denied(match: re.Match[str]) -> bool:
    """Whether what is stated is turned round, left open or only supposed."""
    before = match.string[max(0, match.start() - NEARBY) : match.start()]
    clause, sentence = CLAUSES.split(before)[-1], SENTENCE.split(before)[-1]
    return bool(DENIED.search(clause + match[0]) or SUPPOSED.search(sentence + match[0]))


def _corrects(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - NEARBY) : match.start()]
    return bool(CORRECTS.search(SENTENCE.split(before)[-1] + match[0]))
