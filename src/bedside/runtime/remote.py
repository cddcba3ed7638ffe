"""Any OpenAI-compatible server as a speaker and a writer: `POST …/chat/completions`.

A stream that breaks is told at once. Where answers are written together, what passes by itself is tried again: a
connection that breaks, a time limit, 429, 5xx. It waits 1, 2, 4, 8 seconds, or as long as `Retry-After` says, and gives
up after five tries. What a server says instead of an answer is told. Nothing of the server is trusted: replies are
bounded in size and time, its words are shown without control characters, and half of a surrogate pair in an answer,
which no file could hold, is replaced.
"""

import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from threading import Event
from typing import Any
from weakref import WeakSet

import httpx

from bedside.errors import ModelError, OfflineError, RemoteError, UsageError, first_line
from bedside.recipe import PromptSection
from bedside.records import Delta, Finish, Generation, GenerationOptions, Message, TokenLogprob
from bedside.runtime.reading import Piece, Reading
from bedside.text import think

KEY = "BEDSIDE_REMOTE_KEY"
"""Environment variable with the server's key; none is sent without it."""
TRIES = 5
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 600.0
CONNECT_S = 30.0
LARGEST_REPLY = 16 * 2**20
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
EMPTY = "an empty answer of no token"
SHOWN = 120
HALF_A_PAIR = re.compile("[\ud800-\udfff]")
LASTING = ("meta", "root", "parent", "max_model_len", "owned_by")
"""What llama.cpp and vLLM list of a model and that stays; `created` is the time of the request or of the start."""
AS_SERVED = PromptSection(style="chat", system="", reasoning="none")
"""The server prompts by itself: no system message of ours, and no reasoning that could be closed."""


class Remote:
    """Implements `backend.Speaker` and `backend.Writer`.

    `url` ends before `/chat/completions`; `#NAME` after it names one of its models.

    Raises OfflineError if nobody is there, ModelError if it is no such server or has several models and none is named,
    UsageError for an address that carries a password or a key that cannot be sent.
    """

    prompt = AS_SERVED
    together = 1
    constrains = True
    """The API has a place for a schema; a server that cannot hold to one refuses it."""

    def __init__(self, url: str, at_once: int = 4, wait: Callable[[float], object] | None = None) -> None:
        address, _, named = url.partition("#")
        self._url = address.rstrip("/")
        self.at_once = at_once
        self._closed = Event()
        self._wait = wait or self._closed.wait
        self._sockets: WeakSet[socket.socket] = WeakSet()
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
        here = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))  # to no proxy, whatever is set
        self._client = httpx.Client(timeout=timeout, headers=_headers(), follow_redirects=False, mounts=here)
        try:
            userinfo = httpx.URL(self._url).userinfo
        except httpx.InvalidURL as error:
            raise ModelError(f"{_shown(self._url)}: no address of a server ({first_line(error)})") from error
        if userinfo:
            raise UsageError(f"an address must not carry a password; put the server's key into {KEY}")
        self.name = named or self._only_model()

    def doubt(self) -> str:
        """Why the model may not answer, by one look at what the server lists; "" if nothing speaks against it."""
        try:
            names = _names(self._read(*self._reply("GET", "/models", None)))
        except (httpx.HTTPError, ModelError) as error:
            return f"no list of models to be had ({_shown(first_line(error))})"
        if {self.name, f"{self.name}:latest"} & set(names):
            return ""
        return f"the list has no '{self.name}', but: {_shown(', '.join(names)) or 'nothing'}"

    def told(self) -> dict[str, Any]:
        """What the server lists of its model beside the name, as far as that is lasting; nothing if it has no list."""
        try:
            listed = _listed(self._asked("GET", "/models", None))
        except ModelError:
            return {}
        mine = next((one for one in listed if one.get("id") == self.name), {})
        return {name: mine[name] for name in LASTING if name in mine}

    def write(
        self,
        conversations: Sequence[Sequence[Message]],
        options: GenerationOptions,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[Generation]:
        """See `backend.Writer`. Whether it reasons, and how long, is the server's matter."""
        found = []
        for messages in conversations:
            found.append(self._answer(messages, options))
            progress(1)
        return found

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`. Whether it reasons is the server's matter, so a limit to that is refused."""
        if options.thinking_tokens is not None:
            raise UsageError(f"{self.name}: how long it reasons is for its server to set, not for a request")
        asked: dict[str, Any] = {"messages": [asdict(message) for message in messages]}
        if options.schema:
            shape = {"name": "answer", "schema": json.loads(options.schema), "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": shape}
        if options.logprobs is not None:
            asked |= {"logprobs": True, "top_logprobs": options.logprobs}
        reading = Reading(think.PlainStream() if options.schema else think.ThinkStream(opened=False), options.stop)
        return self._said("/chat/completions", {**self._request(options), **asked}, reading)

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `backend.Speaker`."""
        if options.schema or options.logprobs is not None:
            raise UsageError(f"{self.name}: a schema or log-probabilities can be asked of it in a chat only")
        asked = {**self._request(options), "prompt": prompt}
        return self._said("/completions", asked, Reading(think.PlainStream(), options.stop))

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """See `backend.Speaker`."""
        raise UsageError(f"{self.name}: how many tokens a text has is known to its server alone")

    def close(self) -> None:
        """Ends what is still being asked or waited for: a thread that reads is woken by nothing but its socket."""
        self._closed.set()
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._client.close()

    def _answer(self, messages: Sequence[Message], options: GenerationOptions) -> Generation:
        most = options.max_tokens + options.answer_tokens
        asked = {"messages": [asdict(message) for message in messages], "max_tokens": most}
        request = {**self._request(options), **asked}
        reply = self._asked("POST", "/chat/completions", request, lambda reply: "" if self._says(reply) else EMPTY)
        content, refusal, *apart = self._texts(reply)
        reasoning, answer = think.split(content, opened=False)
        return Generation(
            reasoning="\n\n".join(filter(None, (next(filter(None, apart), "").strip(), reasoning))),
            answer=answer or refusal.strip(),
            finish="length" if reply["choices"][0].get("finish_reason") == "length" else "stop",
            prompt_tokens=_count(reply, "prompt_tokens"),
            completion_tokens=_count(reply, "completion_tokens"),
        )

    def _texts(self, reply: Any) -> list[str]:
        """Content, refusal, and reasoning by its two names; "" for what is not there. Raises ModelError."""
        try:
            said = reply["choices"][0]["message"]
            texts = [said.get(name) or "" for name in ("content", "refusal", "reasoning_content", "reasoning")]
            return [HALF_A_PAIR.sub("\N{REPLACEMENT CHARACTER}", text) for text in texts]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(f"{self._url}: a reply without choices[0].message in text: {_shown(reply)}") from error

    def _says(self, reply: Any) -> bool:
        """Whether a model made it: words, or at least a token; what stands before a model answers with neither."""
        return any(self._texts(reply)) or _count(reply, "completion_tokens") > 0

    def _request(self, options: GenerationOptions) -> dict[str, Any]:
        return {
            "model": self.name,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
        }

    def _said(self, path: str, request: dict[str, Any], reading: Reading) -> Generator[Delta | Generation]:
        """What a server streams. Without its usage a chunk is counted as a token; a stop sequence ends it from here.

        Raises OfflineError where the stream ends and neither a reason nor `[DONE]` says that the answer is whole: over
        HTTP/1.0 that is all that is seen of a server that died.
        """
        reasoning, chunks, whole = "", 0, False
        usage: dict[str, Any] = {}
        piece = Piece("", 0, 0)
        with closing(self._events(path, request)) as events:
            for event in events:
                if event is None:
                    whole = True
                    continue
                usage = event if event.get("usage") else usage
                for apart, piece in self._pieces(event):
                    chunks += 1
                    if apart:
                        reasoning += apart
                        yield Delta(reasoning=apart)
                    yield from reading.feed(piece)
                if reading.stopped:
                    break
            else:
                yield from reading.close()
        if not chunks:
            raise RemoteError(f"{self._url}: a reply without a stream of answers; is it an OpenAI-compatible server?")
        if not (whole or piece.finish or reading.stopped):
            raise OfflineError(f"{self._url}: the answer broke off")
        yield Generation(
            reasoning="\n\n".join(filter(None, (reasoning.strip(), reading.reasoning.strip()))),
            answer=reading.answer if path == "/completions" else reading.answer.strip(),
            finish="length" if piece.finish == "length" and not reading.stopped else "stop",
            prompt_tokens=_count(usage, "prompt_tokens"),
            completion_tokens=_count(usage, "completion_tokens") or chunks,
            logprobs=reading.logprobs,
        )

    def _pieces(self, event: dict[str, Any]) -> list[tuple[str, Piece]]:
        try:
            return [_piece(choice) for choice in event.get("choices") or ()]
        except (KeyError, TypeError, AttributeError) as error:
            raise RemoteError(f"{self._url}: a chunk without choices[0].delta in text") from error

    def _events(self, path: str, request: dict[str, Any]) -> Generator[dict[str, Any] | None]:
        """The JSON of each server-sent event; None is the `[DONE]` after the last."""
        asked = {**request, "stream": True, "stream_options": {"include_usage": True}}
        watched = {"trace": self._trace}
        try:
            with self._client.stream("POST", self._url + path, json=asked, extensions=watched) as reply:
                pieces = _bounded(reply)
                if reply.status_code >= 300:
                    self._read(reply.status_code, reply.headers, b"".join(pieces))
                for line in _lines(pieces):
                    if line.startswith(b"data:"):
                        data = line.removeprefix(b"data:").strip()
                        ends = data == b"[DONE]"
                        yield None if ends else self._object(self._read(reply.status_code, reply.headers, data))
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ModelError(f"{self._url}: no address of a server ({first_line(error)})") from error
        except httpx.HTTPError as error:
            raise OfflineError(f"{self._url}: no answer ({_shown(first_line(error))})") from error

    def _object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise RemoteError(f"{self._url}: a chunk that is no object")
        return value

    def _only_model(self) -> str:
        names = _names(self._asked("GET", "/models", None))
        if len(names) != 1:
            some = _shown(", ".join(names)) or "none"
            raise ModelError(f"{self._url}: models there: {some}; name one as '{self._url}#NAME'")
        return _shown(names[0])

    def _asked(
        self,
        method: str,
        path: str,
        request: dict[str, Any] | None,
        wrong: Callable[[Any], str] = lambda reply: "",
    ) -> Any:
        """The reply's JSON, after as many tries as it may take; `wrong` names what is to be tried again in one."""
        for tried in range(1, TRIES + 1):
            try:
                status, headers, body = self._reply(method, path, request)
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
                raise ModelError(f"{self._url}: no address of a server ({first_line(error)})") from error
            except httpx.HTTPError as error:
                said, wait = first_line(error), None
            except Exception as error:
                if not self._closed.is_set():  # a client that is closed under a request raises what it likes
                    raise
                said, wait = first_line(error), None
            else:
                said, wait = f"status {status}", headers.get("Retry-After")
                if status not in PASSING:
                    reply = self._read(status, headers, body)
                    said = wrong(reply)
                    if not said:
                        return reply
            if self._closed.is_set():
                break
            if tried < TRIES:
                self._wait(_seconds(wait, 2.0 ** (tried - 1)))
        raise OfflineError(f"{self._url}: no answer in {TRIES} tries ({_shown(said)})")

    def _reply(self, method: str, path: str, request: dict[str, Any] | None) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body; one that is too long, or takes too long, is a broken connection."""
        watched = {"trace": self._trace}
        with self._client.stream(method, self._url + path, json=request, extensions=watched) as reply:
            return reply.status_code, reply.headers, b"".join(_bounded(reply))

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keeps the sockets of new connections (httpcore's trace extension), to be shut when this is closed."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sockets.add(info["return_value"].get_extra_info("socket"))
            if self._closed.is_set():
                info["return_value"].close()  # nobody else has it yet
                raise httpx.ConnectError("closed")

    def _read(self, status: int, headers: httpx.Headers, body: bytes) -> Any:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            kind = _shown(headers.get("Content-Type", "no type").partition(";")[0])
            raise RemoteError(
                f"{self._url}: status {status} with {kind} instead of JSON;"
                " give the address of its API, such as http://127.0.0.1:8080/v1"
            ) from error
        wrong = value.get("error") if isinstance(value, dict) else None
        if wrong or status >= 300:
            wrong = wrong or (value.get("detail") if isinstance(value, dict) else None)
            told = wrong.get("message") if isinstance(wrong, dict) else wrong
            told = told if isinstance(told, str) else "no message"  # anything else may quote what was asked
            hint = f"; set {KEY}" if status in (401, 403) else ""
            if status == 404 and not self._url.endswith("/v1"):
                hint = "; does the address end in /v1?"
            raise RemoteError(f"{self._url}: status {status}: {_shown(told)}{hint}")
        return value


def _listed(reply: Any) -> list[dict[str, Any]]:
    """The models of a reply to GET /models."""
    data = reply.get("data") if isinstance(reply, dict) else None
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []


def _names(reply: Any) -> list[str]:
    return [str(one.get("id")) for one in _listed(reply)]


def _bounded(reply: httpx.Response) -> Iterator[bytes]:
    """The body as it comes; one that is too long, or takes too long, is a broken connection."""
    size, end = 0, time.monotonic() + TIMEOUT_S
    for piece in reply.iter_bytes():
        size += len(piece)
        if size > LARGEST_REPLY or time.monotonic() > end:
            raise httpx.ReadError("a reply without end")
        yield piece


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        yield from whole
    yield held


def _piece(choice: dict[str, Any]) -> tuple[str, Piece]:
    """Reasoning and answer of a chunk of a chat, or of a text that is continued."""
    delta = choice.get("delta") or {"content": choice.get("text")}
    names = ("reasoning_content", "reasoning", "content", "refusal")
    texts = [HALF_A_PAIR.sub("\N{REPLACEMENT CHARACTER}", delta.get(name) or "") for name in names]
    told = (choice.get("logprobs") or {}).get("content") if texts[2] else None
    logprobs = tuple(TokenLogprob(one["token"], one["logprob"], tuple(_likeliest(one))) for one in told or ())
    reason = choice.get("finish_reason")
    finish: Finish | None = reason and ("length" if reason == "length" else "stop")
    return texts[0] or texts[1], Piece(texts[2] or texts[3], 0, 0, finish, logprobs)


def _likeliest(token: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for one in token.get("top_logprobs") or ():
        yield one["token"], one["logprob"]


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"{KEY}: holds signs that no key can have")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _count(reply: dict[str, Any], name: str) -> int:
    usage = reply.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else 0
    return value if isinstance(value, int) else 0


def _seconds(told: str | None, otherwise: float) -> float:
    try:
        seconds = float(told) if told else otherwise
    except ValueError:  # a date
        return otherwise
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else otherwise


def _shown(value: Any) -> str:
    """A server's words in a line of ours: short, printable, and without our key, which it may repeat."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    key = os.environ.get(KEY, "").strip()
    return " ".join((text.replace(key, "[key]") if key else text).split())[:SHOWN]
