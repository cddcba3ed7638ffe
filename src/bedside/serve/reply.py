"""One generation as an HTTP response: waits for a slot, answers whole or streamed, stops the model when nobody listens.

In: a checked request and the iterator of `bedside.answer.answer`. Out: ASGI messages. The model blocks, so each of its
steps runs in a thread; the slot is given back only after the model has really stopped.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, suppress

from anyio import CancelScope, CapacityLimiter, create_task_group, to_thread
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bedside.answer import answer
from bedside.recipe import ServeSection
from bedside.records import Answer, Delta
from bedside.runtime.backend import Speaker
from bedside.serve.faults import BUSY, STOPPING, Fault, of_exception
from bedside.serve.shapes import Letterhead
from bedside.serve.wire import ChatRequest

QUEUE = 8
"""Requests that may wait for a slot; at a minute an answer, whoever came later would wait for longer than they will."""

Event = Delta | Answer | Fault


class Desk:
    """A speaker and the order in which it is spoken to: at most `slots` at once, `QUEUE` waiting, first come first."""

    def __init__(self, speaker: Speaker, settings: ServeSection, slots: int) -> None:
        self.speaker = speaker
        self.settings = settings
        self.seats = CapacityLimiter(slots)
        self.closing = False
        self._threads = CapacityLimiter(slots)

    @property
    def full(self) -> bool:
        """Whether one more request would have to be turned away."""
        return self.seats.statistics().tasks_waiting >= QUEUE

    async def events(self, asked: ChatRequest) -> AsyncGenerator[Event, None]:
        """The answer's events. Closing (or cancelling) waits for the model's present step and then stops it.

        Once `closing` is set, every answer ends at its next step with a fault.
        """
        steps = self._steps(asked)
        try:
            while not self.closing:
                event = await to_thread.run_sync(next, steps, None, limiter=self._threads)
                if event is None:
                    return
                yield event
            yield STOPPING
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(steps.close, limiter=self._threads)

    def _steps(self, asked: ChatRequest) -> Generator[Event, None, None]:
        try:
            yield from answer(self.speaker, asked.conversation, asked.options(self.settings))
        except Exception as error:  # noqa: BLE001 - becomes an answer to the client, and a line in the log
            yield of_exception(error)


class Reply(Response):
    """The response to one request; the desk is only asked when the response is sent."""

    def __init__(self, desk: Desk, asked: ChatRequest) -> None:
        super().__init__()
        self.desk = desk
        self.asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs until the answer is sent or the client has gone."""
        if self.desk.full:
            await BUSY.response(scope, receive, send)
            return
        async with create_task_group() as group:
            group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
            async with self.desk.seats, aclosing(self.desk.events(self.asked)) as events:
                respond = self._streamed if self.asked.stream else self._whole
                await respond(events, scope, receive, send)
            group.cancel_scope.cancel()

    async def _whole(self, events: AsyncIterator[Event], scope: Scope, receive: Receive, send: Send) -> None:
        head = Letterhead.new(self.desk.speaker.name)
        async for event in events:
            if isinstance(event, Fault):
                await event.response(scope, receive, send)
            elif isinstance(event, Answer):
                await JSONResponse(head.whole(event).model_dump())(scope, receive, send)

    async def _streamed(self, events: AsyncIterator[Event], scope: Scope, receive: Receive, send: Send) -> None:
        """The first event decides on the status: a conversation that is too long is a 400 here as well."""
        first = await anext(events)
        if isinstance(first, Fault):
            await first.response(scope, receive, send)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for text in self._lines(first, events):
            await send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _lines(self, first: Delta | Answer, rest: AsyncIterator[Event]) -> AsyncIterator[str]:
        head = Letterhead.new(self.desk.speaker.name)
        for chunk in head.chunks(first, self.asked.wants_usage):
            yield chunk.model_dump_json()
        async for event in rest:
            if isinstance(event, Fault):  # too late for a status; the clients know this shape within a stream
                yield json.dumps(event.body.model_dump())
                continue
            for chunk in head.chunks(event, self.asked.wants_usage):
                yield chunk.model_dump_json()
        yield "[DONE]"


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
    scope.cancel()
