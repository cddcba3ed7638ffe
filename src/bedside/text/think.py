"""`<think>…</think>`: written around the reasoning for training, split from the answer when a model speaks.

A prompt may end with the opening tag (the model is then inside the block from its first token on), or the model may
write the tag itself; `opened` says which. Reasoning that was cut before its closing tag is reasoning, never an answer.
"""

from collections.abc import Iterator

from bedside.records import Delta

OPEN = "<think>\n"
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
    """Splits text that arrives in pieces; a tag may be torn over any number of them."""

    def __init__(self, opened: bool) -> None:
        self._inside = opened
        self._may_open = not opened
        self._held = ""
        self._spoken = False

    def feed(self, piece: str) -> Iterator[Delta]:
        """Yields what can be told so far; holds back what might become a tag."""
        self._held += piece
        while self._held:
            if self._inside:
                before, closed, after = self._held.partition(CLOSE_TAG)
                keep = 0 if closed else _tail_of(CLOSE_TAG, before)
                yield from self._say(before[: len(before) - keep])
                self._held = after if closed else before[len(before) - keep :]
                if not closed:
                    return
                self._inside = self._may_open = self._spoken = False
            elif self._spoken:
                yield from self._say(self._held)
                self._held = ""
            elif not self._begins_answer():
                return

    def close(self) -> Iterator[Delta]:
        """Yields what was held back; call once at the end."""
        held, self._held = self._held, ""
        yield from self._say(held)

    @property
    def in_reasoning(self) -> bool:
        """Whether the text so far ends inside the reasoning."""
        return self._inside

    def _begins_answer(self) -> bool:
        """Takes a tag at the very start of the answer; False while the text might still become one.

        Only there does a tag open a block: in the middle of an answer it is the answer's own text. A closing tag there
        says again what was already closed.
        """
        self._held = self._held.lstrip()
        tags = (OPEN_TAG, CLOSE_TAG) if self._may_open else (CLOSE_TAG,)
        if any(len(self._held) < len(tag) and tag.startswith(self._held) for tag in tags):
            return False
        tag = next((tag for tag in tags if self._held.startswith(tag)), "")
        self._held = self._held.removeprefix(tag)
        self._inside = tag == OPEN_TAG
        self._spoken = not tag
        return True

    def _say(self, text: str) -> Iterator[Delta]:
        text = text if self._spoken else text.lstrip()
        if text:
            self._spoken = True
            yield Delta(reasoning=text) if self._inside else Delta(answer=text)


def _tail_of(tag: str, text: str) -> int:
    """Length of the longest end of `text` that begins `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
