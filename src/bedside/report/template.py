"""The pages' templates: everything is escaped, `numbers` writes every figure, `base.html.jinja` is the frame."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from bedside.report import numbers
from bedside.text.numbers import probability


@cache
def template(name: str) -> Template:
    """A template of this package by its file name."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bedside", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (
        numbers.value, numbers.interval, numbers.difference, numbers.differences, numbers.size, probability,
        numbers.count, numbers.decimal, numbers.percent, numbers.file_size, numbers.duration, numbers.moment,
    ):  # fmt: skip
        environment.filters[filter_.__name__] = filter_
    return environment
