"""What a model says, read as it comes: reasoning apart from the answer, and the answer up to a stop sequence.

In: `Piece`, as every backend makes them. Out: `Delta`, whose log-probabilities are those of the tokens that end in it;
nothing is told of a token of which a part was cut off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bedside.records import Delta, Finish, TokenLogprob
from bedside.text.think import PlainStream, ThinkStream, tail_of


@dataclass(frozen=True, slots=True)
class Piece:
    """What a model said in one step, after reading `prompt_tokens` and making `tokens` in all; `finish` ends it."""

    text: str
    tokens: int
    prompt_tokens: int
    finish: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class Reading:
    """One go of a model. `reasoning`, `answer` and `logprobs` are what was told of it so far.

    A stop sequence may be torn over any number of pieces; once one was read, it is `stopped`, and no more is told.
    """

    def __init__(self, stream: ThinkStream | PlainStream, stop: Sequence[str] = ()) -> None:
        self.stream = stream
        self.stopped = False
        self.reasoning = ""
        self.answer = ""
        self.logprobs: tuple[TokenLogprob, ...] = ()
        self._stop = stop
        self._fed = 0
        self._ahead: list[tuple[int, TokenLogprob]] = []
        """Tokens whose text is yet to be split, each with where in all that was fed it ends."""
        self._held = ""
        self._waiting: list[tuple[int, TokenLogprob]] = []
        """Tokens of what is held of the answer, each with where in that it ends."""

    def feed(self, piece: Piece) -> Iterator[Delta]:
        """What can be told now."""
        self._fed += len(piece.text)
        self._ahead += [(self._fed, token) for token in piece.logprobs]
        for delta in self.stream.feed(piece.text):
            yield from self._read(delta)

    def close(self) -> Iterator[Delta]:
        """What was held back; call once at the end, if nothing stopped it."""
        for delta in self.stream.close():
            yield from self._read(delta)
        if not self.stopped:
            yield from self._tell(len(self._held))

    def _read(self, delta: Delta) -> Iterator[Delta]:
        if self.stopped:
            return
        if delta.reasoning:
            self.reasoning += delta.reasoning
            yield delta
            return
        if not (self._stop or self._ahead or self._waiting):  # nothing can be cut off, and nothing waits
            self.answer += delta.answer
            yield delta
            return
        if self._ahead:
            self._place(self.stream.end - len(delta.answer))
        self._held += delta.answer
        cut = min((at for text in self._stop if (at := self._held.find(text)) >= 0), default=-1)
        keep = max((tail_of(text, self._held) for text in self._stop), default=0) if cut < 0 else len(self._held) - cut
        yield from self._tell(len(self._held) - keep)
        self.stopped = cut >= 0

    def _place(self, start: int) -> None:
        """The tokens that end in the answer text which begins at `start` wait with it; the reasoning's are let go."""
        split = self.stream.end
        self._waiting += [(len(self._held) + end - start, token) for end, token in self._ahead if start < end <= split]
        self._ahead = [(end, token) for end, token in self._ahead if end > split]

    def _tell(self, characters: int) -> Iterator[Delta]:
        """So much of what is held."""
        text, self._held = self._held[:characters], self._held[characters:]
        logprobs = tuple(token for end, token in self._waiting if end <= characters)
        self._waiting = [(end - characters, token) for end, token in self._waiting if end > characters]
        if text:
            self.answer += text
            self.logprobs += logprobs
            yield Delta(answer=text, logprobs=logprobs)
