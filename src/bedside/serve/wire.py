"""What clients send: OpenAI's chat completions request, checked.

Source: https://platform.openai.com/docs/api-reference/chat/create. Unknown keys are passed over, as OpenAI's own
servers do; keys that would change the result if they were passed over are declared here with their neutral value only.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bedside.recipe import ServeSection
from bedside.records import GenerationOptions, Message

MAX_MESSAGES = 200
MAX_CHARACTERS = 200_000
MAX_STOPS = 4

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
StopText = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """What all parts of a request share: no `true` for 1, no "1" for 1, no infinities."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True
    )


class TextPart(Body):
    """A part of a message; images and sound are refused, since the model would not see them."""

    type: Literal["text"]
    text: Text


class Turn(Body):
    """One message. "developer" is OpenAI's newer name for "system"."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MAX_MESSAGES)]

    @property
    def message(self) -> Message:
        """The turn as our record."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content if isinstance(self.content, list) else [TextPart(type="text", text=self.content)]
        return Message(role, "".join(part.text for part in parts))


class StreamOptions(Body):
    """How a stream ends."""

    include_usage: bool = False
    """One more chunk, without choices, with the token counts."""


class TextFormat(Body):
    """Plain text is the only format."""

    type: Literal["text"]


class Conversation(Body):
    """What every request that asks a model holds."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    """The conversation: at most one system message, which comes first, and a question of the user, which comes last."""

    @field_validator("messages")
    @classmethod
    def _can_be_answered(cls, turns: list[Turn]) -> list[Turn]:
        messages = [turn.message for turn in turns]
        size = sum(len(message.content) for message in messages)
        if size > MAX_CHARACTERS:
            raise ValueError(f"{size:,} characters in all, at most {MAX_CHARACTERS:,} are taken")
        if any(message.role == "system" for message in messages[1:]):
            raise ValueError("a system message may only come first, and only once")
        if messages[-1].role != "user" or not messages[-1].content.strip():
            raise ValueError("the last message must be a question of the user")
        return turns

    @property
    def conversation(self) -> list[Message]:
        """The messages as our records."""
        return [turn.message for turn in self.messages]

    @property
    def question(self) -> str:
        """All that was said, for the audit log, which keeps an HMAC and the length of it."""
        return "\n".join(message.content for message in self.conversation)


class ChatRequest(Conversation):
    """POST /v1/chat/completions."""

    model: Annotated[str, Field(max_length=500)] | None = None
    """The name that /v1/models gives, or "bedside" for whichever model is served."""
    stream: bool | None = False
    """Server-sent events instead of one JSON object."""
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of reasoning and answer together; the server's own limit applies when it is lower."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The older name of `max_completion_tokens`, which takes precedence."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """0, the default, always takes the likeliest token."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = GenerationOptions().seed
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    """Texts before which the answer ends."""

    n: Literal[1] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    response_format: TextFormat | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode; null and absent both mean the default."""
        default = GenerationOptions()
        asked = self.max_completion_tokens or self.max_tokens or settings.max_tokens
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return GenerationOptions(
            max_tokens=min(asked, settings.max_tokens),
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            seed=default.seed if self.seed is None else self.seed,
            stop=tuple(stop),
        )


UNSUPPORTED = (
    "n",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "modalities",
)
"""Keys that only their neutral value is accepted for; a refusal says so instead of quoting the type."""
