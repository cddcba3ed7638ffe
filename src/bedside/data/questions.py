"""Rows that ask what another row asks: word for word, whatever the case, spacing and punctuation.

This is what a leak is judged by, so it is strict: signs of a result tell questions apart (`shingles.words`), and so do
options, for "Which of the following is true?" is asked about many things. A split (`split.normalised`) had rather keep
too much together, a copy (`prepare`) is alike in all its texts, and a reworded question is found by `contamination`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bedside.data.shingles import words
from bedside.records import Example


class Questions:
    """Rows by their questions."""

    def __init__(self, rows: Iterable[Example]) -> None:
        self._rows: dict[tuple[str, ...], list[Example]] = defaultdict(list)
        for row in rows:
            self._rows[tuple(words(row.question))].append(row)

    def like(self, example: Example) -> Iterator[Example]:
        """The rows with the question of `example`, in their order."""
        return (row for row in self._rows.get(tuple(words(example.question)), ()) if _same_options(row, example))


def _same_options(one: Example, other: Example) -> bool:
    """Whether two rows have the same options, in any order, as far as both have any."""
    ours, theirs = ({tuple(words(option)) for option in row.options} for row in (one, other))
    return not ours or not theirs or ours == theirs
