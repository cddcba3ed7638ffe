"""Opens the port, and serves until interrupted: settings in, one line with the URL out (on stderr)."""

import errno
import ipaddress
import socket

import uvicorn
from fastapi import FastAPI

from bedside.errors import UsageError
from bedside.progress import say
from bedside.recipe import ServeSection
from bedside.runtime.backend import Speaker
from bedside.serve.access import Keys
from bedside.serve.app import create_app

GRACE_S = 15
"""At Ctrl-C an answer ends at its next token; this long at most, should the model be reading a long prompt."""


def serve(
    speaker: Speaker,
    settings: ServeSection,
    listener: socket.socket,
    *,
    slots: int,
    api_key: str | None = None,
    warning: str = "",
) -> None:
    """Says the URL on stderr and blocks until Ctrl-C, then raises KeyboardInterrupt."""
    server = Server(
        create_app([speaker], settings, slots=slots, keys=Keys(api_key) if api_key else None, warning=warning)
    )
    say(f"Bedside is at {url_of(listener)} (Ctrl-C stops it)")
    server.run(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn, quiet, which at shutdown ends the answers that are being written before it waits for them."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app, access_log=False, log_level="warning", server_header=False, timeout_graceful_shutdown=GRACE_S
            )
        )
        self._desk = app.state.desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._desk.closing = True
        self._desk.abort()
        await super().shutdown(sockets)


def listen(settings: ServeSection, api_key: str | None = None) -> socket.socket:
    """A listening socket.

    Raises UsageError if the port is taken, not allowed, the host is not this machine's, or the address is open to the
    network and there is no key.
    """
    if not is_loopback(settings.host) and not api_key:
        raise UsageError(
            f"serve.host = '{settings.host}' is open to the network and there is no API key;"
            " give one with --api-key, or use serve.host = '127.0.0.1'"
        )
    where = f"serve.host = '{settings.host}', serve.port = {settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except socket.gaierror as error:
        raise UsageError(f"{where}: no such host; use 127.0.0.1") from error
    except OSError as error:
        raise UsageError(f"{where}: {_advice(error)}") from error


def url_of(listener: socket.socket) -> str:
    """What to open in the browser; a wildcard address is shown as loopback."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another program; stop it, or take a free one with --port 0"
        case errno.EACCES:
            return "this port needs administrator rights; take one above 1023"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1"
    return f"cannot listen there ({error.strerror})"
