"""Whether what will serve the model reads a prompt as training does: rules over what `places` has gathered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bedside.lint.findings import Finding

TEXT_SHOWN = 30
TOKENS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere that prompts are rendered: `prints` has one text for each conversation that is compared."""

    where: str
    prints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A text as token ids: training's, and llama.cpp's with the file `where`."""

    where: str
    text: str
    ours: tuple[int, ...]
    theirs: tuple[int, ...]


def template_differs(trained: Place, others: Sequence[Place]) -> Iterator[Finding]:
    """A finding for each place that prints a conversation otherwise than training."""
    for place in others:
        pairs = zip(trained.prints, place.prints, strict=True)
        ours, theirs = next(((a, b) for a, b in pairs if a != b), ("", ""))
        if ours != theirs:
            at = _parting(ours, theirs)
            there, here = (text[at : at + TEXT_SHOWN] for text in (theirs, ours))
            message = f"its chat template prints {there!r} after {at} characters where {here!r} is trained"
            yield Finding("template-differs", "error", place.where, message)


def tokenizer_differs(splits: Sequence[Split]) -> Iterator[Finding]:
    """A finding for each file with which llama.cpp makes other tokens of a text than training."""
    for where in dict.fromkeys(split.where for split in splits):
        here = [split for split in splits if split.where == where]
        wrong = [split for split in here if split.ours != split.theirs]
        if wrong:
            at = _parting(wrong[0].ours, wrong[0].theirs)
            ours, theirs = (list(ids[at : at + TOKENS_SHOWN]) for ids in (wrong[0].ours, wrong[0].theirs))
            message = (
                f"{len(wrong)} of {len(here)} texts have other tokens in llama.cpp: after {at} tokens it has {theirs}"
                f" where {ours} is trained"
            )
            yield Finding("tokenizer-differs", "error", where, message)


def _parting(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """Where two sequences part."""
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
