"""One generation as an HTTP response, whole or as server-sent events; the model stops when nobody listens.

In: the steps of a generation (any iterator of records), and a `Form` that writes them. Out: ASGI messages. Events that
came while the last ones were sent go out together, in one message.
"""

import json
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from anyio import CancelScope, create_task_group
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from bedside.records import Delta
from bedside.runtime.backend import Speaker
from bedside.serve.access import KEY_NAME
from bedside.serve.audit import Entry
from bedside.serve.desk import Desk, Feed
from bedside.serve.faults import INTERNAL, TIMEOUT, Fault, Refused

STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))
DONE = "[DONE]"


@dataclass(slots=True)
class Outcome:
    """What is counted and audited of an answer, as far as it came; `flags` are what triage found.

    `finish` is "stop" or "length", or why there is no whole answer: "gone", "timeout", "error".
    """

    said: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = "gone"
    flags: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """All that was said, without the reasoning."""
        return "".join(self.said)

    def add(self, delta: Delta) -> None:
        """One more piece, which counts as a token until the model tells how many there are."""
        self.said.append(delta.answer)
        self.completion_tokens += 1

    def end(self, answer: str, prompt_tokens: int, completion_tokens: int, finish: str) -> None:
        """The whole answer, in place of its pieces."""
        self.said = [answer]
        self.prompt_tokens, self.completion_tokens, self.finish = prompt_tokens, completion_tokens, finish


class Form(Protocol):
    """How the events of one generation are written. `id` is the answer's, `asked` the text of the question."""

    id: str
    asked: str

    def lines(self, event: Any) -> Iterable[str]:
        """The JSON of the server-sent events that an event makes."""
        ...

    def whole(self, events: Sequence[Any]) -> str:
        """The JSON of a reply that is not streamed, from all events."""
        ...

    def note(self, outcome: Outcome, event: Any) -> None:
        """Counts one more event in."""
        ...


Batch = list[Any]


class Account:
    """What is counted, and told to the audit log, of one generation."""

    def __init__(self, desk: Desk, model: str, form: Form, scope: Scope) -> None:
        self._desk = desk
        self._model = model
        self._form = form
        self._scope = scope
        self._begun = monotonic()
        self._outcome = Outcome()

    @property
    def flags(self) -> tuple[str, ...]:
        """What triage found."""
        return self._outcome.flags

    def add(self, events: Iterable[Any]) -> None:
        """Counts events."""
        for event in events:
            self._form.note(self._outcome, event)

    def fail(self, fault: Fault) -> None:
        """There is no whole answer."""
        self._outcome.finish = "timeout" if fault.code == TIMEOUT else "error"

    async def watched(self, feed: Feed) -> AsyncIterator[Batch]:
        """The batches of a feed. Raises Refused where it ends with a fault, after what came before it."""
        began = False
        async for batch in feed.batches():
            fault = batch.pop() if isinstance(batch[-1], Fault) else None
            if batch and not began:
                began = True
                self._desk.metrics.first.labels(self._model).observe(monotonic() - self._begun)
            if batch:
                self.add(batch)
                yield batch
            if fault:
                raise Refused(fault)

    def close(self) -> None:
        """The generation is over, whether it was finished or not."""
        done = self._outcome
        metrics = self._desk.metrics
        metrics.prompt_tokens.labels(self._model).inc(done.prompt_tokens)
        metrics.completion_tokens.labels(self._model).inc(done.completion_tokens)
        if audit := self._desk.audit:
            audit.record(self._entry(done, audit.mark))

    def _entry(self, done: Outcome, mark: Callable[[str], str]) -> Entry:
        return Entry(
            answer_id=self._form.id,
            endpoint=self._scope["path"],
            model=self._model,
            key_name=self._scope.get("state", {}).get(KEY_NAME),
            prompt_hmac=mark(self._form.asked),
            prompt_characters=len(self._form.asked),
            answer_hmac=mark(done.answer),
            answer_characters=len(done.answer),
            prompt_tokens=done.prompt_tokens,
            completion_tokens=done.completion_tokens,
            seconds=round(monotonic() - self._begun, 3),
            finish=done.finish,
            flags=done.flags,
        )


class Reply(Response):
    """The response to one request; the model is only asked when the response is sent.

    `early` events of a stream are sent at once, before there is a seat, unless it is known that there will be none; a
    refusal that follows is one more event.
    """

    def __init__(
        self,
        desk: Desk,
        speaker: Speaker,
        steps: Callable[[], Generator[Any]],
        form: Form,
        *,
        stream: bool,
        early: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        self._desk = desk
        self._speaker = speaker
        self._steps = steps
        self._form = form
        self._stream = stream
        self._early = early
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs until the answer is sent or the client has gone."""
        async with create_task_group() as group:
            group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
            await self._respond(scope, receive, send)
            group.cancel_scope.cancel()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = Account(self._desk, self._speaker.name, self._form, scope)
        account.add(self._early)
        noted = False
        try:
            if self._stream and self._early:
                self._desk.check(self._speaker)
                noted = bool(account.flags)
                await self._send_events(self._early, send)
            async with self._desk.feed(self._speaker, self._steps) as feed:
                noted = True
                try:
                    await self._send_answer(account.watched(feed), scope, receive, send)
                except Refused as refused:  # told before the feed is left, which waits until the model has stopped
                    account.fail(refused.fault)
                    await self._fail(refused.fault, scope, receive, send)
        except Refused as refused:
            account.fail(refused.fault)
            await self._fail(refused.fault, scope, receive, send)
        except Exception:
            account.fail(INTERNAL)  # nobody has gone
            raise
        finally:
            if noted:
                account.close()

    async def _send_answer(self, batches: AsyncIterator[Batch], scope: Scope, receive: Receive, send: Send) -> None:
        if not self._stream:
            events = [event async for batch in batches for event in batch]
            await Response(self._form.whole(events), media_type="application/json")(scope, receive, send)
            return
        async for batch in batches:
            await self._send_events(batch, send)
        await self._send_lines([DONE], send, more=False)

    async def _send_events(self, events: Sequence[Any], send: Send) -> None:
        await self._send_lines([line for event in events for line in self._form.lines(event)], send)

    async def _send_lines(self, lines: Sequence[str], send: Send, more: bool = True) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        body = "".join(f"data: {line}\n\n" for line in lines).encode()
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Within a stream it is too late for a status; the clients know an error's shape there, too."""
        if self._started:
            await self._send_lines([json.dumps(fault.event), DONE], send, more=False)
        else:
            await fault.response(scope, receive, send)


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
    scope.cancel()
