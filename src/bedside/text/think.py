"""`<think>…</think>`: written around the reasoning for training, split from the answer when a model speaks.

A prompt may end with the opening tag (the model is then inside the block from its first token on), or the model may
write the tag itself; `opened` says which. Reasoning that was cut before its closing tag is reasoning, never an answer.
"""

import re
from collections.abc import Iterator

from bedside.records import Delta

OPEN = "<think>\n"
TAG = re.compile("</?think>")
OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"


def wrap(reasoning: str, answer: str) -> str:
    """The assistant's text: the reasoning in its block, empty where there is none, and then the answer."""
    inside = f"{reasoning.strip()}\n" if reasoning.strip() else ""
    return f"{OPEN}{inside}{CLOSE_TAG}\n\n{answer.strip()}"


def closed(prompt: str) -> str:
    """What follows a prompt so that an answer comes next at once: an empty block, or the end of an open one."""
    return reasoned(prompt, "")


def reasoned(prompt: str, reasoning: str) -> str:
    """What follows a prompt up to the answer when the reasoning is given and closed."""
    return wrap(reasoning, "").removeprefix(OPEN if prompt.endswith(OPEN) else "")


def split(text: str, opened: bool) -> tuple[str, str]:
    """(reasoning, answer) of a finished generation, both stripped."""
    stream = ThinkStream(opened)
    deltas = [*stream.feed(text), *stream.close()]
    return "".join(d.reasoning for d in deltas).strip(), "".join(d.answer for d in deltas).strip()


class ThinkStream:
    """Splits text that arrives in pieces; a tag may be torn over any number of them.

    What stands between the tags is reasoning, all else is answer. A tag is never text, however often it comes: a second
    block is reasoning too, and a tag that opens or closes nothing is left out.
    """

    def __init__(self, opened: bool) -> None:
        self.end = 0
        self._inside = opened
        self._closed = False
        self._held = ""
        self._spoken = {True: False, False: False}

    def feed(self, piece: str) -> Iterator[Delta]:
        """Yields what can be told so far; holds back what might become a tag.

        `end` is then where in the whole text the delta ends: tags and white space that nobody is told of are counted.
        """
        self._held += piece
        while tag := TAG.search(self._held):
            yield from self._say(tag.start())
            self._take(len(tag[0]))
            self._inside = tag[0] == OPEN_TAG
            self._closed = self._closed or not self._inside
        keep = max(tail_of(OPEN_TAG, self._held), tail_of(CLOSE_TAG, self._held)) if "<" in self._held else 0
        yield from self._say(len(self._held) - keep)

    def close(self) -> Iterator[Delta]:
        """Yields what was held back; call once at the end."""
        yield from self._say(len(self._held))

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends inside the reasoning."""
        return self._inside

    @property
    def answering(self) -> bool:
        """Whether the text so far has come to an answer: it closed a block, or said something outside of one."""
        return not self._inside and (self._closed or self._spoken[False])

    def _say(self, characters: int) -> Iterator[Delta]:
        """Reasoning and answer each begin with their first sign that is no white space."""
        text = self._take(characters)
        text = text if self._spoken[self._inside] else text.lstrip()
        if text:
            self._spoken[self._inside] = True
            yield Delta(reasoning=text) if self._inside else Delta(answer=text)

    def _take(self, characters: int) -> str:
        """Takes so many off what is held."""
        text, self._held = self._held[:characters], self._held[characters:]
        self.end += characters
        return text


class PlainStream:
    """The same of a text in which tags mean nothing: all of it is answer, as it is."""

    in_reasoning = False
    answering = True

    def __init__(self) -> None:
        self.end = 0

    def feed(self, piece: str) -> Iterator[Delta]:
        """See `ThinkStream`."""
        self.end += len(piece)
        if piece:
            yield Delta(answer=piece)

    def close(self) -> Iterator[Delta]:
        """Nothing was held back."""
        return iter(())


def tail_of(whole: str, text: str) -> int:
    """Length of the longest end of `text` that begins `whole` without being all of it."""
    return next((n for n in range(min(len(whole) - 1, len(text)), 0, -1) if whole.startswith(text[-n:])), 0)
