"""Two texts side by side, with the runs of words that they share marked."""

from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup, escape

from bedside.data.shingles import WORD

RUN = 3
"""Words in a row that must be the same to be marked; fewer are shared by chance."""


def side_by_side(first: str, second: str) -> tuple[Markup, Markup]:
    """Both texts, escaped, with what both say in <mark>, wherever in the texts it stands."""
    return _marked(first, second), _marked(second, first)


def _marked(text: str, other: str) -> Markup:
    known = {run for _, run in _runs(other)}
    shared = {at + i for at, run in _runs(text) if run in known for i in range(len(run))}
    spans = [match.span() for match in WORD.finditer(text)]
    parts, place = [], 0
    for first, last in _joined(shared):
        start, end = spans[first][0], spans[last][1]
        parts += [escape(text[place:start]), Markup("<mark>{}</mark>").format(text[start:end])]
        place = end
    return Markup("").join([*parts, escape(text[place:])])


def _runs(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each run of `RUN` words with the number of its first; a shorter text is one run."""
    words = [match[0].casefold() for match in WORD.finditer(text)]
    for at in range(max(len(words) - RUN, 0) + 1):
        yield at, tuple(words[at : at + RUN])


def _joined(numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring numbers as (first, last)."""
    for _, group in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield members[0], members[-1]
