"""What clients send to and get from the guarded endpoints: /v1/answer, /v1/case and /v1/tokens. The shapes are ours."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from bedside.recipe import ServeSection
from bedside.records import Finish, GenerationOptions, Message
from bedside.serve.shapes import Usage
from bedside.serve.wire import Body, Conversation, Text
from bedside.text.prompts import Difficulty, Specialty

CASE_TOKENS = 400
"""Enough for about 100 words and a model that does not count them."""
CASE_TEMPERATURE = 0.7
"""Greedy decoding would invent the same case each time."""

ModelName = Annotated[str, Field(max_length=500)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class AnswerRequest(Conversation):
    """POST /v1/answer."""

    model: ModelName | None = None
    """The name that /v1/models gives, or "bedside" for the default."""
    format: Literal["sections", "text"] = "sections"
    """Five short lists where the model can be held to them, or the text that it would write by itself."""
    stream: bool | None = False
    """Server-sent events instead of one JSON object."""
    system: Text | None = None
    """A system message in place of the trained one, if the messages bring none; "" sends none at all."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of reasoning and answer together; the server's own limit applies when it is lower."""
    thinking_budget: Annotated[int, Field(ge=0)] | None = None
    """Tokens after which the reasoning is closed; 0 answers at once."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """0, the default, always takes the likeliest token."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    seed: Seed | None = None

    @property
    def conversation(self) -> list[Message]:
        """The messages as our records, with the system message in front."""
        messages = super().conversation
        given = self.system is None or messages[0].role == "system"
        return messages if given else [Message("system", self.system or ""), *messages]

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode; null and absent both mean the default."""
        default = GenerationOptions()
        return GenerationOptions(
            max_tokens=min(self.max_tokens or settings.max_tokens, settings.max_tokens),
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            seed=default.seed if self.seed is None else self.seed,
            thinking_tokens=self.thinking_budget,
        )


class CaseRequest(Body):
    """POST /v1/case."""

    specialty: Specialty
    difficulty: Difficulty = "typical"
    model: ModelName | None = None
    seed: Seed | None = None
    """The same seed invents the same case; without one each is another."""
    stream: bool | None = False

    def options(self, settings: ServeSection, seed: int) -> GenerationOptions:
        """How to decode."""
        tokens = min(CASE_TOKENS, settings.max_tokens)
        return GenerationOptions(max_tokens=tokens, temperature=CASE_TEMPERATURE, top_p=0.95, seed=seed)


class TokensRequest(Body):
    """POST /v1/tokens."""

    text: Text
    model: ModelName | None = None

    @field_validator("text")
    @classmethod
    def _is_text(cls, text: str) -> str:
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError("half a surrogate pair is no text")
        return text


class SectionReply(BaseModel):
    """A part of a structured answer."""

    name: str
    items: list[str]


class FlagReply(BaseModel):
    """An emergency that the conversation speaks of, with what was found of it and where the criteria come from."""

    rule: str
    title: str
    advice: str
    matched: list[str]
    source: str
    url: str


class AnswerReply(BaseModel):
    """A guarded answer; `answer` of sections is their Markdown, `html` is safe to show."""

    id: str
    object: Literal["bedside.answer", "bedside.case"]
    created: int
    model: str
    answer: str
    html: str
    reasoning: str
    sections: list[SectionReply]
    citations: list[str]
    emergency: bool | None
    flags: list[FlagReply]
    abstained: bool | None
    forced: bool
    finish: Finish
    usage: Usage
    notice: str


class TokensReply(BaseModel):
    """How many tokens a text takes."""

    tokens: int
