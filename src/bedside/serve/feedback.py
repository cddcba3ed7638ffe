"""Thumbs and comments: a line of JSON each in a local file (0600), for whoever improves the model.

In: the body of POST /v1/feedback. Out: one line with its time. Question and answer stand there only if the client sends
them, which the page asks a person for each time.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import Field

from bedside.errors import RunError
from bedside.progress import say
from bedside.serve import private
from bedside.serve.access import KEY_NAME
from bedside.serve.api import REFUSALS
from bedside.serve.faults import Fault, Refused
from bedside.serve.wire import Body, Text

MAX_BYTES = 64 * 2**20
"""Of the file: nobody who may only ask should be able to fill the disk."""
COMMENT_CHARACTERS = 4000

NONE_TAKEN = Fault(404, 'this server takes no feedback (serve.feedback = "")', code="no_feedback")
FULL = Fault(409, f"the file of feedback has {MAX_BYTES // 2**20} MiB; move it away", code="feedback_full")
NOT_KEPT = Fault(503, "this could not be kept; see the server's terminal", "server_error", code="feedback_failed")


class FeedbackRequest(Body):
    """POST /v1/feedback."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
    """The id of the answer."""
    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=COMMENT_CHARACTERS)] | None = None
    model: Annotated[str, Field(max_length=500)] | None = None
    question: Text | None = None
    """Only with the consent of whoever asked: it is stored."""
    answer: Text | None = None
    """Only with the consent of whoever asked: it is stored."""


class Feedback:
    """The file."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now

    def store(self, said: FeedbackRequest, key_name: str | None = None) -> None:
        """Appends a line. Raises Refused if the file is full or cannot be written."""
        values = {"time": self._now().isoformat(timespec="seconds"), "key_name": key_name, **said.model_dump()}
        line = json.dumps({name: value for name, value in values.items() if value is not None})
        try:
            has_room = private.append(self.path, line, MAX_BYTES)
        except RunError as error:
            say(f"bedside: {error}")
            raise Refused(NOT_KEPT) from error
        if not has_room:
            raise Refused(FULL)


def add_feedback(app: FastAPI, feedback: Feedback | None) -> None:
    """Adds the endpoint; without a file it says that none is taken."""

    @app.post("/v1/feedback", status_code=204, response_class=Response, responses=REFUSALS)
    async def give_feedback(said: FeedbackRequest, request: Request) -> None:
        """Keeps a thumb and a comment in a file of this machine."""
        if feedback is None:
            raise Refused(NONE_TAKEN)
        await run_in_threadpool(feedback.store, said, getattr(request.state, KEY_NAME))
