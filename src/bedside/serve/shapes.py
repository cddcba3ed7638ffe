"""What clients get: completions, chunks of a stream, and the list of models, in OpenAI's shapes.

Sources: https://platform.openai.com/docs/api-reference/chat/object, …/completions/object and …/models/object. The
reasoning stands apart in `reasoning_content`, the name that DeepSeek's API gave it; vLLM and llama.cpp took it over.
These models document the API and write what is sent once; `forms` writes the chunks of a stream.
"""

from typing import Literal

from pydantic import BaseModel, Field

from bedside.records import Finish


class Usage(BaseModel):
    """Token counts; the completion's include the reasoning."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopLogprob(BaseModel):
    """A token that could have stood there. `bytes` are its UTF-8, null for a part of a character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprobs(TopLogprob):
    """A token of the answer, and the likeliest at its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Log-probabilities (natural logarithm) of the answer's tokens; the reasoning's are not told."""

    content: list[TokenLogprobs]
    refusal: None = None


class Spoken(BaseModel):
    """The assistant's message; null where nothing was said."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    reasoning_content: str | None = None


class Choice(BaseModel):
    """The one answer. "length" says that the token limit cut it, which may be inside the reasoning."""

    index: Literal[0] = 0
    message: Spoken
    finish_reason: Finish
    logprobs: ChatLogprobs | None = None


class Completion(BaseModel):
    """A whole answer; `model` names the model that gave it."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class TextLogprobs(BaseModel):
    """The same in this endpoint's own, older shape: one list for each thing that is told of a token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """The one continuation."""

    index: Literal[0] = 0
    text: str
    finish_reason: Finish
    logprobs: TextLogprobs | None = None


class TextCompletion(BaseModel):
    """A text continued."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


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


class Ready(BaseModel):
    """GET /readyz."""

    status: Literal["ready"] = "ready"


class ErrorDetail(BaseModel):
    """What went wrong; `param` names the part of the request, `code` is for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """Every answer that is none."""

    error: ErrorDetail = Field(description="One error, in OpenAI's shape")
