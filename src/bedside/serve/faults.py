"""Refusals and failures as values, and as answers in OpenAI's error shape.

In: a validation error, an HTTP error of the framework, or whatever the model raised. Out: a `Fault` with one line for
the person and a code for the program. What a bug raises is logged by place only, since its message may quote a patient.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from bedside.errors import BedsideError, ContextTooLong, OfflineError, RemoteError, UsageError
from bedside.serve.shapes import ErrorDetail, ErrorReply
from bedside.serve.wire import HINTS, UNSUPPORTED

INVALID = "invalid_request_error"
RETRY_AFTER_S = 5
TIMEOUT = "answer_timeout"
log = logging.getLogger("bedside.serve")


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is none. `kind` and `code` are OpenAI's `type` and `code`."""

    status: int
    message: str
    kind: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> ErrorReply:
        """The JSON that is sent."""
        return ErrorReply(error=ErrorDetail(message=self.message, type=self.kind, param=self.param, code=self.code))

    @property
    def event(self) -> dict[str, Any]:
        """The JSON of it within a stream, where it is too late for a header: `retry_after` is in seconds."""
        after = self.headers.get("Retry-After")
        return self.body.model_dump() | ({"retry_after": int(after)} if after else {})

    @property
    def response(self) -> Response:
        """The HTTP response."""
        return JSONResponse(self.body.model_dump(), self.status, headers=dict(self.headers))


class Refused(Exception):
    """A request that is answered by a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


BUSY = Fault(
    429,
    "the model is busy and too many wait for it; try again in a few seconds",
    "rate_limit_error",
    code="server_busy",
    headers={"Retry-After": str(RETRY_AFTER_S)},
)
STOPPING = Fault(503, "the server is being stopped", "server_error", code="server_stopping")
NO_KEY = Fault(
    401,
    "this server wants its API key as 'Authorization: Bearer KEY'; the one sent is missing or wrong",
    "authentication_error",
    code="invalid_api_key",
    headers={"WWW-Authenticate": "Bearer"},
)
NO_JSON = Fault(400, "the body must be a JSON object in UTF-8, sent with Content-Type: application/json")
INTERNAL = Fault(500, "the server failed at this request; its log says where", "server_error", code="internal_error")


def too_long(limit_s: float) -> Fault:
    """An answer that takes longer than it may; to ask the same again would not help."""
    message = f"the answer took longer than {limit_s:g} seconds (serve.answer_s); ask for less (max_tokens)"
    return Fault(503, message, "server_error", code=TIMEOUT, headers={"X-Should-Retry": "false"})


def of_exception(error: Exception) -> Fault:
    """What the model, or the way to it, raised."""
    if isinstance(error, ContextTooLong):
        return Fault(400, str(error), param="messages", code="context_length_exceeded")
    if isinstance(error, UsageError):
        return Fault(400, str(error))
    if isinstance(error, (RemoteError, OfflineError)):
        return Fault(502, str(error), "server_error", code="upstream_error")
    if isinstance(error, BedsideError):
        return Fault(500, str(error), "server_error", code="model_error")
    log_place(error)
    return INTERNAL


def log_place(error: Exception) -> None:
    """Logs class and places of an exception, and neither its message nor a line of anybody's text."""
    while isinstance(error, ExceptionGroup):  # a task group's, whose own place says nothing
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    log.error("%s at %s", type(error).__name__, places)


def install(app: FastAPI) -> None:
    """Makes the framework's own errors speak OpenAI's shape too."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _of_validation(error.errors()).response

    @app.exception_handler(Refused)
    async def told(request: Request, error: Refused) -> Response:
        return error.fault.response

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # the framework's only one: the body is not what its Content-Type says
            return NO_JSON.response
        message = f"{request.method} {request.url.path}: {error.detail}"
        return Fault(error.status_code, message, headers=error.headers or {}).response


def _of_validation(details: Sequence[Mapping[str, Any]]) -> Fault:
    """The first thing that is wrong with a request. Quotes no input: it may be a patient's."""
    # A union reports one error for each of its branches; of these the length is the one that a person can mend.
    first = next((detail for detail in details if detail["type"] == "string_too_long"), details[0])
    param = _param(first["loc"][1:])
    if first["type"] == "json_invalid" or not param:
        return NO_JSON
    if param in UNSUPPORTED:
        message = f"'{param}' cannot be honoured by this server; leave it out"
        return Fault(400, message, param=param, code="unsupported_parameter")
    if param in HINTS and first["type"] not in ("string_too_long", "string_too_short", "value_error", "missing"):
        wanted = HINTS[param]
    elif param.endswith(".content") and first["type"] != "string_too_long":
        wanted = 'want text: a string, or parts like {"type": "text", "text": "…"}; nothing else can be read'
    else:
        wanted = first["msg"].removeprefix("Value error, ")
        wanted = wanted[:1].lower() + wanted[1:]
    return Fault(400, f"{param}: {wanted}", param=param, code=None if first["type"] == "value_error" else first["type"])


def _param(location: Sequence[str | int]) -> str:
    """`messages[0].role` of ("messages", 0, "role", …); what follows are pydantic's names of a union's branches."""
    if len(location) >= 3 and location[0] == "messages":
        return f"messages[{location[1]}].{location[2]}"
    if len(location) == 2 and location[0] == "messages":
        return f"messages[{location[1]}]"
    return str(location[0]) if location and isinstance(location[0], str) else ""
