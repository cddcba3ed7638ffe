"""A structured answer: five named lists, as JSON that a small model can end, and as Markdown.

In: the answer's text, whole or as far as it has come. Out: `Section`s in the order of `NAMES`. The JSON is read by
pydantic's own parser, which takes an unfinished text as far as it goes.
"""

import json
from collections.abc import Sequence

from pydantic_core import from_json

from bedside.records import Section
from bedside.text.prompts import MEANINGS

BOUNDS = {
    "Diagnosis": (1, 1, 160),
    "Differential": (1, 4, 120),
    "Plan": (1, 5, 160),
    "Red flags": (0, 4, 120),
    "What is missing": (0, 4, 120),
}
"""Of each section the fewest and the most items, and the characters of an item.

A small model repeats itself until it is stopped, so that what it may say at most, about `TOKENS`, must fit into an
answer. Nothing asks for a red flag or a gap where there is none.
"""
TOKENS = 700
"""What the longest answer takes, at a token for each four characters."""
NAMES = tuple(BOUNDS)
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            name: {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": characters},
                "minItems": fewest,
                "maxItems": most,
            }
            for name, (fewest, most, characters) in BOUNDS.items()
        },
        "required": list(NAMES),
        "additionalProperties": False,
    }
)
"""JSON Schema of a structured answer."""


def opens(text: str) -> bool | None:
    """Whether an answer that begins like this is JSON; None as long as nothing is said."""
    begun = text.lstrip()
    return begun.startswith("{") if begun else None


def parse(text: str) -> tuple[Section, ...]:
    """The sections of an answer that may be cut anywhere, without those in which nothing is said."""
    read = _object(text) or {}
    found = (Section(name, _items(read.get(name), *BOUNDS[name][1:])) for name in NAMES)
    return tuple(section for section in found if section.items)


def is_empty(text: str) -> bool:
    """Whether an answer is JSON, whole or cut, of lists in which nothing is said: no person should be shown it."""
    read = _object(text)
    ends = text.partition("}")[2].strip() == ""  # the reader passes over what follows an object
    return ends and read is not None and all(not value or _says_nothing(value) for value in read.values())


def markdown(sections: Sequence[Section]) -> str:
    """The sections as a person reads them."""
    parts = [f"## {one.name}\n\n" + "\n".join(f"- {item}" for item in one.items) for one in sections]
    return "\n\n".join(parts)


def _object(text: str) -> dict[str, object] | None:
    """The JSON object that a text is, as far as it goes; None if it is none."""
    try:
        read = from_json(text.strip(), allow_partial="trailing-strings")
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _says_nothing(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and _echoes(text) for text in value)


def _items(read: object, most: int, characters: int) -> tuple[str, ...]:
    """One line each: an item cannot begin a list or a heading of its own; the same twice says nothing new."""
    texts = read if isinstance(read, list) else []
    lines = (" ".join(text.split())[:characters] for text in texts if isinstance(text, str))
    return tuple(dict.fromkeys(line for line in lines if line and not _echoes(line)))[:most]


def _echoes(line: str) -> bool:
    """Whether a line gives the instruction's own words back, as small models do."""
    said = line.casefold().strip(" .:")
    return any(words.casefold().startswith(said) for words in (*MEANINGS, *MEANINGS.values()))
