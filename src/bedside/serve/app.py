"""The ASGI app: the page, the OpenAI-compatible API and a health check around one speaker."""

import time
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from bedside import __version__
from bedside.recipe import ServeSection
from bedside.runtime.backend import Speaker
from bedside.serve import faults
from bedside.serve.access import Gate
from bedside.serve.reply import Desk, Reply
from bedside.serve.shapes import Completion, ErrorReply, Health, ModelCard, ModelList
from bedside.serve.wire import ChatRequest
from bedside.text.prompts import NOTICE

PAGE = Path(__file__).parent / "page"
ANY_MODEL = "bedside"
"""A model name that clients may always give, so that their settings outlive the model's name."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "The request is refused; `error.message` says why"},
    503: {"model": ErrorReply, "description": "Busy; `Retry-After` says when to come back"},
}


def create_app(
    speaker: Speaker, settings: ServeSection, *, slots: int = 1, api_key: str | None = None, warning: str = ""
) -> FastAPI:
    """The app; `slots` generations run at once, which the speaker must be able to. With a key, /v1/* asks for it.

    A `warning` of the model stands on the page before the notice.
    """
    # The interactive documentation pages load their script from a foreign host, so there are none.
    app = FastAPI(title="Bedside", version=__version__, description=NOTICE, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, host=settings.host, api_key=api_key)
    faults.install(app)
    app.state.desk = Desk(speaker, settings, slots)
    _add_api(app, app.state.desk)
    _add_page(app, f"{warning} {NOTICE}".strip())
    return app


def _add_api(app: FastAPI, desk: Desk) -> None:
    card = ModelCard(id=desk.speaker.name, created=int(time.time()))

    @app.get("/healthz")
    async def health() -> Health:
        """Whether the server is up; asks for no key and tells nothing else."""
        return Health()

    @app.get("/v1/models", responses=REFUSALS)
    async def models() -> ModelList:
        """The one model that is served."""
        return ModelList(data=[card])

    @app.post("/v1/chat/completions", response_model=Completion, responses=REFUSALS)
    async def chat_completions(asked: ChatRequest) -> Response:
        """Answers the last message; a stream of `chat.completion.chunk` events if `stream` is true."""
        if asked.model not in (None, ANY_MODEL, card.id):
            message = f"this server has the model '{card.id}' and no other; ask for that or for '{ANY_MODEL}'"
            return faults.Fault(404, message, param="model", code="model_not_found").response
        return Reply(desk, asked)


def _add_page(app: FastAPI, notice: str) -> None:
    page = Template((PAGE / "index.html").read_text(encoding="utf-8")).substitute(notice=escape(notice))
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    script = (PAGE / "page.js").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page)

    @app.get("/page.css", include_in_schema=False)
    async def page_style() -> Response:
        return Response(style, media_type="text/css")

    @app.get("/page.js", include_in_schema=False)
    async def page_script() -> Response:
        return Response(script, media_type="text/javascript")
