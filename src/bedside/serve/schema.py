"""JSON Schemas that a client sends: whether the model can be held to one, before it is asked to.

llama.cpp's engine (llguidance) passes over in silence what it cannot compile, and then the answer would be free. So
only what it is known to honour is let through, within bounds of size; of each subschema one kind: a reference, a
choice, a list of values, or types with their own keywords. Source:
https://json-schema.org/draft/2020-12/json-schema-validation.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bedside.errors import UsageError

MAX_CHARACTERS = 50_000
MAX_DEPTH = 32
MAX_SUBSCHEMAS = 300
"""Each may take four items of the engine's 2,000; with more it gives up, in the middle of an answer."""
MAX_VALUES = 1_000
MAX_LENGTH = 10_000
MAX_NUMBER = 2**53
MAX_PATTERN = 200
MAX_REPETITIONS = 1_000

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment", "discriminator"})
DEFINITIONS = ("$defs", "definitions")
NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
OF_TYPE: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": NUMBER,
    "number": NUMBER,
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
ALONE = ("$ref", "anyOf", "oneOf", "enum", "const")
FORMATS = ("date", "date-time", "email", "hostname", "ipv4", "ipv6", "time", "uuid")
PATTERN = re.compile(
    r"""(?: [^\\()\[\]{}*+?|^$.] | \\[dws.\\/\-+*?()\[\]{}|^$]
    | \[\^?(?:[^\\\[\]&~]|\\[dws.\\/\-\]])+\]
    | \((?:\?:|(?!\?)) | \) | [*+?|^$.] | \{\d{1,3}(?:,\d{0,3})?\} )+""",
    re.VERBOSE,
)
"""Letters, escapes, classes, groups, repetitions: what all dialects of regular expressions read alike."""
LOCAL = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")


class NotHonoured(ValueError):
    """A schema, or a part of it, that the model cannot be held to; the message says which and why."""


def compiled(schema: Any) -> str:
    """The JSON text of a schema that the model can be held to. Raises NotHonoured."""
    text = _Check(schema).text()
    if len(text) > MAX_CHARACTERS:
        raise NotHonoured(f"the schema has {len(text):,} characters, at most {MAX_CHARACTERS:,} are taken")
    return text


def check_json(answer: str) -> None:
    """Raises UsageError if an answer that was to follow a schema is no JSON."""
    try:
        json.loads(answer)
    except ValueError as error:
        raise UsageError("the model could not be held to response_format; give a simpler schema") from error


class _Check:
    """One walk over a schema."""

    def __init__(self, schema: Any) -> None:
        self._root = {key: value for key, value in _mapping(schema, "schema").items() if key != "$schema"}
        self._seen = 0
        self._definitions: dict[str, Any] = {}

    def text(self) -> str:
        for word in DEFINITIONS:
            for name, definition in _mapping(self._root.get(word, {}), word).items():
                self._definitions[f"#/{word}/{name}"] = definition
        self._walk({key: value for key, value in self._root.items() if key not in DEFINITIONS}, "schema", 0)
        for pointer, definition in self._definitions.items():
            self._walk(definition, pointer, 1)
        for pointer in self._definitions:
            self._leads_somewhere(pointer)
        try:
            text = json.dumps(self._root, ensure_ascii=False, allow_nan=False)
            text.encode()
        except ValueError as error:  # infinities, halves of surrogate pairs
            raise NotHonoured("the schema holds what is no JSON") from error
        return text

    def _walk(self, schema: Any, where: str, depth: int) -> None:
        self._seen += 1
        if depth > MAX_DEPTH:
            raise NotHonoured(f"the schema is nested more than {MAX_DEPTH} deep")
        if self._seen > MAX_SUBSCHEMAS:
            raise NotHonoured(f"the schema has more than {MAX_SUBSCHEMAS:,} parts")
        said = {key: value for key, value in _mapping(schema, where).items() if key not in ANNOTATIONS}
        alone = [key for key in ALONE if key in said]
        beside = {"type"} if alone and alone[0] in ("enum", "const") else set[str]()
        if len(alone) > 1 or (alone and set(said) - {alone[0]} - beside):
            raise NotHonoured(f"{where}: '{alone[0]}' must stand alone, without other keywords")
        if alone:
            self._choice(alone[0], said, where, depth)
        else:
            self._types(said, where, depth)

    def _choice(self, key: str, said: Mapping[str, Any], where: str, depth: int) -> None:
        value = said[key]
        if key == "$ref":
            if not isinstance(value, str) or value not in self._definitions or not LOCAL.fullmatch(value):
                raise NotHonoured(f"{where}: '$ref' must name an entry of '$defs' of the same schema")
        elif key in ("anyOf", "oneOf"):
            for number, part in enumerate(_list(value, f"{where}.{key}")):
                self._walk(part, f"{where}.{key}[{number}]", depth + 1)
        else:
            values = _list(value, f"{where}.enum") if key == "enum" else [value]
            types = _types_of(said, where) if "type" in said else list(OF_TYPE)
            if any(not any(_is_of(one, name) for name in types) for one in values):
                raise NotHonoured(f"{where}: '{key}' has a value that is not of its type")
            if any(_depth(one) > MAX_DEPTH for one in values):
                raise NotHonoured(f"{where}: a value is nested more than {MAX_DEPTH} deep")

    def _types(self, said: Mapping[str, Any], where: str, depth: int) -> None:
        types = _types_of(said, where) if "type" in said else list(OF_TYPE)
        allowed = {"type"}.union(*(OF_TYPE[name] for name in types))
        unknown = sorted(set(said) - allowed)
        if unknown:
            raise NotHonoured(f"{where}: the keyword '{_shown(unknown[0])}' cannot be honoured here")
        _bounds(said, where, "minLength", "maxLength")
        _bounds(said, where, "minItems", "maxItems")
        _numbers(said, where, whole="number" not in types)
        _text(said, where)
        for name, part in self._parts(said, where):
            self._walk(part, name, depth + 1)

    def _parts(self, said: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        properties = _mapping(said.get("properties", {}), f"{where}.properties")
        yield from ((f"{where}.{_shown(name)}", part) for name, part in properties.items())
        required = said.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) and name in properties for name in required):
            raise NotHonoured(f"{where}.required must be a list of names that 'properties' has")
        if not isinstance(said.get("additionalProperties", True), bool):
            yield f"{where}.additionalProperties", said["additionalProperties"]
        if "items" in said and said["items"] is not True:
            yield f"{where}.items", said["items"]
        if "prefixItems" in said:
            parts = _list(said["prefixItems"], f"{where}.prefixItems")
            if said.get("maxItems", MAX_LENGTH) < len(parts):
                raise NotHonoured(f"{where}: 'maxItems' is less than 'prefixItems' has")
            yield from ((f"{where}.prefixItems[{number}]", part) for number, part in enumerate(parts))

    def _leads_somewhere(self, pointer: str) -> None:
        """A definition that leads to itself before anything is written would never begin."""
        waiting, seen = [pointer], set[str]()
        while waiting:
            targets = set(_first_references(self._definitions[waiting.pop()])) - seen
            if pointer in targets:
                raise NotHonoured(f"{_shown(pointer)}: leads to itself without saying anything")
            seen |= targets
            waiting += targets


def _first_references(schema: Mapping[str, Any]) -> Iterator[str]:
    """What may come first where a schema begins: itself a reference, or one of its choices."""
    if "$ref" in schema:
        yield schema["$ref"]
    for part in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
        yield from _first_references(part)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NotHonoured(f"{where} must be an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
        raise NotHonoured(f"{where} must be a list of 1 to {MAX_VALUES:,}")
    return value


def _types_of(said: Mapping[str, Any], where: str) -> list[str]:
    value = said["type"]
    types = value if isinstance(value, list) else [value]
    if not types or not all(isinstance(name, str) and name in OF_TYPE for name in types):
        raise NotHonoured(f"{where}.type must be one of {', '.join(OF_TYPE)}, or a list of them")
    return types


def _is_of(value: Any, name: str) -> bool:
    match value:
        case None:
            return name == "null"
        case bool():
            return name == "boolean"
        case int():
            return name in ("integer", "number") and abs(value) <= MAX_NUMBER
        case float():
            return name == "number" and math.isfinite(value)
        case str():
            return name == "string"
        case list():
            return name == "array"
    return name == "object"


def _bounds(said: Mapping[str, Any], where: str, low: str, high: str) -> None:
    for key in (low, high):
        value = said.get(key, 0)
        if type(value) is not int or not 0 <= value <= MAX_LENGTH:
            raise NotHonoured(f"{where}.{key} must be a whole number from 0 to {MAX_LENGTH:,}")
    if said.get(low, 0) > said.get(high, MAX_LENGTH):
        raise NotHonoured(f"{where}: '{low}' is more than '{high}'")


def _numbers(said: Mapping[str, Any], where: str, whole: bool) -> None:
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        value = said.get(key, 0)
        if type(value) not in (int, float) or not abs(value) <= MAX_NUMBER or (whole and value != int(value)):
            kind = "whole number" if whole else "number"
            raise NotHonoured(f"{where}.{key} must be a {kind} of at most {MAX_NUMBER:,}")
    step = 1 if whole else 0
    low = max(said.get("minimum", -math.inf), said.get("exclusiveMinimum", -math.inf) + step)
    high = min(said.get("maximum", math.inf), said.get("exclusiveMaximum", math.inf) - step)
    if low > high or (low == high and not whole and ("exclusiveMinimum" in said or "exclusiveMaximum" in said)):
        raise NotHonoured(f"{where}: no number lies between its bounds")


def _text(said: Mapping[str, Any], where: str) -> None:
    bounds = {"pattern", "format"} & set(said)
    if bounds and len(OF_TYPE["string"] & set(said)) > 1:
        raise NotHonoured(f"{where}: '{min(bounds)}' goes with no other bound of a text")
    if "format" in said and said["format"] not in FORMATS:
        raise NotHonoured(f"{where}.format must be one of {', '.join(FORMATS)}")
    if "pattern" in said:
        _pattern(said["pattern"], f"{where}.pattern")


def _pattern(pattern: Any, where: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN or not PATTERN.fullmatch(pattern):
        message = f"{where} must be a plain regular expression of at most {MAX_PATTERN} characters"
        raise NotHonoured(f"{message}, without look-around, back-references and named groups")
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise NotHonoured(f"{where} is no regular expression") from error
    times = [max(map(int, re.findall(r"\d+", count))) for count in re.findall(r"(?<!\\)\{[^}]*\}", pattern)]
    if math.prod(max(1, count) for count in times) > MAX_REPETITIONS:  # as if each stood within the others
        raise NotHonoured(f"{where} repeats more than {MAX_REPETITIONS:,} times")


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; found without recursion, and not further than is asked for."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        level = [part for one in level for part in _inside(one)]
        depth += 1
    return depth


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _shown(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text)[:60]
