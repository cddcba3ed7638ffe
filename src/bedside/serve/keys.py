"""API keys: a file of names and hashes, of which the keys themselves cannot be found again.

In: `NAME SHA-256` a line, read once at a server's start. Out: whose key a request carries. A key that is
made here has 256 random bits, so that a plain SHA-256 of it can neither be guessed nor looked up; slow hashes are for
what people choose.
"""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from bedside.errors import UsageError
from bedside.serve import private

KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")
GIVEN = "api-key"
"""The name of the key that the command line or BEDSIDE_API_KEY gives."""


@dataclass(frozen=True, slots=True)
class Keys:
    """SHA-256 of each key, in hex, by its name. False where there are none, so that nobody is asked for one."""

    hashes: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def matches(self, key: str) -> str | None:
        """The name of a key. Takes as long for a wrong key as for a right one, whichever it is."""
        asked, found = _hash(key), None
        for name, known in self.hashes:
            if hmac.compare_digest(asked, known):
                found = name
        return found

    def with_given(self, key: str | None) -> "Keys":
        """These and one that is not in the file; an empty variable of the environment is no key."""
        return Keys((*self.hashes, (GIVEN, _hash(key)))) if key else self


def default_file() -> Path:
    """Where keys are kept: `bedside/keys` below XDG_CONFIG_HOME."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "bedside" / "keys"


def read(path: Path) -> Keys:
    """The keys of a file, none if there is no file. Raises UsageError with the line that is not `NAME SHA-256`."""
    hashes: list[tuple[str, str]] = []
    for number, line in enumerate(private.read(path).decode("utf-8", "replace").splitlines(), 1):
        name, _, digest = line.partition(" ")
        if not KEY_NAME.fullmatch(name) or not SHA256.fullmatch(digest):
            raise UsageError(f"{path} line {number}: not 'NAME SHA-256'; take the line out and make a new key")
        hashes.append((name, digest))
    return Keys(tuple(hashes))


def new(name: str, path: Path) -> str:
    """Makes a key, appends its name and hash to the file, and returns the only copy of the key itself."""
    if not KEY_NAME.fullmatch(name):
        raise UsageError(f"--new-key '{name[:100]}': a name has letters, digits, dot, dash and underscore, 100 at most")
    if name in dict(read(path).hashes) or name == GIVEN:
        raise UsageError(f"{path}: there is a key named '{name}'; take its line out, or choose another name")
    key = f"bedside-{secrets.token_urlsafe(32)}"
    private.append(path, f"{name} {_hash(key)}")
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
