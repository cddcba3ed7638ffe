"""A speaker that says what it was told to: deterministic, for tests of everything above it."""

from collections.abc import Generator, Sequence

from bedside.recipe import PromptSection
from bedside.records import Delta, Generation, GenerationOptions, Message, TokenLogprob

LOGPROB = -0.5


class ScriptedBackend:
    """Implements `backend.Speaker`; answers the nth conversation with the nth (reasoning, answer), word by word.

    A word is a token, of log-probability `LOGPROB`, and the likeliest at its place. A text that is continued gets the
    answer of the next reply; a schema changes nothing, since the script says what is said.
    """

    constrains = True

    def __init__(
        self, replies: Sequence[tuple[str, str]], prompt: PromptSection | None = None, name: str = "scripted"
    ) -> None:
        self.name = name
        self.prompt = prompt or PromptSection()
        self.asked: list[list[Message]] = []
        self.prompts: list[str] = []
        self.options: list[GenerationOptions] = []
        self._replies = iter(replies)

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`."""
        self.asked.append(list(messages))
        prompt_tokens = sum(self.tokens(message.content) for message in messages)
        yield from self._say(*next(self._replies), prompt_tokens, options)

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`."""
        self.prompts.append(prompt)
        _, answer = next(self._replies)
        yield from self._say("", answer, self.tokens(prompt), options)

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """See `backend.Speaker`."""
        return len((prompt + continuation).split())

    def close(self) -> None:
        """Nothing to free."""

    def _say(
        self, reasoning: str, answer: str, prompt_tokens: int, options: GenerationOptions
    ) -> Generator[Delta | Generation]:
        self.options.append(options)
        for word in reasoning.split(" "):
            yield Delta(reasoning=word + " ")
        said: list[TokenLogprob] = []
        for word in answer.split(" "):
            said += _logprobs(word + " ", options.logprobs)
            yield Delta(answer=word + " ", logprobs=_logprobs(word + " ", options.logprobs))
        words = self.tokens(reasoning) + self.tokens(answer)
        yield Generation(reasoning, answer, "stop", prompt_tokens, words, logprobs=tuple(said))


def _logprobs(token: str, top: int | None) -> tuple[TokenLogprob, ...]:
    return () if top is None else (TokenLogprob(token, LOGPROB, ((token, LOGPROB),)[:top]),)
