"""One row as a person should see it: what is read, what is trained, and every special token.

Pieces are cut where training or a special token begins and ends. Their texts come from decoding ever longer beginnings
of the row, since the text of a token may depend on what stands before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.text import Text

from bedside.lint.case import Case, Encoder, Overlong, Refused
from bedside.lint.findings import Piece, Shown, place_of
from bedside.train.batch import IGNORED

OPEN, CLOSE = "⟦", "⟧"
LINE_END = "↵\n"
"""A line end is shown, since `<think>` with and without one are different prompts."""
READ, TRAINED, SPECIAL = "dim", "green", "bold magenta"


def shown(case: Case | Overlong | Refused, encoder: Encoder) -> Shown:
    """A row as text, whatever became of it."""
    if isinstance(case, Refused):
        return Shown(place_of(case.example), (Piece(case.full or case.served, False),), 0, 0, case.message)
    if isinstance(case, Overlong):
        note = f"left out: {len(case.case.ids)} tokens, model.max_length = {encoder.max_length}"
        return replace(shown(case.case, encoder), note=note)
    read = len(case.ids) - case.trained
    return Shown(place_of(case.example), tuple(_pieces(case, encoder)), read, case.trained)


def marked(pieces: Sequence[Piece]) -> str:
    """The row with what is trained in brackets."""
    parts = []
    for trained, run in groupby(pieces, key=lambda piece: piece.trained):
        text = "".join(piece.text for piece in run).replace("\n", LINE_END)
        parts.append(f"{OPEN}{text}{CLOSE}" if trained else text)
    return "".join(parts)


def coloured(pieces: Sequence[Piece], stdout: TextIO) -> str:
    """The row with what is trained in green and special tokens in bold; "" where stdout shows no colour."""
    console = Console(file=stdout)
    if not console.is_terminal or console.no_color:
        return ""
    text = Text()
    for piece in pieces:
        style = SPECIAL if piece.special else TRAINED if piece.trained else READ
        text.append(piece.text.replace("\n", LINE_END), f"{style} underline" if piece.trained else style)
    with console.capture() as capture:
        console.print(text, end="", soft_wrap=True)
    return capture.get()


def _pieces(case: Case, encoder: Encoder) -> Iterator[Piece]:
    added = encoder.tokenizer.added_tokens_decoder.items()
    special = {token_id for token_id, token in added if token.special}
    kinds = [(label != IGNORED, token in special) for token, label in zip(case.ids, case.labels, strict=True)]
    end, before = 0, ""
    for (trained, is_special), run in groupby(kinds):
        end += len(list(run))
        text = encoder.decode(case.ids[:end])
        yield Piece(text[len(before) :], trained, is_special)
        before = text
