"""Chat templates of strangers, run within bounds of reach, work and memory.

    compile_template(source).render(messages=[…], bos_token="<s>", …)      # text, or jinja2.TemplateError in one line

Jinja's immutable sandbox keeps a template from Python's inner attributes and from changing what it is given, but lets
it loop and grow for ever. So each render has a budget: every text, list and turn of a loop that it makes is counted
(characters and elements), what would grow by a number is counted before it is made, and the clock is looked at each
time. The counting is written into the template's syntax tree. Filters and methods are those that chat templates use.
Set up as transformers does: trim_blocks, lstrip_blocks, loop controls, the generation tag, `raise_exception`,
`strftime_now`, `tojson`. Source: https://jinja.palletsprojects.com/en/stable/sandbox/
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from string import Formatter
from time import monotonic
from types import GeneratorType
from typing import Any

import jinja2
from jinja2 import filters, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from bedside.errors import first_line
from bedside.text.counting import MADE, PART, SPENT, counting, size

LONGEST = 1 << 17
"""Characters of a template; the longest published ones have about 20,000."""
ALLOWANCE = 2_000_000
PER_CHARACTER = 32
"""A render may make `ALLOWANCE` characters and elements, and so many more for each one that it is given."""
SECONDS = 5.0
LOOK = 1000
"""After so many characters and elements the clock is looked at."""
CALL = 20
"""What a call counts for, beside what it makes."""
WIDEST = 1000
"""Characters to which a format may pad a field."""
FILTERS = {
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int",
    "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "safe",
    "select", "selectattr", "sort", "string", "title", "unique", "upper", "urlencode",
}  # fmt: skip
TEXT = {
    "capitalize", "casefold", "count", "endswith", "find", "format", "format_map", "index", "isalnum", "isalpha",
    "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower",
    "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit",
    "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
}  # fmt: skip
METHODS: tuple[tuple[type | tuple[type, ...], set[str]], ...] = (
    (str, TEXT),
    (dict, {"copy", "get", "items", "keys", "values"}),
    ((list, tuple), {"copy", "count", "index"}),
    ((bytes, int, float), set()),
)
"""What may be called on a value; what is on no list here is Jinja's own, such as `loop`."""
SLOW = {"strip", "lstrip", "rstrip", "rfind", "rindex", "rsplit", "rpartition"}
"""Methods that take the text's length times their argument's; the others are linear."""
PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d*)(\*?)(?:\.(\d*)(\*?))?")


class Program:
    """A compiled template."""

    def __init__(self, template: jinja2.Template) -> None:
        self._template = template

    def render(self, **variables: Any) -> str:
        """The text. Raises jinja2.TemplateError in one line, whatever went wrong."""
        try:
            return self._template.render(variables)
        except Exception as error:  # a stranger's program can raise anything, and it is its own fault
            raise jinja2.TemplateError(_told(error)) from error


def compile_template(source: str) -> Program:
    """Raises jinja2.TemplateError in one line if the template is none, or too long to be one."""
    if len(source) > LONGEST:
        raise jinja2.TemplateError(f"it has {len(source):,} characters; at most {LONGEST:,} are read")
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    try:
        return Program(environment.from_string(counting(environment.parse(source))))
    except Exception as error:  # Python's own compiler has limits, too, which it tells in many ways
        raise jinja2.TemplateError(_told(error)) from error


class _Context(Context):
    """One render, with what it may still make."""

    left = ALLOWANCE
    _look_at = ALLOWANCE - LOOK
    _until = 0.0

    def spend(self, amount: int) -> None:
        """Raises SecurityError if the budget does not hold so much, or the time is over."""
        self.left -= amount
        if self.left <= self._look_at:
            self._look()

    def _look(self) -> None:
        if not self._until:  # short renders never come here
            self._until = monotonic() + SECONDS
            self.left += PER_CHARACTER * size(self.parent.get("messages"))
        if self.left < 0:
            raise SecurityError("it makes far more text, or takes far more steps, than a conversation needs")
        if monotonic() > self._until:
            raise SecurityError(f"it takes more than {SECONDS:g} seconds")
        self._look_at = max(self.left - LOOK, 0)

    def made(self, value: Any) -> Any:
        """The value, once it is counted; of a generator each element as it is asked for."""
        if isinstance(value, GeneratorType):
            return self._each(value)
        self.left -= 1 + len(value) if isinstance(value, str) else size(value, self.left)
        if self.left <= self._look_at:
            self._look()
        return value

    def part(self, value: Any) -> Any:
        """A part of a value whose elements were counted."""
        self.spend(len(value))
        return value

    def _each(self, values: Iterator[Any]) -> Iterator[Any]:
        for value in values:
            self.spend(1)
            yield value


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"-", "*", "/", "//", "%", "**"})
    context_class = _Context

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: function for name, function in self.filters.items() if name in FILTERS}
        self.filters |= BOUNDED
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = lambda form: datetime.now().strftime(form)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Jinja's rules, and of plain values only the methods on the list."""
        listed = next((names for kind, names in METHODS if isinstance(obj, kind)), None)
        return (listed is None or attr in listed) and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja names them
        """Calls as Jinja does, with the growth of a text counted before and the result after."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and args:
            args = _weighed(__context, owner, __obj.__name__, args)
        __context.left -= CALL
        return __context.made(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Operators as Python's, with what grows by a number counted before."""
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    context.spend(size(many, context.left) * max(times, 0))
        elif operator == "%" and isinstance(left, str):
            context.spend(_percent(left, right, context.left))
        elif operator == "**" and isinstance(right, int) and abs(right) > 64:
            raise SecurityError("a power beyond 64")
        return context.made(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` as Jinja guards it, with the width of its fields bounded."""
        guarded = super().wrap_str_format(value)
        if guarded is None:
            return None
        text: str = value.__self__

        @pass_context
        def bounded(context: Any, *args: Any, **kwargs: Any) -> str:
            context.spend(_fields(text) * (WIDEST + size([args, kwargs], context.left)))
            return guarded(*args, **kwargs)

        return bounded


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text, which transformers reads off and which prints as it is."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(Namespace):
    """Prints its name only: two that hold each other twice would print 2^n times."""

    def __repr__(self) -> str:
        return "<Namespace>"


def _weighed(context: _Context, text: str, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a text's method, once what it will make or compare is counted."""
    if method == "join":
        return (_joined(context, text, args[0]), *args[1:])
    if method == "replace" and len(args) > 1 and isinstance(args[0], str) and isinstance(args[1], str):
        context.spend(len(text) + text.count(args[0]) * len(args[1]))
    elif method in SLOW and isinstance(args[0], str):
        context.spend(len(text) * len(args[0]) // 8)
    return args


def _joined(context: _Context, between: Any, values: Any) -> list[Any]:
    parts = list(values)
    context.spend(size(parts, context.left) + len(parts) * size(between, context.left))
    return parts


def _fields(text: str) -> int:
    """How many fields a format has. Raises SecurityError if one may be padded without bound."""
    specs = [spec for _, name, spec, _ in Formatter().parse(text) if name is not None]
    if any(re.search(r"\d{4}|\{", spec or "") for spec in specs):
        raise SecurityError(f"a field wider than {WIDEST}")
    return len(specs)


def _percent(text: str, values: Any, most: float) -> int:
    """The most that `text % values` can make. Raises SecurityError if a field may be padded without bound."""
    found = PERCENT.findall(text)
    if any(len(width) > 3 or len(precision) > 3 or a or b for width, a, precision, b in found):
        raise SecurityError(f"a field wider than {WIDEST}")
    return len(text) + len(found) * (WIDEST + size(values, most))


@pass_context
def _join(context: _Context, value: Any, d: str = "", attribute: Any = None) -> Any:
    return filters.do_join(context.eval_ctx, _joined(context, d, value), d, attribute)


@pass_context
def _replace(context: _Context, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, before, after = (str(context.made(part)) for part in (s, old, new))
    context.spend(len(text) + text.count(before) * len(after))
    return filters.do_replace(context.eval_ctx, s, old, new, count)


@pass_context
def _trim(context: _Context, value: Any, chars: str | None = None) -> str:
    if chars is not None:
        context.spend(len(str(context.made(value))) * len(chars) // 8)
    return filters.do_trim(value, chars)


@pass_context
def _indent(context: _Context, s: str, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    by = width if isinstance(width, int) else len(width)
    context.spend((1 + len(s.splitlines())) * max(by, 0))
    return filters.do_indent(s, width, first, blank)


@pass_context
def _format(context: _Context, value: Any, *args: Any, **kwargs: Any) -> str:
    context.spend(_percent(str(context.made(value)), [args, kwargs], context.left))
    return filters.do_format(value, *args, **kwargs)


@pass_context
def _tojson(context: _Context, value: Any, indent: int | None = None) -> str:
    context.made(value)
    if indent is not None:
        context.spend(max(int(indent), 0))
    encoder = json.JSONEncoder(ensure_ascii=False, indent=indent)
    return "".join(context.made(piece) for piece in encoder.iterencode(value))


BOUNDED: dict[str, Callable[..., Any]] = {
    MADE: pass_context(_Context.made),
    PART: pass_context(_Context.part),
    SPENT: pass_context(_Context.spend),
    "format": _format,
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "tojson": _tojson,
    "trim": _trim,
}


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _told(error: BaseException) -> str:
    """An error's first line, without what would move a terminal's cursor."""
    line = first_line(error)[:200]
    return "".join(letter if letter.isprintable() else " " for letter in line)
