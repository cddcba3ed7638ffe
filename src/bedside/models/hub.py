"""The one place that lets a stage reach a hub: fails at once and in one line when there is no network."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from bedside.errors import BedsideError, ModelError, OfflineError, first_line

HUB = "https://huggingface.co"
CONNECT_TIMEOUT_S = 3.0
PORTS = {"http": 80, "https": 443}


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or huggingface.co."""
    return os.environ.get("HF_ENDPOINT", HUB)


def online() -> bool:
    """Whether the hub can be connected to; behind a proxy the proxy is left to say."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = urlsplit(endpoint())
    if address.scheme in getproxies():
        return True
    try:
        socket.create_connection(
            (address.hostname or "", address.port or PORTS.get(address.scheme, 443)), CONNECT_TIMEOUT_S
        ).close()
    except OSError:
        return False
    return True


@contextmanager
def reach(kind: str, name: str, instead: str) -> Iterator[None]:
    """Runs a hub call, from the local cache where there is no network, and translates its failures.

    Raises OfflineError ("no network, and not in the cache") or ModelError (no such repository, no access).
    """
    from huggingface_hub import constants, errors

    connected = online()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = not connected
    try:
        yield
    except (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        reason = first_line(error)
        raise ModelError(f"{kind} '{name}': {reason}; check the name, or log in with `hf auth login`") from error
    except Exception as error:
        if not is_transport(error):
            raise
        if connected and isinstance(error, OSError) and not isinstance(error, ConnectionError):
            raise ModelError(f"{kind} '{name}': {first_line(error)}") from error
        raise OfflineError(
            f"{kind} '{name}': the hub cannot be reached and it is not in the cache; {instead}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def sending() -> Iterator[None]:
    """Runs an upload by huggingface_hub's own client alone, and to a hub of one's own (HF_ENDPOINT) on that host alone.

    An installed hf_xet would send large files by itself to whatever server the hub names. In git-lfs' protocol too the
    hub names it: of huggingface.co that is taken, of another, which may be a mirror, not. Raises OfflineError before
    anything is sent to another host.
    """
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http

    own = urlsplit(endpoint()).hostname
    before = constants.HF_HUB_DISABLE_XET

    def refuse_others(request: Any) -> None:
        if own != urlsplit(HUB).hostname and request.url.host != own:
            told = f"the hub wants files sent to '{request.url.host}', which is not HF_ENDPOINT's host"
            raise OfflineError(f"{told}; nothing was sent there")

    def watched() -> Any:
        client = _http.default_client_factory()
        client.event_hooks["request"].append(refuse_others)
        return client

    constants.HF_HUB_DISABLE_XET = True
    set_client_factory(watched)
    try:
        yield
    finally:
        set_client_factory(_http.default_client_factory)
        constants.HF_HUB_DISABLE_XET = before


def dataset_revision(name: str, subset: str | None) -> str | None:
    """The commit of a data set that was read a moment ago; None if it can no longer be told."""
    from datasets import load_dataset_builder

    try:
        with reach("data set", name, ""):
            return str(load_dataset_builder(name, subset).hash)
    except (BedsideError, ValueError):
        return None


def is_transport(error: Exception) -> bool:
    """Whether a failure is the network's; the HTTP and data set libraries have errors that are no OSErrors."""
    libraries = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or package in libraries or type(error).__module__ == "datasets.exceptions"
