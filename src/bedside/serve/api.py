"""The OpenAI-compatible endpoints, and whether the server is up and ready."""

import time
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from bedside.answer import answer
from bedside.serve.desk import Desk
from bedside.serve.faults import STOPPING, Refused
from bedside.serve.forms import ChatForm
from bedside.serve.reply import Reply
from bedside.serve.shapes import Completion, ErrorReply, Health, ModelCard, ModelList, Ready
from bedside.serve.wire import ChatRequest

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "The request is refused; `error.message` says why"},
    503: {"model": ErrorReply, "description": "The server is being stopped, or the answer took too long"},
}


def add_api(app: FastAPI, desk: Desk) -> None:
    """Adds the endpoints."""
    _add_health(app, desk)
    _add_models(app, desk)
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


def _add_completions(app: FastAPI, desk: Desk) -> None:
    @app.post("/v1/chat/completions", response_model=Completion, responses=REFUSALS)
    async def chat_completions(asked: ChatRequest) -> Response:
        """Answers the last message; a stream of `chat.completion.chunk` events if `stream` is true."""
        speaker = desk.speaker(asked.model)
        options = asked.options(desk.settings)
        form = ChatForm(speaker.name, asked.question, asked.wants_usage)
        return Reply(
            desk, speaker, lambda: answer(speaker, asked.conversation, options), form, stream=bool(asked.stream)
        )
