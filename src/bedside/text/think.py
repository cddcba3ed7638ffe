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
        self._inside = opened
        self._held = ""
        self._spoken = {True: False, False: False}

    def feed(self, piece: str) -> Iterator[Delta]:
        """Yields what can be told so far; holds back what might become a tag."""
        self._held += piece
        while tag := TAG.search(self._held):
            yield from self._say(self._held[: tag.start()])
            self._held = self._held[tag.end() :]
            self._inside = tag[0] == OPEN_TAG
        keep = max(tail_of(OPEN_TAG, self._held), tail_of(CLOSE_TAG, self._held))
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        yield from self._say(ready)

    def close(self) -> Iterator[Delta]:
        """Yields what was held back; call once at the end."""
        held, self._held = self._held, ""
        yield from self._say(held)

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends inside the reasoning."""
        return self._inside

    def _say(self, text: str) -> Iterator[Delta]:
        """Reasoning and answer each begin with their first sign that is no white space."""
        text = text if self._spoken[self._inside] else text.lstrip()
        if text:
            self._spoken[self._inside] = True
            yield Delta(reasoning=text) if self._inside else Delta(answer=text)


def tail_of(whole: str, text: str) -> int:
    """Length of the longest end of `text` that begins `whole` without being all of it."""
    return next((n for n in range(min(len(whole) - 1, len(text)), 0, -1) if whole.startswith(text[-n:])), 0)
