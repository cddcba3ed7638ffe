"""Opens the port, and serves until interrupted: an app in, one line with the URL out (on stderr)."""

import asyncio
import errno
import ipaddress
import socket
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bedside.errors import UsageError
from bedside.progress import say
from bedside.recipe import ServeSection
from bedside.serve.keys import Keys

ABORT_S = 15
"""An answer that must end does so at its next token; this long at most, should the model be reading a long prompt."""
REQUEST_S = 10
"""A client that has not sent the head of a request by then keeps a connection busy on purpose, or is lost."""
MAX_HEAD_BYTES = 2**20
"""A request without its body: its head, the sizes of its chunks, its trailers. httptools joins them without a bound."""
STALLED_S = 60
"""A client that takes nothing of what waits for it for so long is hung up on, whatever is lost."""
CONNECTIONS = 512
"""Open at once; who asks on one more is told 503."""
TURNED_AWAY = 128
"""Those that can be told so; further ones are hung up on without a word, since each takes a file of the process."""


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Says the URL on stderr and blocks until Ctrl-C, then raises KeyboardInterrupt."""
    server = Server(app)
    say(f"Bedside is at {url_of(listener)} (Ctrl-C stops it)")
    server.run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn, quiet, which at the first Ctrl-C lets running answers end, and at the second ends them."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Impatient,
                ws="none",
                access_log=False,
                log_level="critical",  # the Gate tells of bugs; strangers must not be able to fill the terminal
                server_header=False,
                proxy_headers=False,  # whoever asks could else choose the address that requests are counted by
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=ABORT_S,
            )
        )
        self._desk = app.state.desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn. Until the answers have ended the port stays open, so that others are told 503 and no riddle."""
        self._desk.closing = True
        await self._grace()
        self._desk.abort()
        await super().shutdown(sockets)

    async def _grace(self) -> None:
        grace_s = self._desk.settings.grace_s
        if self._desk.busy:
            count = f"{self._desk.busy} answer{'s' * (self._desk.busy > 1)}"
            say(f"bedside: {count} may end within {grace_s:g} s, nothing new is taken; Ctrl-C again ends at once")
        until = time.monotonic() + grace_s
        while self._desk.busy and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self.force_exit = False  # the second Ctrl-C ends answers with a word; a third one ends the process


class _Impatient(HttpToolsProtocol):
    """uvicorn's protocol with bounds on clients that keep a connection and do not ask, or do not listen."""

    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that pause_writing tells of every byte that is not taken
        self._wait()
        if len(self.connections) > CONNECTIONS + TURNED_AWAY:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        elif self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        """See httptools."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._head_bytes -= len(body)
        super().on_body(body)

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._listens()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._stop_waiting()
        self._listens()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(REQUEST_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _listens(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def listen(settings: ServeSection, keys: Keys | None = None) -> socket.socket:
    """A listening socket.

    Raises UsageError if the port is taken, not allowed, the host is not this machine's, or others than this machine
    can reach the address and there is no key.
    """
    if is_open(settings) and not keys:
        raise UsageError(
            f"{_where(settings)}: others could ask here, and there is no API key; make one with"
            " `bedside serve --new-key NAME`, or use serve.host = '127.0.0.1'"
        )
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except socket.gaierror as error:
        raise UsageError(f"{_where(settings)}: no such host; use 127.0.0.1") from error
    except OSError as error:
        raise UsageError(f"{_where(settings)}: {_advice(error)}") from error


def url_of(listener: socket.socket) -> str:
    """What to open in the browser; a wildcard address is shown as loopback."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_open(settings: ServeSection) -> bool:
    """Whether others than this machine can reach the server: by its address, or through a proxy before it."""
    return bool(settings.names) or not is_loopback(settings.host)


def meaning_of_open(settings: ServeSection) -> str:
    """Two lines on what a server that others can reach is."""
    wild = settings.host in ("0.0.0.0", "::")
    reach = "every network that this machine is in" if wild else f"whoever can reach {settings.host}"
    return (
        f"bedside: {reach} can open this page and, with a key, ask; keys and questions are sent as plain HTTP.\n"
        "bedside: put a proxy with TLS before it (serve.host = '127.0.0.1', serve.names), and a firewall around it."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _where(settings: ServeSection) -> str:
    names = f", serve.names = {', '.join(settings.names)}" if settings.names else ""
    return f"serve.host = '{settings.host}', serve.port = {settings.port}{names}"


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another program; stop it, or take a free one with --port 0"
        case errno.EACCES:
            return "this port needs administrator rights; take one above 1023"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1"
    return f"cannot listen there ({error.strerror})"
