"""What the rest of the house may ask of a model, whatever runs it."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bedside.recipe import PromptSection
from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.text.chat import Renderer


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-likelihood (natural log, summed) of a continuation of `tokens` tokens and `characters` characters."""

    logprob: float
    tokens: int
    characters: int


class Speaker(Protocol):
    """A model that answers conversations.

    `constrains` says whether it can be held to `GenerationOptions.schema`; one that cannot raises UsageError if it is
    asked to, and so does one that cannot tell log-probabilities.
    """

    name: str
    prompt: PromptSection
    constrains: bool

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """Yields deltas as they are made and the finished generation last. Closing the iterator stops the model."""
        ...

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        """The same for a raw text that is continued: no template is put around it, and all that is said is answer."""
        ...

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """How many tokens the two take. Raises UsageError where that cannot be known, as of a remote server."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...


class Writer(Protocol):
    """A model that answers many conversations.

    `together` are best handed over in one call, since they are computed together; of such calls `at_once` may be made
    at the same time, from threads of their own.
    """

    name: str
    prompt: PromptSection
    together: int
    at_once: int

    def write(
        self,
        conversations: Sequence[Sequence[Message]],
        options: GenerationOptions,
        progress: Callable[[int], None] = ...,
    ) -> list[Generation]:
        """Generations in the order of the conversations; `progress` is told how many more are done.

        `answer_tokens` come on top of `max_tokens`, for answers that reasoning has left no room for.
        """
        ...

    def close(self) -> None:
        """Frees the model, and ends what it is still asked."""
        ...


@runtime_checkable
class Measured(Writer, Protocol):
    """A writer of which it can be known beforehand whether a text fits.

    `window` is the tokens of prompt and continuation together, 0 where there is no limit, and `wider` the setting that
    gives more, "" if none does.
    """

    window: int
    wider: str

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The conversation as the model is prompted with it."""
        ...

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """How many tokens the two take."""
        ...


class Scorer(Writer, Protocol):
    """A writer whose likelihoods can be read."""

    renderer: Renderer

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The conversation as the model is prompted with it."""
        ...

    def likelihoods(
        self, asked: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] = ...
    ) -> list[list[Likelihood]]:
        """Of each prompt with its continuations, their log-likelihoods; `progress` is told of each prompt when done.

        The continuations of a prompt share its computation.
        """
        ...
