"""What clients get: completion, chunks of a stream, and the list of models, in OpenAI's shapes.

Sources: https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming. The reasoning stands apart in
`reasoning_content`, the name that DeepSeek's API gave it and that vLLM and llama.cpp took over.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from bedside.records import Answer, Delta, Finish


class Usage(BaseModel):
    """Token counts; the completion's include the reasoning."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Spoken(BaseModel):
    """The assistant's message, or in a stream the part of it that is new; null where nothing was said."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    reasoning_content: str | None = None


class Choice(BaseModel):
    """The one answer. "length" says that the token limit cut it, which may be inside the reasoning."""

    index: Literal[0] = 0
    message: Spoken
    finish_reason: Finish
    logprobs: None = None


class Completion(BaseModel):
    """A whole answer; `model` names the model that gave it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ChunkChoice(BaseModel):
    """A piece of the one answer."""

    index: Literal[0] = 0
    delta: Spoken
    finish_reason: Finish | None = None
    logprobs: None = None


class Chunk(BaseModel):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """One model of the list."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["bedside"] = "bedside"


class ModelList(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """GET /healthz."""

    status: Literal["ok"] = "ok"


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the part of the request, `code` is for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """Every answer that is none."""

    error: ErrorDetail = Field(description="One error, in OpenAI's shape")


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What all chunks of one answer carry."""

    id: str
    created: int
    model: str

    @classmethod
    def new(cls, model: str) -> "Letterhead":
        """A fresh id and the present time."""
        return cls(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model)

    def whole(self, answer: Answer) -> Completion:
        """An answer that is not streamed."""
        message = Spoken(content=answer.answer, reasoning_content=answer.reasoning or None)
        choice = Choice(message=message, finish_reason=answer.finish)
        return Completion(**self._fields(), choices=[choice], usage=Usage(**answer.usage))

    def chunks(self, event: Delta | Answer, wants_usage: bool) -> Iterator[Chunk]:
        """The chunks of one event: a delta makes one, the finished answer the closing one or two."""
        if isinstance(event, Delta):
            said = Spoken(content=event.answer or None, reasoning_content=event.reasoning or None)
            yield Chunk(**self._fields(), choices=[ChunkChoice(delta=said)])
            return
        yield Chunk(**self._fields(), choices=[ChunkChoice(delta=Spoken(), finish_reason=event.finish)])
        if wants_usage:
            yield Chunk(**self._fields(), choices=[], usage=Usage(**event.usage))

    def _fields(self) -> dict[str, Any]:
        return {"id": self.id, "created": self.created, "model": self.model}
