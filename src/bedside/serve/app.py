"""The ASGI app: the page, the OpenAI-compatible API and what watches over it, around one speaker or several."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from fastapi import FastAPI
from fastapi.responses import Response

from bedside import __version__
from bedside.recipe import ServeSection
from bedside.runtime.backend import Speaker
from bedside.serve import faults
from bedside.serve.access import Gate
from bedside.serve.api import add_api
from bedside.serve.audit import Audit
from bedside.serve.desk import Desk
from bedside.serve.embeddings import Embedder, add_embeddings
from bedside.serve.feedback import Feedback, add_feedback
from bedside.serve.guarded import add_guarded
from bedside.serve.guarded_wire import CaseRequest
from bedside.serve.keys import Keys
from bedside.serve.metrics import Meter
from bedside.text.prompts import DIFFICULTIES, NOTICE, SPECIALTIES

PAGE = Path(__file__).parent / "page"
USUAL = str(CaseRequest.model_fields["difficulty"].default)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def create_app(
    speakers: Sequence[Speaker],
    settings: ServeSection,
    *,
    slots: int = 1,
    keys: Keys | None = None,
    warning: str = "",
    audit: Audit | None = None,
    feedback: Feedback | None = None,
    embedder: Embedder | None = None,
) -> FastAPI:
    """The app. The first speaker answers where none is named; each gives `slots` answers at once, which it must be
    able to. With keys, /v1/* and /metrics ask for one. A `warning` of the model stands on the page before the notice.
    """
    # The interactive documentation pages load their script from a foreign host, so there are none; what FastAPI would
    # tell of requests, by itself and to wherever the environment says, would leave the machine.
    app = FastAPI(
        title="Bedside", version=__version__, description=NOTICE, docs_url=None, redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )  # fmt: skip
    app.state.desk = desk = Desk(speakers, settings, slots, audit)
    app.add_middleware(Gate, settings=settings, keys=keys, audit=audit)
    app.add_middleware(Meter, metrics=desk.metrics)
    faults.install(app)
    add_api(app, desk)
    add_guarded(app, desk)
    add_embeddings(app, embedder, settings)
    add_feedback(app, feedback)
    _add_page(app, f"{warning} {NOTICE}".strip(), settings.max_tokens)
    return app


def _add_page(app: FastAPI, notice: str, longest: int) -> None:
    """Every file of the page under its own name.

    `index.html`, at /, gets the notice, what cases may be of, and how many tokens an answer has at most.
    """
    filled = {
        "notice": escape(notice),
        "longest": str(longest),
        "specialties": _options(SPECIALTIES),
        "difficulties": _options(DIFFICULTIES, USUAL),
    }
    for path in sorted(PAGE.iterdir()):
        if path.suffix in TYPES:
            text = path.read_text(encoding="utf-8")
            at_root = path.name == "index.html"
            text = Template(text).substitute(filled) if at_root else text
            _add_file(app, "/" if at_root else f"/{path.name}", text, TYPES[path.suffix])


def _options(names: Iterable[str], usual: str = "") -> str:
    """HTML of a list to choose from, the first chosen unless there is a usual one."""
    return "".join(f"<option{' selected' * (name == usual)}>{escape(name)}</option>" for name in names)


def _add_file(app: FastAPI, url: str, text: str, media_type: str) -> None:
    @app.get(url, include_in_schema=False)
    async def file() -> Response:
        return Response(text, media_type=media_type)
