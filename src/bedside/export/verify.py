"""A model card, wherever it lies → whether its files are the ones that it names, and its values what they hold.

In: a release folder. Out: `Verified`, with every difference as a line. The card says which files with which SHA-256,
and which value from which place. A hash or a value that was edited in the card no longer agrees with its file, a file
that was edited no longer with its hash, and `SHA256SUMS` holds the card's own. Whoever changes all of them alike is not
found out: the card is not signed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bedside.errors import BedsideError, DataError
from bedside.export import cited, release
from bedside.export.card import parsed
from bedside.files import sha256

LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class Verified:
    """How many files and values were read, and what is wrong with them: one line each, none if all hold."""

    files: int
    numbers: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all hold."""
        return not self.problems


def find(path: Path) -> Path:
    """The release folder that a card, its folder or a run means. Raises DataError if there is no card."""
    folder = path / "export" if (path / "export" / release.CARD).is_file() else path
    folder = folder if folder.is_dir() else folder.parent
    if path.is_file() and path.name != release.CARD:
        raise DataError(f"{path}: want the card of a release ({release.CARD}), its folder or a run")
    if not (folder / release.CARD).is_file():
        raise DataError(f"{path}: no model card ({release.CARD}) here; `bedside export RECIPE` writes one")
    return folder


def verify(folder: Path) -> Verified:
    """Reads everything again. Raises DataError if the card is none that `bedside export` wrote."""
    text = release.text(folder / release.CARD)
    named, claims = cited.hashes(text), cited.claims(text)
    if not named or not claims:
        raise DataError(f"{folder / release.CARD}: not a model card that `bedside export` wrote; it cites no file")
    changed = list(_changed(folder, named))
    problems = [*changed, *_wrong(folder, named, claims), *_uncited(text), *_unsealed(folder, named)]
    return Verified(len(named), len(claims), tuple(map(printable, problems)))


def printable(line: str) -> str:
    """A line for a terminal: what a card from elsewhere says may hold control characters, or be long."""
    return "".join(char if char.isprintable() else "?" for char in line[:LONGEST_LINE])


def _changed(folder: Path, named: Mapping[str, str]) -> Iterator[str]:
    """Files that are not what their hash says."""
    for path, expected in named.items():
        if not release.is_inside(path):
            yield f"{path}: not a path below the card's folder"
        elif not (folder / path).is_file():
            yield f"{path}: missing"
        elif (found := sha256(folder / path)) != expected:
            yield f"{path}: its SHA-256 is {found[:16]}…, the card says {expected[:16]}…"


def _wrong(folder: Path, named: Mapping[str, str], claims: list[cited.Claim]) -> Iterator[str]:
    """Values that the files do not hold, or not so."""
    contents: dict[str, Any] = {}
    for claim in claims:
        where = f"{release.CARD} line {claim.line}: '{claim.text}'"
        if not claim.place:
            yield f"{where} cites a place that is not listed"
        elif claim.path not in named or not release.is_inside(claim.path):
            yield f"{where} cites {claim.path}, which the card does not name with a SHA-256"
        elif (folder / claim.path).is_file():
            if claim.path not in contents:
                contents[claim.path] = _content(folder / claim.path)
            yield from (f"{where} {reason}" for reason in _reasons(claim, contents[claim.path]))


def _content(path: Path) -> Any:
    """What a cited file holds, or why it cannot be read."""
    try:
        return parsed(path) if path.stat().st_size <= release.LARGEST_TEXT else DataError("too large to be evidence")
    except (BedsideError, ValueError, RecursionError) as error:
        return error


def _reasons(claim: cited.Claim, content: Any) -> Iterator[str]:
    if isinstance(content, Exception):
        yield f"cites {claim.path}, which cannot be read"
        return
    try:
        if (actual := claim.actual(content)) != claim.text:
            yield f"is not what stands at {claim.place}: {actual}"
    except LookupError:
        yield f"cites {claim.place}, where nothing stands"
    except (ValueError, TypeError):
        yield f"cites {claim.place}, whose value cannot be written so"


def _uncited(text: str) -> Iterator[str]:
    yield from (f"{release.CARD} line {n}: '{rest}' has a number without a source" for n, rest in cited.uncited(text))
    yield from (f"{release.CARD}: {place} is listed as a source, and no value cites it" for place in cited.idle(text))


def _unsealed(folder: Path, named: Mapping[str, str]) -> Iterator[str]:
    """Whether `SHA256SUMS` lists the card as it is, and the files as the card names them."""
    try:
        sums = release.sums(folder)
    except DataError as error:
        yield str(error)
        return
    if sums.pop(release.CARD, "") != sha256(folder / release.CARD):
        yield f"{release.CARD}: changed since it was written, says {release.SUMS}"
    for path in sorted(sums.keys() | named.keys()):
        if sums.get(path) != named.get(path):
            yield f"{path}: the card and {release.SUMS} do not say the same of it"
