"""The OpenAI-compatible endpoints, and whether the server is up, ready and how it does."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from bedside.answer import answer
from bedside.records import Answer, Delta, GenerationOptions
from bedside.runtime.backend import Speaker
from bedside.serve import schema
from bedside.serve.desk import Desk
from bedside.serve.faults import STOPPING, Fault, Refused
from bedside.serve.forms import ChatForm, TextForm
from bedside.serve.reply import Reply
from bedside.serve.shapes import Completion, ErrorReply, Health, ModelCard, ModelList, Ready, TextCompletion
from bedside.serve.wire import ChatRequest, TextRequest

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "The request is refused; `error.message` says why"},
    500: {"model": ErrorReply, "description": "The model or the server failed"},
    502: {"model": ErrorReply, "description": "The remote server that was asked cannot be reached, or gives no answer"},
    503: {"model": ErrorReply, "description": "The server is being stopped, or the answer took too long"},
}
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "Whole, or as server-sent events"}
}


def add_api(app: FastAPI, desk: Desk) -> None:
    """Adds the endpoints."""
    _add_health(app, desk)
    _add_models(app, desk)
    _add_chat(app, desk)
    _add_completions(app, desk)


def _add_health(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz")
    async def health() -> Health:
        """Whether the server is up; asks for no key and tells nothing else."""
        return Health()

    @app.get("/readyz", responses={503: REFUSALS[503]})
    async def ready() -> Ready:
        """Whether the server takes requests: not while it is being stopped."""
        if desk.closing:
            raise Refused(STOPPING)
        return Ready()

    @app.get("/metrics", response_class=Response, responses=REFUSALS)
    async def metrics() -> Response:
        """Counts and times for Prometheus; no text, and no label that a client can make up. Asks for the key."""
        text, media_type = desk.metrics.page()
        return Response(text, media_type=media_type)


def _add_models(app: FastAPI, desk: Desk) -> None:
    created = int(time.time())

    @app.get("/v1/models", responses=REFUSALS)
    async def models() -> ModelList:
        """The models that are served, the default first."""
        return ModelList(data=[ModelCard(id=name, created=created) for name in desk.speakers])

    @app.get("/v1/models/{model:path}", responses=REFUSALS)
    async def model(model: str) -> ModelCard:
        """One model, by its name."""
        return ModelCard(id=desk.speaker(model).name, created=created)


def _add_chat(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/chat/completions", response_model=Completion, responses={**STREAM, **REFUSALS})
    async def chat_completions(asked: ChatRequest) -> Response:
        """Answers the last message; a stream of `chat.completion.chunk` events if `stream` is true."""
        speaker = desk.speaker(asked.model)
        options = asked.options(desk.settings)
        if options.schema and not speaker.constrains:
            message = f"response_format: '{speaker.name}' cannot be held to a format; a GGUF file can"
            raise Refused(Fault(400, message, param="response_format", code="unsupported_parameter"))
        form = ChatForm(speaker.name, asked.question, asked.wants_usage, options.logprobs is not None)
        return Reply(desk, speaker, lambda: _held(speaker, asked, options), form, stream=bool(asked.stream))


def _held(speaker: Speaker, asked: ChatRequest, options: GenerationOptions) -> Generator[Delta | Answer]:
    """An answer that follows its schema or is refused: an engine that gave up on one would not say so."""
    with closing(answer(speaker, asked.conversation, options)) as events:
        for event in events:
            if options.schema and isinstance(event, Answer) and event.finish == "stop" and not options.stop:
                schema.check_json(event.answer)
            yield event


def _add_completions(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/completions", response_model=TextCompletion, responses={**STREAM, **REFUSALS})
    async def completions(asked: TextRequest) -> Response:
        """Continues a raw text; a stream of `text_completion` chunks if `stream` is true."""
        speaker = desk.speaker(asked.model)
        options = asked.options(desk.settings)
        form = TextForm(speaker.name, asked.prompt, asked.wants_usage, options.logprobs is not None)
        return Reply(desk, speaker, lambda: speaker.complete(asked.prompt, options), form, stream=bool(asked.stream))
