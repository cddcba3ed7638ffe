"""The part of Go's text/template that a prompt is written in, rendered here, so that it can be compared without Go.

In: a template and the values of its fields. Out: the text that Go prints. Understood are `if`, `else if`, `else`,
`end`, `range` (with index and element), `:=`, fields, strings, whole numbers, brackets, and the functions below; what
else there is, is refused by name and never guessed. Reference: https://pkg.go.dev/text/template
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bedside.errors import ModelError

ACTION = re.compile(
    r"""\{\{(?P<left>-\s)?(?P<inside>(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\})[^"`])*?)(?P<right>\s-)?\}\}"""
)
"""`{{- ` takes away the white space before an action, ` -}}` that behind it."""
TOKEN = re.compile(r"""\s*("(?:[^"\\\n]|\\.)*"|`[^`]*`|:=|[(),]|-?\d+(?![\w.])|\$?\w*(?:\.\w+)+|\$\w*|\w+|\.)""")
WHITE = " \t\r\n"
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda value, *others: value in others,
    "ne": lambda value, other: value != other,
    "not": lambda value: not value,
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "len": len,
    "slice": lambda items, start=0, end=None: items[start:end],
    "index": lambda items, place: items[place],
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What names mean at a place: `.`, and the variables, of which `$` is the whole of the values."""

    dot: Any
    variables: dict[str, Any]

    def inner(self, dot: Any, **more: Any) -> "Scope":
        """A block inside: what is set there is not known outside."""
        return Scope(dot, {**self.variables, **more})


Expression = Callable[[Scope], Any]
Block = Callable[[Scope], str]


def render(template: str, values: Mapping[str, Any]) -> str:
    """What Go prints. Raises ModelError, with the action, for what is not understood."""
    parser = _Parser(_items(template))
    block, ended = parser.block(())
    assert not ended
    try:
        return block(Scope(values, {"$": values}))
    except (TypeError, IndexError) as error:
        raise ModelError(f"Go template: {error}") from error


def _items(template: str) -> list[str | list[str]]:
    """Texts, and actions as lists of their tokens."""
    items: list[str | list[str]] = []
    place, trims = 0, False
    for action in ACTION.finditer(template):
        text = template[place : action.start()]
        text = text.lstrip(WHITE) if trims else text
        items += [text.rstrip(WHITE) if action["left"] else text, _tokens(action["inside"])]
        place, trims = action.end(), bool(action["right"])
    rest = template[place:]
    if "{{" in rest:
        raise ModelError("Go template: an action is not closed")
    return [*items, rest.lstrip(WHITE) if trims else rest]


def _tokens(inside: str) -> list[str]:
    found, place = [], 0
    while inside[place:].strip():
        token = TOKEN.match(inside, place)
        if token is None:
            raise _strange(inside)
        found.append(token[1])
        place = token.end()
    return found


def _strange(inside: str) -> ModelError:
    return ModelError(f"Go template: '{{{{{inside}}}}}' is not understood")


class _Parser:
    """Reads items one after the other; a block is a function from the scope to its text."""

    def __init__(self, items: list[str | list[str]]) -> None:
        self._items = items
        self._at = 0

    def block(self, ends: tuple[str, ...]) -> tuple[Block, list[str]]:
        """A block up to one of the words in `ends`, and the action that it was in; without `ends`, up to the end."""
        parts: list[Block] = []
        while self._at < len(self._items):
            item = self._items[self._at]
            self._at += 1
            if isinstance(item, list) and item and item[0] in ends:
                return _joined(parts), item
            parts.append(_constant(item) if isinstance(item, str) else self._action(item))
        if ends:
            raise ModelError("Go template: an 'end' is missing")
        return _joined(parts), []

    def _action(self, tokens: list[str]) -> Block:
        match tokens:
            case ["if", *condition]:
                return self._if(condition)
            case ["range", index, ",", element, ":=", *items]:
                return self._range(items, index, element)
            case ["range", *items]:
                return self._range(items, "", "")
            case [name, ":=", *value] if name.startswith("$"):
                return _assignment(name, _expression(value))
            case _:
                return _printed(_expression(tokens), tokens)

    def _if(self, tokens: list[str]) -> Block:
        condition = _expression(tokens)
        then, ended = self.block(("else", "end"))
        otherwise = _constant("")
        if ended[1:2] == ["if"]:
            otherwise = self._if(ended[2:])
        elif ended == ["else"]:
            otherwise, _ = self.block(("end",))
        return lambda scope: (then if condition(scope) else otherwise)(scope.inner(scope.dot))

    def _range(self, tokens: list[str], index: str, element: str) -> Block:
        items = _expression(tokens)
        body, _ = self.block(("end",))
        return lambda scope: "".join(
            body(scope.inner(item, **{index: i, element: item})) for i, item in enumerate(items(scope))
        )


def _joined(parts: list[Block]) -> Block:
    return lambda scope: "".join([part(scope) for part in parts])


def _constant(text: str) -> Block:
    return lambda scope: text


def _assignment(name: str, value: Expression) -> Block:
    def assign(scope: Scope) -> str:
        scope.variables[name] = value(scope)
        return ""

    return assign


def _printed(value: Expression, tokens: list[str]) -> Block:
    def say(scope: Scope) -> str:
        said = value(scope)
        if not isinstance(said, str):
            raise _strange(" ".join(tokens))
        return said

    return say


def _expression(tokens: list[str]) -> Expression:
    """The value of a whole action."""
    rest = list(tokens)
    value = _call(rest)
    if rest:
        raise _strange(" ".join(tokens))
    return value


def _call(rest: list[str]) -> Expression:
    """A function and its arguments, or a single operand; takes what it reads from the front of `rest`."""
    if not rest or rest[0] not in FUNCTIONS:
        return _operand(rest)
    function = FUNCTIONS[rest.pop(0)]
    arguments = []
    while rest and rest[0] != ")":
        arguments.append(_operand(rest))
    return lambda scope: function(*(argument(scope) for argument in arguments))


def _operand(rest: list[str]) -> Expression:
    token = rest.pop(0) if rest else ""
    if token == "(":
        value = _call(rest)
        if not rest or rest.pop(0) != ")":
            raise ModelError("Go template: a bracket is not closed")
        return value
    if token.startswith('"'):
        text = json.loads(token)
        return lambda scope: text
    if token.startswith("`"):
        return lambda scope: token[1:-1]
    if token.lstrip("-").isdigit():
        return lambda scope: int(token)
    if token.startswith((".", "$")):
        return _field(token)
    raise _strange(token)


def _field(token: str) -> Expression:
    variable, *path = token.split(".")
    path = [name for name in path if name]

    def value(scope: Scope) -> Any:
        if variable and variable not in scope.variables:
            raise _strange(token)
        found = scope.variables[variable] if variable else scope.dot
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                raise _strange(token)
            found = found[name]
        return found

    return value
