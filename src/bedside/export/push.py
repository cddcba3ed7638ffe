"""A release → a repository on the hub: private unless it is said otherwise, and nothing but the release's files.

In: a folder that `bedside.export.verify` finds in order, and whose export was shown to say what was trained. Nothing is
sent before both are known, and before it has been said on stderr what will go where. The token is HF_TOKEN, or that of
`hf auth login`.
"""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bedside.errors import CheckFailed, MissingExtra, OfflineError, UsageError, first_line
from bedside.export import release
from bedside.export.card import is_verified
from bedside.export.verify import verify
from bedside.files import read_json
from bedside.models.hub import endpoint, is_transport, online, sending
from bedside.models.locate import HUB_ID
from bedside.progress import say

MESSAGE = "Release by bedside export"


def refuse_early(repository: str) -> None:
    """Raises UsageError for a name that is none and where nobody is logged in, OfflineError where no hub is."""
    if HUB_ID.fullmatch(repository) is None:
        raise UsageError(f"--push '{repository}': want ORG/NAME, such as my-hospital/my-model")
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        raise MissingExtra.named("--push", "train") from error
    if not online():
        why = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "no network"
        raise OfflineError(f"--push {repository}: {endpoint()} cannot be reached ({why}); nothing was sent")
    if get_token() is None:
        raise UsageError(f"--push {repository}: not logged in; set HF_TOKEN or run `hf auth login`")


def send(folder: Path, repository: str, public: bool) -> dict[str, Any]:
    """Creates the repository if need be and sends the release; returns `url`, `commit`, `files`, `bytes`, `private`.

    Raises CheckFailed if the release is not in order, UsageError if the repository is public and `public` was not said,
    OfflineError if the hub fails or refuses.
    """
    refuse_early(repository)
    paths = sendable(folder)
    size = sum((folder / path).stat().st_size for path in paths)
    whose = "public" if public else "private"
    say(f"push: {len(paths)} files, {size:,} bytes, to {endpoint()}/{repository} ({whose}):")
    for path in paths:
        say(f"push:   {path}  {(folder / path).stat().st_size:,} bytes")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    with _told(repository), sending():
        url = str(api.create_repo(repository, private=not public, exist_ok=True))
        private = bool(api.repo_info(repository).private)
        _refuse_public(repository, private, public)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[glob.escape(path) for path in paths],
            commit_message=MESSAGE,
        )
    return {"url": url, "commit": commit.oid, "files": len(paths), "bytes": size, "private": private}


def sendable(folder: Path) -> list[str]:
    """The paths of a release that may leave. Raises CheckFailed for one that is not in order, or is unverified."""
    found = verify(folder)
    if not found.ok:
        raise CheckFailed(f"{folder}: not verified, so nothing was sent: {found.problems[0]}")
    if not is_verified(read_json(folder / release.EXPORT)):
        raise CheckFailed(
            f"{folder}: unverified, so nothing was sent: the exported file was not shown to say what was trained"
        )
    return sorted([*release.sums(folder), release.SUMS])


def _refuse_public(repository: str, private: bool, public: bool) -> None:
    """`create_repo` leaves a repository that is there as it is, so that a private push could end up in the open."""
    if not public and not private:
        raise UsageError(f"--push {repository}: it is public, so nothing was sent; say --public, or take another name")


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """Translates what a hub may answer, and that it may not answer, into one line."""
    try:
        yield
    except (UsageError, MemoryError, RecursionError):
        raise
    except (ValueError, RuntimeError) as error:  # metadata that the hub does not take, an upload that failed
        raise OfflineError(f"--push {repository}: {_reason(error)}") from error
    except Exception as error:
        if not is_transport(error):
            raise
        raise OfflineError(f"--push {repository}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What the hub said, in one line with its status; of an upload that failed, the error behind it."""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return f"{first_line(error)} {_reason(error.__cause__)}"
    status = getattr(getattr(error, "response", None), "status_code", "")
    said = getattr(error, "server_message", None) or first_line(error)
    return " ".join(f"{f'{status}: ' if status else ''}{said}".split())
