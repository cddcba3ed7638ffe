"""Who is let in: ASGI middleware in front of everything.

A private server on loopback can still be reached by any page that the same browser has open. Against that stand: only
our own host names (DNS rebinding), no foreign Origin (cross-site requests), JSON bodies only (FastAPI's check) and no
CORS; against a stolen look at the answers: a key, and headers that let the page load and call nothing but this server.
"""

import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bedside.serve.faults import INTERNAL, NO_KEY, Fault, log_place

MAX_BODY_BYTES = 4 * 2**20
"""Above 200,000 characters with every one written as a JSON escape."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Keys:
    """The one key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def matches(self, key: str) -> str | None:
        """Whose key it is."""
        return "api-key" if hmac.compare_digest(key.encode("latin-1"), self._key) else None


class Gate:
    """Refuses strangers, bounds the body, adds the security headers, and keeps a bug's message out of the log."""

    def __init__(self, app: ASGIApp, host: str, keys: Keys | None = None) -> None:
        self.app = app
        self.host = host
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry; lifespan events pass untouched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sender = _Sender(send)
        fault = self._refusal(scope["path"], Headers(scope=scope))
        try:
            if fault:
                await fault.response(scope, receive, sender)
            else:
                await self.app(scope, _bounded(receive), sender)
        except Exception as error:  # noqa: BLE001 - the framework would log the message, which may quote a patient
            log_place(error)
            if not sender.started:
                await INTERNAL.response(scope, receive, sender)

    def _refusal(self, path: str, headers: Headers) -> Fault | None:
        host = headers.get("host", "")
        if not self._is_ours(_name(host)):
            message = f"this server does not answer to the host name '{_name(host)[:100]}'; use the address it printed"
            return Fault(403, message, "permission_error", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            message = "requests from other web sites are refused"
            return Fault(403, message, "permission_error", code="origin_not_allowed")
        if (path.startswith("/v1/") or path == "/metrics") and not self._has_key(headers.get("authorization", "")):
            return NO_KEY
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return Fault(413, _TOO_LARGE, code="request_too_large")
        return None

    def _is_ours(self, name: str) -> bool:
        """Rebinding needs a name that the attacker owns, so with a wildcard host every bare address is ours."""
        if name in LOOPBACK_NAMES or name == self.host.lower():
            return True
        return self.host in WILDCARDS and (_is_address(name) or name == socket.gethostname().lower())

    def _has_key(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        return not self.keys or (scheme.lower() == "bearer" and self.keys.matches(key.strip()) is not None)


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


def _bounded(receive: Receive) -> Receive:
    """`receive` for bodies that come in pieces and do not tell their length beforehand."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
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
