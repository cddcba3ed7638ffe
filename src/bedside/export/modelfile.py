"""A Modelfile as Ollama understands it: its instructions, and the prompt that they give.

In: the text of a Modelfile, and a conversation. Out: what Ollama hands to the model. What its parser makes of quotes,
lines and characters (`parser/parser.go`), and its server of messages before a template sees them (`server/routes.go`,
`template/template.go`), is made of them here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bedside.errors import ModelError
from bedside.export.go_template import render
from bedside.records import Message

QUOTES = '"""'
INSTRUCTIONS = (
    "adapter",
    "from",
    "license",
    "message",
    "parameter",
    "parser",
    "renderer",
    "requires",
    "system",
    "template",
)
BLANK = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*(?:[\r\n]|\Z))*")
NAME = re.compile(r"([A-Za-z]+)[ \t]")
KEY = re.compile(r"(\w+)[ \t]", re.ASCII)
LINE_END = re.compile(r"[\r\n]|\Z")
APART = "\n\n"
"""Stands between messages of one role that are put together."""


@dataclass(frozen=True, slots=True)
class Modelfile:
    """The instructions in their order: name in lower case, value. Those of PARAMETER go by the parameter's own name."""

    instructions: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a Modelfile. Raises ModelError for what Ollama would not take."""
        found = []
        place = _end_of(BLANK, text, 0)
        while place < len(text):
            name, place = _name(text, place)
            value, place = _value(text, place)
            found.append((name, value))
            place = _end_of(BLANK, text, place)
        if not any(name == "from" for name, _ in found):
            raise ModelError("Modelfile: no FROM line")
        return cls(tuple(found))

    def values(self, name: str) -> list[str]:
        """Every value of an instruction or a parameter."""
        return [value for found, value in self.instructions if found == name]

    def last(self, name: str) -> str:
        """The value that counts where there may be one only; "" if there is none."""
        return next(reversed(self.values(name)), "")

    def prompt(self, messages: Sequence[Message]) -> str:
        """What Ollama hands to the model, save its own begin token. Raises ModelError for a TEMPLATE not understood."""
        system = self.last("system")
        if system and messages[0].role != "system":
            messages = [Message("system", system), *messages]
        joined = APART.join(message.content for message in messages if message.role == "system")
        turns = [{"Role": message.role, "Content": message.content} for message in _merged(messages)]
        return render(self.last("template"), {"System": joined, "Messages": turns, "Tools": [], "Response": ""})


def _merged(messages: Sequence[Message]) -> list[Message]:
    """Messages of one role that follow each other become one."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role:
            message = Message(message.role, merged.pop().content + APART + message.content)
        merged.append(message)
    return merged


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def _name(text: str, place: int) -> tuple[str, int]:
    """The name of the instruction at a place, and where its value begins."""
    found = NAME.match(text, place)
    if found is None or found[1].lower() not in INSTRUCTIONS:
        raise ModelError(f"Modelfile: '{text[place : place + 20].splitlines()[0]}' is no instruction")
    name = found[1].lower()
    if name != "parameter":
        return name, found.end()
    key = KEY.match(text, found.end())
    if key is None:
        raise ModelError("Modelfile: a PARAMETER has no value")
    return key[1], key.end()


def _value(text: str, place: int) -> tuple[str, int]:
    """The value at a place, and where it ends: with the line, or with the line on which its quotes are closed."""
    for end in LINE_END.finditer(text, place):
        value = _unquoted("".join(filter(_is_kept, text[place : end.start()])).strip())
        if value is not None:
            return value, end.end()
    raise ModelError("Modelfile: a quote is not closed")


def _is_kept(character: str) -> bool:
    """Ollama passes over what Go does not call printable, such as a no-break space."""
    return character.isprintable() or character in "\t\r\n"


def _unquoted(value: str) -> str | None:
    """None while a quote is open."""
    for quotes in (QUOTES, '"'):
        if value.startswith(quotes):
            closed = value.endswith(quotes) and len(value) >= 2 * len(quotes)
            return value[len(quotes) : -len(quotes)] if closed else None
    return value
