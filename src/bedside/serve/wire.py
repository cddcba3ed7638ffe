"""What clients send: OpenAI's requests for a chat's or a raw text's completion and for embeddings, checked.

Source: https://platform.openai.com/docs/api-reference/chat/create, …/completions/create and …/embeddings/create.
Unknown keys are passed over, as OpenAI's own servers do; keys that would change the result if they were passed over are
declared here with their neutral value only.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from bedside.recipe import ServeSection
from bedside.records import GenerationOptions, Message
from bedside.serve import schema

MAX_MESSAGES = 200
MAX_CHARACTERS = 200_000
MAX_STOPS = 4
MAX_TOP = 20
MAX_TEXTS = 128

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
EmbeddedText = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
ModelName = Annotated[str, Field(max_length=500)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
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
    """No format: the answer is text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Body):
    """A JSON Schema. `name` and `strict` change nothing: the model is always held to all of it."""

    name: Annotated[str, Field(max_length=200)] | None = None
    description: Annotated[str, Field(max_length=2_000)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class SchemaFormat(Body):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


Format = Annotated[TextFormat | JsonObjectFormat | SchemaFormat, Field(discriminator="type")]


class Decoding(Body):
    """How a request wants its answer made. Null and absent both mean the default."""

    model: ModelName | None = None
    """A name that /v1/models gives, or "bedside" for the first of them, which is the default."""
    stream: bool | None = False
    """Server-sent events instead of one JSON object."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of reasoning and answer together; the server's own limit applies when it is lower."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """0, the default, always takes the likeliest token."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    seed: Seed | None = None
    """With one, nothing of earlier questions is reused, so that the same request has the same answer."""

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode."""
        default = GenerationOptions()
        return GenerationOptions(
            max_tokens=min(self.max_tokens or settings.max_tokens, settings.max_tokens),
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            seed=default.seed if self.seed is None else self.seed,
            afresh=self.seed is not None,
        )


class Request(Decoding):
    """What may be asked of both kinds of completion."""

    stream_options: StreamOptions | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    """Texts before which the answer ends."""

    n: Literal[1] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self, settings: ServeSection) -> GenerationOptions:
        """See `Decoding`."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return replace(super().options(settings), stop=tuple(stop))


class Conversation(Body):
    """What every request holds that goes on with a conversation."""

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


class ChatRequest(Conversation, Request):
    """POST /v1/chat/completions."""

    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    """The newer name of `max_tokens`, over which it takes precedence."""
    thinking_budget: Annotated[int, Field(ge=0)] | None = None
    """Tokens after which the reasoning is closed; 0: before it begins."""
    reasoning_effort: Literal["none", "medium"] | None = None
    """ "none" is a `thinking_budget` of 0, "medium" none at all; the budget takes precedence."""
    response_format: Format | None = None
    """JSON, if the answer must be; the reasoning before it is free."""
    logprobs: bool | None = None
    """Log-probabilities of the answer's tokens."""
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP)] | None = None
    """Beside each token so many of the likeliest."""

    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    @field_validator("response_format")
    @classmethod
    def _can_be_honoured(cls, value: Format | None) -> Format | None:
        if isinstance(value, SchemaFormat):
            schema.compiled(value.json_schema.schema_)
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _beside_a_token(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise ValueError("goes with logprobs: true only")
        return value

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode."""
        options = super().options(settings)
        budget = 0 if self.thinking_budget is None and self.reasoning_effort == "none" else self.thinking_budget
        return replace(
            options,
            max_tokens=min(self.max_completion_tokens or options.max_tokens, settings.max_tokens),
            thinking_tokens=budget,
            schema=self._schema,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )

    @property
    def _schema(self) -> str:
        match self.response_format:
            case SchemaFormat(json_schema=named):
                return schema.compiled(named.schema_)
            case JsonObjectFormat():
                return schema.compiled({"type": "object"})
        return ""


class TextRequest(Request):
    """POST /v1/completions: a raw text that is continued, without template, system message and reasoning."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
    """One text, as the model is to see it."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP)] | None = None
    """Log-probabilities of the tokens, with so many of the likeliest beside each."""

    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None

    @field_validator("prompt")
    @classmethod
    def _is_text(cls, prompt: str) -> str:
        if any("\ud800" <= sign <= "\udfff" for sign in prompt):
            raise ValueError("not valid UTF-8 text")
        return prompt

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode."""
        return replace(super().options(settings), logprobs=self.logprobs)


class EmbeddingRequest(Body):
    """POST /v1/embeddings."""

    input: EmbeddedText | Annotated[list[EmbeddedText], Field(min_length=1, max_length=MAX_TEXTS)]
    """A text or several; lists of token ids are refused."""
    model: Annotated[str, Field(max_length=500)] | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    """"base64": little-endian 32-bit floats."""

    dimensions: Literal[None] = None

    @field_validator("input")
    @classmethod
    def _is_bounded(cls, value: str | list[str]) -> str | list[str]:
        texts = [value] if isinstance(value, str) else value
        if (size := sum(map(len, texts))) > MAX_CHARACTERS:
            raise ValueError(f"{size:,} characters in all, at most {MAX_CHARACTERS:,} are taken")
        if any("\ud800" <= sign <= "\udfff" for text in texts for sign in text):
            raise ValueError("not valid UTF-8 text")
        return value

    @property
    def texts(self) -> list[str]:
        """The texts, of which there is at least one."""
        return [self.input] if isinstance(self.input, str) else self.input


HINTS = {
    "reasoning_effort": "'none' and 'medium' (no limit) are understood; for a limit in tokens send 'thinking_budget'",
    "input": "want a text, or a list of at most 128 texts; lists of token ids are not read",
    "prompt": "want one text; lists, and token ids, are not read",
}
"""What to do about a key of which only some values are taken."""

UNSUPPORTED = (
    "n",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "modalities",
    "best_of",
    "echo",
    "suffix",
    "dimensions",
)
"""Keys that only their neutral value is accepted for; a refusal says so instead of quoting the type."""
