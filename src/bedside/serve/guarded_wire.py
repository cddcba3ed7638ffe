"""What clients send to and get from the guarded endpoints: /v1/answer, /v1/case and /v1/tokens. The shapes are ours."""

import secrets
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from bedside.recipe import ServeSection
from bedside.records import Finish, GenerationOptions, Message
from bedside.serve.shapes import Usage
from bedside.serve.wire import Body, Conversation, Decoding, ModelName, Seed, Text
from bedside.text.prompts import Difficulty, Specialty

CASE_TOKENS = 400
"""Enough for about 100 words and a model that does not count them."""
CASE_TEMPERATURE = 0.7
"""Greedy decoding would invent the same case each time."""


class AnswerRequest(Conversation, Decoding):
    """POST /v1/answer."""

    format: Literal["sections", "text"] = "sections"
    """Five short lists where the model can be held to them, or the text that it would write by itself."""
    system: Text | None = None
    """A system message in place of the trained one, if the messages bring none; "" sends none at all."""
    thinking_budget: Annotated[int, Field(ge=0)] | None = None
    """Tokens after which the reasoning is closed; 0 answers at once."""

    @property
    def conversation(self) -> list[Message]:
        """The messages as our records, with the system message in front."""
        messages = super().conversation
        given = self.system is None or messages[0].role == "system"
        return messages if given else [Message("system", self.system or ""), *messages]

    def options(self, settings: ServeSection) -> GenerationOptions:
        """See `Decoding`."""
        return replace(super().options(settings), thinking_tokens=self.thinking_budget)


class CaseRequest(Body):
    """POST /v1/case."""

    specialty: Specialty
    difficulty: Difficulty = "typical"
    model: ModelName | None = None
    seed: Seed | None = None
    """The same seed invents the same case; without one each is another."""
    stream: bool | None = False

    def options(self, settings: ServeSection) -> GenerationOptions:
        """How to decode."""
        return GenerationOptions(
            max_tokens=min(CASE_TOKENS, settings.max_tokens),
            temperature=CASE_TEMPERATURE,
            top_p=0.95,
            seed=secrets.randbelow(2**31) if self.seed is None else self.seed,
            afresh=self.seed is not None,
        )


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
