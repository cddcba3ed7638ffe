"""A value together with the place that it was read from, so that what is written of it is a link to that place.

    train = Cited.root("evidence/adapter/train.json", read_json(folder / "evidence/adapter/train.json"))
    line = f"Final loss {train['final_loss']:.3f}"   # Final loss [1.250](evidence/adapter/train.json#/final_loss ".3f")
    text = bound(line)                               # Final loss [1.250][1], and the place below as number 1
    [claim] = claims(text)                           # line 1 says "1.250" of that place, written as ".3f"

A place is a file of the release and a JSON pointer into it (RFC 6901), the title of the link how the value is written.
At the head of a card, in YAML, the place stands in a comment. `uncited` finds digits that no place vouches for.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from bedside.text.numbers import probability

FORMS = frozenset({"", ",", ",.1f", ".3f", "+.3f", ".1%", ".2g", "g", "p"})
"""How a value may be written: Python's format specifications, none that pads or cuts, and "p" for a probability."""
ESCAPES = str.maketrans({char: f"&#{ord(char)};" for char in "[]|&`*\\"})
TAG = re.compile(r"<(?=[A-Za-z/!?])")
"""These Markdown would take for its own."""
INLINE = re.compile(r'\[(?P<text>[^\[\]]*)\]\((?P<place>[^\s()]+#[^\s()]*) "(?P<form>[^"]*)"\)')
NUMBERED = re.compile(r"\[(?P<text>[^\[\]]*)\]\[(?P<number>\d+)\]")
DEFINITION = re.compile(r'\[(?P<number>\d+)\]: (?P<place>\S+) "(?P<form>[^"]*)"')
HEAD = re.compile(r"(?P<key>[\s-]*+(?:[\w-]++: )?)(?P<text>\S.*?)  # (?P<place>\S+#\S*)")
HASH = re.compile(r"\| \[(?P<path>[^\[\]]+)\]\([^\s()]+\) \| `(?P<sha256>[0-9a-f]{64})` \|")
WORDS = re.compile(r"\b95 % interval|\bSHA-256\b|\bSHA256SUMS\b|\bsha256sum\b")
"""What holds digits and is no finding."""
FENCE = "---"


@dataclass(frozen=True, slots=True)
class Cited:
    """A value of a stage's file. Formatting it makes a citation; subscripts lead to what it holds."""

    path: str
    pointer: str
    value: Any

    @classmethod
    def root(cls, path: str, value: Any) -> "Cited":
        """A whole file."""
        return cls(path, "", value)

    def __getitem__(self, key: str | int) -> "Cited":
        part = str(key).replace("~", "~0").replace("/", "~1")
        return Cited(self.path, f"{self.pointer}/{part}", self.value[key])

    def get(self, key: str) -> "Cited | None":
        """What stands under a key; None where nothing, null or an empty text does."""
        return self[key] if self.value.get(key) not in (None, "") else None

    def __iter__(self) -> "Iterator[Cited]":
        return (self[i] for i in range(len(self.value)))

    def items(self) -> "Iterator[tuple[str, Cited]]":
        """Key and value, of an object."""
        return ((key, self[key]) for key in self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    @property
    def place(self) -> str:
        """File and pointer, as a link's target."""
        return f"{quote(self.path)}#{quote(self.pointer, safe='/~')}"

    def __format__(self, form: str) -> str:
        return f'[{shown(self.value, form)}]({self.place} "{form}")'

    def yaml(self) -> str:
        """The exact value as YAML, its place in a comment."""
        return f"{exact(self.value)}  # {self.place}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a text says of a place: on line `line`, `text` stands for its value; `form` None means the exact value."""

    line: int
    text: str
    place: str
    form: str | None

    @property
    def path(self) -> str:
        """The file."""
        return unquote(self.place.partition("#")[0])

    def actual(self, content: Any) -> str:
        """What a file with that content has there, written as the claim is; the claim holds if `text` is the same.

        Raises LookupError if nothing stands there, ValueError or TypeError if it cannot be written so.
        """
        value = at(content, unquote(self.place.partition("#")[2]))
        return exact(value) if self.form is None else shown(value, self.form)


def shown(value: Any, form: str) -> str:
    """A value as Markdown text. Raises ValueError for a form that is none, or not one for this value."""
    if form not in FORMS or isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} cannot be written as '{form}'")
    if isinstance(value, list):
        return ", ".join(shown(item, form) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = probability(value) if form == "p" else format(value, form)
    return TAG.sub("&#60;", " ".join(text.split()).translate(ESCAPES))


def exact(value: Any) -> str:
    """A value as JSON, which YAML reads as the same."""
    return json.dumps(value, ensure_ascii=False)


def at(content: Any, pointer: str) -> Any:
    """What a JSON pointer leads to. Raises LookupError where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(content, list) and key.isdecimal():
            content = content[int(key)]
        elif isinstance(content, Mapping):
            content = content[key]
        else:
            raise LookupError(pointer)
    return content


def bound(text: str) -> str:
    """The text with its citations numbered, and their places below; a place that is cited again keeps its number.

    Whoever writes a digit that is not cited has made a mistake in the program: AssertionError.
    """
    numbers: dict[tuple[str, str], int] = {}

    def number(found: re.Match[str]) -> str:
        key = (found["place"], found["form"])
        return f"[{found['text']}][{numbers.setdefault(key, len(numbers) + 1)}]"

    body = INLINE.sub(number, text)
    places = [f'[{n}]: {place} "{form}"' for (place, form), n in numbers.items()]
    whole = "\n".join([body.rstrip("\n"), "", *places]) + "\n"
    assert not uncited(whole), f"not cited: {uncited(whole)}"
    return whole


def claims(text: str) -> list[Claim]:
    """Every value that a bound text tells; `place` is empty where the number that it cites stands nowhere."""
    lines = text.splitlines()
    places = _places(lines)
    end = _end_of_head(lines)
    made = []
    for n, line in enumerate(lines, 1):
        if n < end and (head := HEAD.fullmatch(line)):
            made.append(Claim(n, head["text"], head["place"], None))
        for found in NUMBERED.finditer(line) if n > end else ():
            place, form = places.get(found["number"], ("", ""))
            made.append(Claim(n, found["text"], place, form))
    return made


def idle(text: str) -> list[str]:
    """Places that are listed and that nothing cites: a value of the text was taken out."""
    cited = {found["number"] for found in NUMBERED.finditer(text)}
    return [place for number, (place, _) in _places(text.splitlines()).items() if number not in cited]


def hashes(text: str) -> dict[str, str]:
    """{path: SHA-256} of the rows that give one."""
    return {found["path"]: found["sha256"] for line in text.splitlines() if (found := HASH.fullmatch(line))}


def hash_row(path: str, sha256: str) -> tuple[str, str]:
    """The cells of such a row."""
    return f"[{path}]({quote(path)})", f"`{sha256}`"


def uncited(text: str) -> list[tuple[int, str]]:
    """(line, the line's rest) of the lines on which digits stand that no place and no hash row vouches for."""
    lines = text.splitlines()
    end = _end_of_head(lines)
    left = []
    for n, line in enumerate(lines, 1):
        if DEFINITION.fullmatch(line) or HASH.fullmatch(line):
            continue
        head = HEAD.fullmatch(line) if n < end else None
        rest = head["key"] if head else NUMBERED.sub("", line)
        if re.search(r"\d", WORDS.sub("", rest)):
            left.append((n, rest.strip()))
    return left


def _places(lines: list[str]) -> dict[str, tuple[str, str]]:
    """{number: (place, form)}."""
    found = filter(None, map(DEFINITION.fullmatch, lines))
    return {one["number"]: (one["place"], one["form"]) for one in found}


def _end_of_head(lines: list[str]) -> int:
    """Number of the line that ends the metadata on top; 0 if there are none."""
    return lines.index(FENCE, 1) + 1 if lines[:1] == [FENCE] and FENCE in lines[1:] else 0
