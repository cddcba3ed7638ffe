"""The audit log: what was asked of which model when, without a word of it, so that a change to it is seen.

In: an `Entry` for each answer. Out: a line of JSON each, with its own number and the SHA-256 of the line before it (a
hash chain: Schneier and Kelsey 1999, "Secure audit logs to support computer forensics"). Texts stand there as HMACs,
since a plain hash of a short text is found by trying; their key lies beside the log.

A chain alone does not see its end cut off. So what was written last also stands in a head file, signed with that key,
which is written first: a line that a power cut has kept from the log is put there by whoever opens the log next.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from bedside.errors import RunError
from bedside.progress import say
from bedside.serve import private

NO_LINE = "0" * 64
"""What the first line holds in the place of the hash of the line before it."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of one answer. `key_name` is None where no key is asked for; HMACs are `Audit.mark` of the texts.

    `finish` is "stop" or "length", or why there is no whole answer: "gone", "timeout", "error". `flags` are the ids of
    the rules that triage found.
    """

    answer_id: str
    endpoint: str
    model: str
    key_name: str | None
    prompt_hmac: str
    prompt_characters: int
    answer_hmac: str
    answer_characters: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finish: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log looks like: its lines, the times and the SHA-256 of the last, and the first fault or ""."""

    lines: int
    first: str = ""
    last: str = ""
    sha256: str = NO_LINE
    fault: str = ""


class Audit:
    """A log that is being written, by any number of processes. Raises RunError if what is there has a fault."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now
        self._waiting: deque[dict[str, object]] = deque()
        self._fault = ""
        with private.locked(path) as file:
            self._key = _own_key(path, is_new=os.fstat(file.fileno()).st_size == 0)
            fault = _settled(file, path, self._key) or _walked(file, path, self._key).fault
        if fault:
            raise RunError(f"{path}: {fault}; keep this folder, and move it away so that a new log begins")
        self._writer = ThreadPoolExecutor(1, "audit")  # so that nobody's answer waits for the disk

    def mark(self, text: str) -> str:
        """HMAC-SHA-256 of a text, in hex."""
        return _hmac(self._key, b"text", text.encode("utf-8", "surrogatepass"))

    def record(self, entry: Entry) -> None:
        """Has a line written, with the present time. Returns at once; see `fault`."""
        time = self._now().isoformat(timespec="milliseconds")
        self._waiting.append({"time": time, **asdict(entry)})
        self._writer.submit(self._write_all)

    @property
    def fault(self) -> str:
        """Why lines cannot be written now, or "". Asking has them tried again, so that a mended disk is enough."""
        if self._fault:
            self._writer.submit(self._write_all)
        return self._fault

    def close(self) -> None:
        """Waits until all is written."""
        self._writer.shutdown()

    def _write_all(self) -> None:
        try:
            self._append()
            self._fault = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, answers must not go on without a log
            if not self._fault:
                say(f"bedside: no more answers until the audit log can be written: {error}")
            self._fault = str(error) or type(error).__name__

    def _append(self) -> None:
        """Writes what waits: those of a busy time together, since a disk may take a second for each."""
        entries = list(self._waiting)
        if not entries and not self._fault:
            return
        with private.locked(self.path) as file:
            fault = _settled(file, self.path, self._key)
            if fault:
                raise RunError(f"{self.path}: {fault}")
            if not entries:
                return
            head = _Head.read(self.path, self._key)
            sequence, previous, lines = head.sequence if head else 0, _sha256(head.last) if head else NO_LINE, b""
            for values in entries:
                sequence += 1
                line = json.dumps({"sequence": sequence, "previous": previous, **values}).encode()
                previous, lines = _sha256(line), lines + line + b"\n"
            _Head(os.fstat(file.fileno()).st_size, lines).write(self.path, self._key)
            for _ in entries:  # the head has them now: should the log be full, they are written from there
                self._waiting.popleft()
            private.write(file, lines)


def verify(path: Path) -> Verdict:
    """Reads a log, its head and its key. Raises RunError if there is no log, or if it cannot be read."""
    with private.reading(path) as file:
        return _walked(file, path, private.read(_key_file(path)))


@dataclass(frozen=True, slots=True)
class _Head:
    """The lines that were written last, and the place in the log where they begin."""

    offset: int
    lines: bytes

    @property
    def last(self) -> bytes:
        return self.lines.splitlines()[-1]

    @property
    def sequence(self) -> int:
        return _parsed(self.last)[0]

    @property
    def end(self) -> int:
        return self.offset + len(self.lines)

    @classmethod
    def read(cls, path: Path, key: bytes) -> "_Head | None":
        """None if there is none. Raises RunError if it is not signed with this key."""
        signature, _, signed = private.read(_head_file(path)).partition(b"\n")
        if not signature and not signed:
            return None
        if not hmac.compare_digest(signature, _hmac(key, b"head", signed).encode()):
            raise RunError(f"{_head_file(path)}: not what was written there, or not with {_key_file(path)}")
        offset, _, lines = signed.partition(b"\n")
        return cls(int(offset), lines)

    def write(self, path: Path, key: bytes) -> None:
        signed = b"%d\n%b" % (self.offset, self.lines)
        private.replace(_head_file(path), _hmac(key, b"head", signed).encode() + b"\n" + signed)


def _settled(file: BinaryIO, path: Path, key: bytes) -> str:
    """Writes what a power cut has kept from the log. Gives the fault if the log ends otherwise than its head says."""
    try:
        head = _Head.read(path, key)
    except RunError as error:
        return str(error)
    size = os.fstat(file.fileno()).st_size
    if head is None:
        return f"its head {_head_file(path).name} is missing" if size else ""
    rest = os.pread(file.fileno(), len(head.lines) + 1, head.offset)
    if size < head.offset or not head.lines.startswith(rest):
        return _walked(file, path, key).fault
    if len(rest) < len(head.lines):
        private.write(file, head.lines[len(rest) :])
    return ""


def _walked(file: BinaryIO, path: Path, key: bytes) -> Verdict:
    """Follows the chain from the first line, and holds its end against the head."""
    lines, first, last, previous, line, offset, fault = 0, "", "", NO_LINE, b"", 0, ""
    for number, raw, after in _with_next(file):
        said = _parsed(raw)
        fault = _fault_of(number, raw, said, previous, after)
        if fault:
            break
        line, offset, lines, last = raw[:-1], offset + len(raw), number, said[2]
        first, previous = first or last, _sha256(line)
    return Verdict(lines, first, last, previous, fault or _fault_of_end(lines, line, offset, path, key))


def _fault_of(number: int, raw: bytes, said: tuple[int, str, str], before: str, after: bytes) -> str:
    """What is wrong with a line, which the lines around it tell; `before` is the SHA-256 of the line before it."""
    sequence, previous, _ = said
    if not raw.endswith(b"\n"):
        return f"line {number} is not whole"
    if sequence == 0:
        return f"line {number} is not a line of this log"
    if previous == before:
        return "" if sequence == number else f"line {number} was changed"
    if sequence > number:
        return (
            f"line {number} says that it is line {sequence}: lines {number} to {sequence - 1} were taken out or moved"
        )
    if sequence < number:
        return f"line {number} says that it is line {sequence}: it was moved or copied there"
    is_itself = number > 1 and (not after or _parsed(after)[1] == _sha256(raw[:-1]))
    return f"line {number - 1 if is_itself else number} was changed"


def _fault_of_end(lines: int, line: bytes, offset: int, path: Path, key: bytes) -> str:
    if not key:
        return f"its key {_key_file(path).name} is missing, so nothing tells whether lines were taken from its end"
    try:
        head = _Head.read(path, key)
    except RunError as error:
        return str(error)
    if head is None:
        return f"its head {_head_file(path).name} is missing" if lines else ""
    if lines < head.sequence:
        return f"it ends after line {lines}, and {head.sequence} were written: line {lines + 1} is missing"
    if lines > head.sequence:
        return f"line {head.sequence + 1} was added by something else"
    return "" if (line, offset) == (head.last, head.end) else f"line {lines} was changed"


def _with_next(file: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
    """(number from 1, line, the next line or b"")."""
    file.seek(0)
    number, line = 1, file.readline()
    while line:
        after = file.readline()
        yield number, line, after
        number, line = number + 1, after


def _parsed(raw: bytes) -> tuple[int, str, str]:
    """Number, hash of the line before and time of a line; (0, "", "") if it is none of this log."""
    try:
        values = json.loads(raw)
        return int(values["sequence"]), str(values["previous"]), str(values["time"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0, "", ""


def _own_key(path: Path, is_new: bool) -> bytes:
    found = private.read(_key_file(path))
    if not found and is_new and not private.read(_head_file(path)):
        found = secrets.token_hex(KEY_BYTES).encode()
        private.replace(_key_file(path), found)
    if not found:
        raise RunError(
            f"{_key_file(path)}: the log's key is missing; put it back, or move this folder away for a new log to begin"
        )
    return found


def _key_file(path: Path) -> Path:
    return path.with_suffix(".key")


def _head_file(path: Path) -> Path:
    return path.with_suffix(".head")


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _hmac(key: bytes, use: bytes, content: bytes) -> str:
    return hmac.new(key, use + b"\0" + content, hashlib.sha256).hexdigest()
