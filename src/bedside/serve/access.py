"""Who is let in, how often, and how much they may send: ASGI middleware in front of everything.

A private server on loopback can still be reached by any page that the same browser has open. Against that stand: only
our own host names (DNS rebinding), no foreign Origin and no cross-site fetch, JSON bodies only (FastAPI's check) and no
CORS; against a stolen look at the answers: a key, and headers that let the page load and call nothing but this server;
against a flood: requests a minute for each key or address, bytes and seconds for each body.
"""

import ipaddress
import math
import socket
import time
from urllib.parse import urlsplit

from anyio import CancelScope, current_time
from fastapi import HTTPException
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bedside.recipe import ServeSection
from bedside.serve.audit import Audit
from bedside.serve.faults import INTERNAL, NO_KEY, Fault, log_place
from bedside.serve.keys import Keys

MAX_BODY_BYTES = 4 * 2**20
"""Above 200,000 characters with every one written as a JSON escape."""
BODY_S = 30.0
"""A client that has not sent its body by then keeps a connection busy on purpose, or is lost."""
KEY_NAME = "key_name"
"""Where a request's `state` holds the name of its key; None where no key is asked for."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "X-DNS-Prefetch-Control": "off",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """Refuses strangers, bounds requests, adds the security headers, and keeps a bug's message out of the log.

    Once a line of the audit log, if there is one, could not be written, no further request is let in.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSection, keys: Keys | None = None, audit: Audit | None = None
    ) -> None:
        self.app = app
        self.host = settings.host.lower()
        self.names = LOOPBACK_NAMES | {self.host, *map(str.lower, settings.names)}
        self.keys = keys
        self.audit = audit
        self._pace = _Pace(settings.requests_per_minute) if settings.requests_per_minute else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry; lifespan events pass untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sender = _Sender(send)
        headers = Headers(scope=scope)
        try:
            fault = self._foreign(scope["path"], headers) or await self._unwelcome(scope, headers)
            if fault:
                await fault.response(scope, receive, sender)
            else:
                await self.app(scope, _bounded(receive), sender)
        except Exception as error:  # noqa: BLE001 - the framework would log the message, which may quote a patient
            log_place(error)
            if not sender.started:
                await INTERNAL.response(scope, receive, sender)

    def _foreign(self, path: str, headers: Headers) -> Fault | None:
        """What another web site has sent, through the browser of somebody who may ask here."""
        host = headers.get("host", "")
        if not self._is_ours(_name(host)):
            message = f"this server does not answer to the host name '{_name(host)[:100]}'; use the address it printed"
            return Fault(403, message, "permission_error", code="host_not_allowed")
        origin = headers.get("origin")
        followed = headers.get("sec-fetch-mode") == "navigate" and not _is_api(path)  # a link to the page is no harm
        fetched = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if (origin is not None and origin.partition("://")[2].lower() != host.lower()) or (fetched and not followed):
            message = "requests from other web sites are refused"
            return Fault(403, message, "permission_error", code="origin_not_allowed")
        return None

    async def _unwelcome(self, scope: Scope, headers: Headers) -> Fault | None:
        """Who comes too often, without a key, or with too much. A wrong key counts as no key, so guessing is slow."""
        path, length = scope["path"], headers.get("content-length", "0")
        if not _is_api(path):
            return None
        name = self._key_name(headers.get("authorization", ""))
        scope.setdefault("state", {})[KEY_NAME] = name
        if self._pace and (wait_s := await self._pace.wait_s(name or scope["client"][0])):
            return _too_often(self._pace.per_minute, wait_s)
        if self.keys and name is None:
            return NO_KEY
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return Fault(413, _TOO_LARGE, code="request_too_large")
        if self.audit and scope["method"] == "POST" and self.audit.fault:
            return UNLOGGED
        return None

    def _is_ours(self, name: str) -> bool:
        """Rebinding needs a name that the attacker owns, so with a wildcard host every bare address is ours."""
        if name in self.names:
            return True
        return self.host in WILDCARDS and (_is_address(name) or name == socket.gethostname().lower())

    def _key_name(self, authorization: str) -> str | None:
        scheme, _, key = authorization.partition(" ")
        if not self.keys or scheme.lower() != "bearer":
            return None
        return self.keys.matches(key.strip().encode("latin-1").decode("utf-8", "surrogateescape"))


class _Pace:
    """How often each caller may come."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._limit = RateLimitItemPerMinute(per_minute)
        self._window = FixedWindowRateLimiter(MemoryStorage())

    async def wait_s(self, who: str) -> int:
        """Counts a request; the seconds after which to come back, 0 if it may go on."""
        if await self._window.hit(self._limit, who):
            return 0
        return max(1, math.ceil((await self._window.get_window_stats(self._limit, who)).reset_time - time.time()))


class _Sender:
    """Adds the security headers to whatever is sent, and remembers whether anything was."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await self._send(message)


_TOO_LARGE = f"the request is larger than {MAX_BODY_BYTES // 2**20} MiB"
UNLOGGED = Fault(
    503, "the audit log cannot be written, so nothing is answered; see the server's terminal", "server_error",
    code="audit_failed",
)  # fmt: skip


def _too_often(per_minute: int, wait_s: int) -> Fault:
    message = f"more than {per_minute} requests a minute (serve.requests_per_minute); come back in {wait_s} s"
    return Fault(429, message, "rate_limit_error", code="rate_limit_exceeded", headers={"Retry-After": str(wait_s)})


def _is_api(path: str) -> bool:
    """What asks for a key, if there is one: everything but the page and the word that the server is up."""
    return path.startswith("/v1/") or path == "/metrics"


def _bounded(receive: Receive) -> Receive:
    """`receive` for bodies that come in pieces: they may not tell their length beforehand, or never end."""
    taken, whole, until = 0, False, current_time() + BODY_S

    async def counted() -> Message:
        nonlocal taken, whole
        with CancelScope(deadline=math.inf if whole else until) as patience:
            message = await receive()
        if patience.cancelled_caught:
            raise HTTPException(408, f"the body did not arrive within {BODY_S:g} seconds")
        whole = not message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return counted


def _name(host: str) -> str:
    """Host header → bare lower-case name or address: "[::1]:8000" → "::1"."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
