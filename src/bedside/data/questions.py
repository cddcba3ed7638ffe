"""Rows that ask what another row asks: word for word, whatever the case, spacing and punctuation.

This is what a leak is judged by, so it is strict: signs of a result tell questions apart (`shingles.words`), and so do
options, for "Which of the following is true?" is asked about many things. A split (`split.normalised`) had rather keep
too much together, a copy (`prepare`) is alike in all its texts, and a reworded question is found by `contamination`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bedside.data.shingles import words
from bedside.records import Example
from bedside.text.chat import LETTERS


class Questions:
    """Rows by their questions."""

    def __init__(self, rows: Iterable[Example]) -> None:
        self._rows: dict[tuple[str, ...], list[Example]] = defaultdict(list)
        for row in rows:
            self._rows[tuple(words(row.question))].append(row)

    def like(self, example: Example) -> Iterator[Example]:
        """The rows with the question of `example`, in their order."""
        return (row for row in self._rows.get(tuple(words(example.question)), ()) if _same_options(row, example))

    def contradicted(self, example: Example) -> Example | None:
        """The first row with a label that asks the same as `example`, if that contradicts it; see `contradict`."""
        alike = (row for row in self.like(example) if row.label and _same(row, example))
        first = next(alike, None) if example.label else None
        return first if first and contradict(first, example) else None


def contradict(one: Example, other: Example) -> bool:
    """Whether two rows ask the same about the same context, and have labels that name different answers.

    An option is known by its text, since a copy may have its options in another order.
    """
    golds = _gold(one), _gold(other)
    return all(golds) and golds[0] != golds[1] and _same(one, other)


def says(example: Example) -> str:
    """What a row has for right, as a message quotes it: its label, and the option of that letter."""
    option = _option(example)
    return f"{example.label}. {option}" if option else example.label


def _gold(example: Example) -> list[str]:
    return words(_option(example) or example.label)


def _option(example: Example) -> str:
    """The text of the option that the label names, if it names one."""
    return dict(zip(LETTERS, example.options, strict=False)).get(example.label, "")


def _same(one: Example, other: Example) -> bool:
    """Whether two rows ask the same about the same context, after the same turns of a chat."""
    asked = ((words(row.question), words(row.context), row.history) for row in (one, other))
    return next(asked) == next(asked) and _same_options(one, other)


def _same_options(one: Example, other: Example) -> bool:
    """Whether two rows have the same options, in any order, as far as both have any."""
    ours, theirs = ({tuple(words(option)) for option in row.options} for row in (one, other))
    return not ours or not theirs or ours == theirs
