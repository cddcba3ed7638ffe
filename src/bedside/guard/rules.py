"""`rules.toml`, compiled: what the triage looks for, and in which words it tells a person.

In: the file beside this module. Out: frozen `Rules`. A rule that names a sign, a number or a source that does not exist
is a bug of the file and raises when it is read.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("rules.toml")
Time = Literal["now", "recent", "lasting", "ever"]
Bands = tuple[tuple[float, int], ...]
NUMBERS = ("systolic", "pulse", "respirations", "spo2", "temperature", "gcs")
SCORE = "news2"
LIMIT = re.compile(r"(\w+) (<=|>=|<|>) ([\d.]+)")
NAMES = {
    "systolic": "systolic pressure",
    "respirations": "respiratory rate",
    "spo2": "SpO₂",
    "gcs": "GCS",
    "news2": "NEWS2",
}
RELATIONS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">"}
"""What a person is shown of a number of the text and of its threshold."""


@dataclass(frozen=True, slots=True)
class Source:
    """A guideline or the page of a public health body."""

    title: str
    publisher: str
    year: int
    url: str

    def __str__(self) -> str:
        return f"{self.title}. {self.publisher}, {self.year}"


@dataclass(frozen=True, slots=True)
class Sign:
    """Words that mean one thing; `time` says whether it must be new, may have just gone or lasted, or counts always."""

    name: str
    pattern: re.Pattern[str]
    time: Time = "now"


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of the text, or the score, beside a threshold."""

    number: str
    relation: str
    value: float

    def met(self, found: float) -> bool:
        """Whether a value lies beyond the threshold."""
        match self.relation:
            case "<=":
                return found <= self.value
            case ">=":
                return found >= self.value
            case "<":
                return found < self.value
        return found > self.value

    def shown(self, found: float) -> str:
        """A value that was found, for a person: "systolic pressure 82 (≤ 90)"."""
        return f"{NAMES.get(self.number, self.number)} {found:g} ({RELATIONS[self.relation]} {self.value:g})"

    def __str__(self) -> str:
        return f"{self.number} {self.relation} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Part:
    """One of several signs and limits; with `absent` none of them."""

    options: tuple[str | Limit, ...]
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """An emergency: `when` holds the ways in which it is recognised, each a list of parts that must all be found."""

    name: str
    title: str
    advice: str
    when: tuple[tuple[Part, ...], ...]
    basis: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Cues:
    """What is read around a sign."""

    ignored: re.Pattern[str]
    negated: re.Pattern[str]
    negated_near: re.Pattern[str]
    negated_after: re.Pattern[str]
    resolved_after: re.Pattern[str]
    past: re.Pattern[str]
    past_after: re.Pattern[str]
    chronic: re.Pattern[str]
    chronic_after: re.Pattern[str]
    supposed: re.Pattern[str]
    ends: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Topic:
    """How a sentence about nobody is told."""

    asks: re.Pattern[str]
    general: re.Pattern[str]
    person: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Rules:
    """The whole file. `bands` and `points` make up NEWS2: points of a number by its bands, and of signs."""

    date: str
    reviewed: bool
    rules: tuple[Rule, ...]
    signs: tuple[Sign, ...]
    cues: Cues
    topic: Topic
    bands: Mapping[str, Bands]
    points: tuple[tuple[Part, int], ...]


@cache
def rules() -> Rules:
    """The rules of the triage."""
    read = tomllib.loads(FILE.read_text(encoding="utf-8"))
    signs = tuple(Sign(one["name"], re.compile(one["pattern"]), one.get("time", "now")) for one in read["sign"])
    names = {sign.name for sign in signs}
    sources = {name: Source(**one) for name, one in read["sources"].items()}
    return Rules(
        date=read["date"],
        reviewed=read["reviewed_by_clinician"],
        rules=tuple(_rule(one, names, sources) for one in read["rule"]),
        signs=signs,
        cues=Cues(**_cues(read["cues"])),
        topic=Topic(
            asks=re.compile(rf"\W{{0,3}}(?:{'|'.join(read['topic']['asks'])})"),
            general=re.compile("|".join(read["topic"]["general"])),
            person=re.compile("|".join(read["topic"]["person"])),
        ),
        bands={name: tuple((end, points) for end, points in rows) for name, rows in read["news2"]["bands"].items()},
        points=tuple((_part(text, names), points) for text, points in read["news2"]["signs"].items()),
    )


def _rule(read: dict[str, Any], signs: set[str], sources: Mapping[str, Source]) -> Rule:
    when = tuple(tuple(_part(part, signs) for part in way) for way in read["when"])
    named = tuple(sources[name] for name in read["sources"])
    return Rule(read["name"], read["title"], read["advice"], when, read["basis"], named)


def _part(text: str, signs: set[str]) -> Part:
    absent = text.startswith("not ") and text not in signs
    texts = text.removeprefix("not ").split(" or ") if absent else _alternatives(text, signs)
    return Part(tuple(_option(one, signs) for one in texts), absent)


def _alternatives(text: str, signs: set[str]) -> list[str]:
    """Split at "or", but for the "or" in a sign's own name."""
    found: list[str] = []
    for word in text.split(" or "):
        joined = f"{found[-1]} or {word}" if found else word
        if found and any(name == joined or name.startswith(f"{joined} or ") for name in signs):
            found[-1] = joined
        else:
            found.append(word)
    return found


def _option(text: str, signs: set[str]) -> str | Limit:
    if text in signs:
        return text
    limit = LIMIT.fullmatch(text)
    if not limit or limit[1] not in (*NUMBERS, SCORE):
        raise ValueError(f"{FILE.name}: '{text}' is neither a sign nor a limit")
    return Limit(limit[1], limit[2], float(limit[3]))


def _cues(read: Mapping[str, Sequence[str]]) -> dict[str, re.Pattern[str]]:
    """Cues before a sign may stand anywhere in what is read there, cues behind it begin it, but for a word or two."""
    made = {}
    for name, words in read.items():
        any_of = "|".join(words)
        if name == "negated_near":
            made[name] = re.compile(rf"(?<!\w)(?:{any_of})(?: [\w']{{1,15}}){{0,3}} ?$")
        elif name in ("negated_after", "resolved_after", "past_after", "chronic_after"):
            made[name] = re.compile(rf"(?:[ ,(]{{0,3}}(?:{any_of})(?!\w))")
        else:
            made[name] = re.compile(rf"(?<![\w-])(?:{any_of})(?!\w)")
    return made
