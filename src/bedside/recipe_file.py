"""A recipe as a TOML file: found, read with overrides, explained where it is wrong, and written again.

`load("recipes/starter.toml", ["train.lr=1e-4"])` gives a validated `Recipe`. Every mistake is one line that names
the file and the key.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bedside.errors import RecipeError
from bedside.recipe import NAME_WANTED, Recipe

SHIPPED = Path(__file__).parent / "recipes"
KEPT = "recipe.toml"
"""The copy of its recipe in a run's folder."""


def load(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and validates a recipe file, or a shipped recipe by its name, with `section.key=value` overrides.

    Raises RecipeError in one line that names key and file or, where the file is right by itself, the command line.
    """
    path = find(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    if not overrides:
        return parse(values, str(path))
    where = "command line" if _is_valid(values) else str(path)
    for override in overrides:
        _set(values, override)
    return parse(values, where)


def _is_valid(values: dict[str, Any]) -> bool:
    try:
        Recipe.model_validate(values)
    except ValidationError:
        return False
    return True


def parse(values: dict[str, Any], where: str) -> Recipe:
    """Validates plain values; `where` begins the error's line."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise RecipeError(f"{where}: {_explain(details[0])}{more}") from error


def overridden(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with `section.key=value` overrides."""
    values = recipe.model_dump(mode="json")
    for override in overrides:
        _set(values, override)
    return parse(values, "command line")


def find(name: str | Path) -> Path:
    """The path of a recipe file, of the recipe that a run's folder keeps, or of a shipped recipe by its bare name."""
    path = Path(name)
    if path.is_file():
        return path
    if (path / KEPT).is_file():
        return path / KEPT
    shipped = SHIPPED / f"{name}.toml"
    if path.parent == Path() and shipped.is_file():
        return shipped
    names = sorted(file.stem for file in SHIPPED.glob("*.toml"))
    near = difflib.get_close_matches(path.stem, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"shipped recipes: {', '.join(names)}"
    raise RecipeError(f"{name}: no such recipe; {hint}")


def to_toml(recipe: Recipe) -> str:
    """The recipe with every setting spelled out, as TOML that `load` reads back to an equal recipe."""
    sections = recipe.model_dump(mode="json")
    top = {key: value for key, value in sections.items() if not isinstance(value, dict)}
    lines = list(_assignments(top))
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *_assignments(section)]
    return "\n".join(lines) + "\n"


def _assignments(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if value is not None:
            yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(_toml_char(char) for char in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _toml_char(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{override}': want section.key=value, such as train.lr=1e-4")
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError(f"'{override}': '{section}' is no section")
    values[last] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return None if text == "null" else text


def _explain(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key '{key}'{_nearest(detail['loc'])}"
        case "missing":
            return f"'{key}' is missing; add it"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return f"{key}: {message}" if key else message
        case "string_pattern_mismatch":
            return f"{key} = {repr(detail['input'])[:60]}: want {NAME_WANTED}"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    if detail["type"] == "literal_error":
        message += _meant(str(detail["input"]), re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    return f"{key} = {repr(detail['input'])[:60]}: {message}"


def _nearest(location: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Recipe
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]
    known = list(section.model_fields)
    return _meant(str(location[-1]), known) or f"; known here: {', '.join(known)}"


def _meant(said: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(said, known, 1)
    return f"; did you mean '{near[0]}'?" if near else ""
