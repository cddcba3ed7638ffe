"""A speaker that says what it was told to: deterministic, for tests of everything above it."""

from collections.abc import Generator, Sequence

from bedside.recipe import PromptSection
from bedside.records import Delta, Generation, GenerationOptions, Message


class ScriptedBackend:
    """Implements `backend.Speaker`; answers the nth conversation with the nth (reasoning, answer), word by word."""

    def __init__(self, replies: Sequence[tuple[str, str]], prompt: PromptSection | None = None) -> None:
        self.name = "scripted"
        self.prompt = prompt or PromptSection()
        self.asked: list[list[Message]] = []
        self.options: list[GenerationOptions] = []
        self._replies = iter(replies)

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`."""
        self.asked.append(list(messages))
        self.options.append(options)
        reasoning, answer = next(self._replies)
        for word in reasoning.split(" "):
            yield Delta(reasoning=word + " ")
        for word in answer.split(" "):
            yield Delta(answer=word + " ")
        words = len(reasoning.split()) + len(answer.split())
        yield Generation(reasoning, answer, "stop", sum(len(m.content.split()) for m in messages), words)

    def close(self) -> None:
        """Nothing to free."""
