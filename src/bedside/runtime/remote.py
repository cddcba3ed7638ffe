"""Any OpenAI-compatible server as a writer: `POST …/chat/completions`.

What passes by itself is tried again: a connection that breaks, a time limit, 429, 5xx. It waits 1, 2, 4, 8 seconds, or
as long as `Retry-After` says, and gives up after five tries. What a server says instead of an answer is told.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import httpx

from bedside.errors import ModelError, OfflineError, first_line
from bedside.recipe import PromptSection
from bedside.records import Generation, GenerationOptions, Message
from bedside.text import think

KEY = "BEDSIDE_API_KEY"
"""Environment variable with the server's key; none is sent without it."""
TRIES = 5
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 600.0
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}
SHOWN = 120
AS_SERVED = PromptSection(style="chat", system="", reasoning="none")
"""The server prompts by itself: no system message of ours, and no reasoning that could be closed."""


class Remote:
    """Implements `backend.Writer`. `url` ends before `/chat/completions`; `#NAME` after it names one of its models.

    Raises OfflineError if nobody is there, ModelError if it is no such
    server or has several models and none is named.
    """

    prompt = AS_SERVED
    together = 1

    def __init__(self, url: str, at_once: int = 4, wait: Callable[[float], None] = time.sleep) -> None:
        self._url, _, named = url.rstrip("/").partition("#")
        self._url = self._url.rstrip("/")
        self.at_once = at_once
        self._wait = wait
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=TIMEOUT_S, headers=headers, follow_redirects=False)
        self.name = named or self._only_model()

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

    def _answer(self, messages: Sequence[Message], options: GenerationOptions) -> Generation:
        request = {
            "model": self.name,
            "messages": [asdict(message) for message in messages],
            "max_tokens": options.max_tokens + options.answer_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
        }
        reply = self._asked("POST", "/chat/completions", request)
        try:
            choice = reply["choices"][0]
            said = choice["message"]
            content, apart = said.get("content") or "", said.get("reasoning_content") or said.get("reasoning") or ""
            usage = reply.get("usage") or {}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(f"{self._url}: a reply without choices[0].message: {_shown(reply)}") from error
        reasoning, answer = think.split(content, opened=False)
        return Generation(
            reasoning="\n\n".join(filter(None, (apart.strip(), reasoning))),
            answer=answer,
            finish="length" if choice.get("finish_reason") == "length" else "stop",
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )

    def _only_model(self) -> str:
        listed = self._asked("GET", "/models", None)
        data = listed.get("data") if isinstance(listed, dict) else None
        names = [str(one.get("id")) for one in data or [] if isinstance(one, dict)]
        if len(names) != 1:
            some = ", ".join(names[:5]) or "none"
            raise ModelError(f"{self._url}: models there: {some}; name one as '{self._url}#NAME'")
        return names[0]

    def _asked(self, method: str, path: str, request: dict[str, Any] | None) -> Any:
        """The reply's JSON, after as many tries as it may take."""
        for tried in range(1, TRIES + 1):
            try:
                reply = self._client.request(method, self._url + path, json=request)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise ModelError(f"{self._url}: no address of a server ({first_line(error)})") from error
            except httpx.HTTPError as error:
                said, wait = first_line(error), None
            else:
                if reply.status_code not in PASSING:
                    return self._read(reply)
                said, wait = f"status {reply.status_code}", reply.headers.get("Retry-After")
            if tried < TRIES:
                self._wait(_seconds(wait, 2.0 ** (tried - 1)))
        raise OfflineError(
            f"{self._url}: no answer in {TRIES} tries ({said}); what was answered is kept, and the same command goes on"
        )

    def _read(self, reply: httpx.Response) -> Any:
        try:
            value = reply.json()
        except ValueError as error:
            kind = reply.headers.get("Content-Type", "no type").partition(";")[0]
            raise ModelError(
                f"{self._url}: status {reply.status_code} with {kind} instead of JSON;"
                " give the address of its API, such as http://127.0.0.1:8080/v1"
            ) from error
        wrong = value.get("error") if isinstance(value, dict) else None
        if wrong or reply.status_code >= 300:
            told = wrong.get("message", wrong) if isinstance(wrong, dict) else wrong or value
            key = f"; set {KEY}" if reply.status_code in (401, 403) else ""
            raise ModelError(f"{self._url}: status {reply.status_code}: {_shown(told)}{key}")
        return value


def _seconds(told: str | None, otherwise: float) -> float:
    try:
        return min(float(told), LONGEST_WAIT_S) if told else otherwise
    except ValueError:  # a date
        return otherwise


def _shown(value: Any) -> str:
    return " ".join(str(value).split())[:SHOWN]
