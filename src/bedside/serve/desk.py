"""Who is asked and in which order: the speakers, a bounded queue before each one's seats, and what is running.

A generation runs in a thread of its own (a `Feed`), since a model blocks; its events reach the loop one by one and are
taken from there in batches, so that a slow client costs the model nothing.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

from anyio import CancelScope, CapacityLimiter, fail_after

from bedside.recipe import ServeSection
from bedside.runtime.backend import Speaker
from bedside.serve.audit import Audit
from bedside.serve.faults import BUSY, STOPPING, Fault, Refused, of_exception, too_long
from bedside.serve.metrics import Metrics

ANY_MODEL = "bedside"
"""A model name that clients may always give, so that their settings outlive the model's name."""


class Desk:
    """The speakers, of which the first is the default; each gives `slots` answers at once, first come first."""

    def __init__(
        self, speakers: Sequence[Speaker], settings: ServeSection, slots: int, audit: Audit | None = None
    ) -> None:
        self.speakers = {speaker.name: speaker for speaker in speakers}
        self.settings = settings
        self.closing = False
        self.seats = slots * len(self.speakers)
        self.audit = audit
        self.metrics = Metrics(self)
        self._default = speakers[0]
        self._seats = {name: CapacityLimiter(slots) for name in self.speakers}
        self._running: set[Feed] = set()

    def speaker(self, name: str | None) -> Speaker:
        """The speaker that a request names. Raises Refused if there is none of that name."""
        if name in (None, ANY_MODEL):
            return self._default
        if name not in self.speakers:
            known = "', '".join(self.speakers)
            message = f"there is no such model here; ask for '{known}', or for '{ANY_MODEL}'"
            raise Refused(Fault(404, message, param="model", code="model_not_found"))
        return self.speakers[name]

    @property
    def waiting(self) -> int:
        """Requests that wait for a seat."""
        return sum(seats.statistics().tasks_waiting for seats in self._seats.values())

    @property
    def busy(self) -> int:
        """Seats that are taken."""
        return sum(seats.statistics().borrowed_tokens for seats in self._seats.values())

    @asynccontextmanager
    async def feed(self, speaker: Speaker, steps: Generator[Any]) -> AsyncIterator["Feed"]:
        """The events of a generation, once there is a seat for it; leaving stops it, and then frees the seat.

        Raises Refused if too many wait, if it would wait for too long, and if the server is being stopped.
        """
        async with self._seat(speaker):
            feed = Feed(steps, self.settings.answer_s)
            self._running.add(feed)
            try:
                yield feed
            finally:
                with CancelScope(shield=True):
                    await feed.stop()
                self._running.discard(feed)

    @asynccontextmanager
    async def _seat(self, speaker: Speaker) -> AsyncIterator[None]:
        if self.closing:
            raise Refused(STOPPING)
        seats, holder = self._seats[speaker.name], object()
        if seats.available_tokens <= 0 and self.waiting >= self.settings.queue:
            raise Refused(BUSY)
        try:
            with fail_after(self.settings.wait_s):
                await seats.acquire_on_behalf_of(holder)
        except TimeoutError:
            raise Refused(BUSY) from None
        try:
            if self.closing:
                raise Refused(STOPPING)
            yield
        finally:
            seats.release_on_behalf_of(holder)

    def abort(self) -> None:
        """Ends every answer now, with a word to its client. Called on the loop, after `closing` has been set."""
        for feed in self._running:
            feed.end(STOPPING)


class Feed:
    """What one generation gives: events, or the Fault that ended it. Made and used on the loop."""

    def __init__(self, steps: Generator[Any], limit_s: float) -> None:
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._events: list[Any] = []
        self._arrived = asyncio.Event()
        self._over = False
        self._gone = threading.Event()
        self._stopped = asyncio.Event()
        self._timer = self._loop.call_later(limit_s, self.end, too_long(limit_s))
        threading.Thread(target=self._work, daemon=True).start()

    async def batches(self) -> AsyncIterator[list[Any]]:
        """What has come since the last batch, in order and never empty, until the generation has ended."""
        while not self._over or self._events:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._events = self._events, []
            if batch:
                yield batch

    def end(self, *last: Any) -> None:
        """Makes `last` the last event; whatever the model goes on to say is dropped."""
        if not self._over:
            self._over = True
            self._events.extend(last)
            self._gone.set()
            self._arrived.set()

    async def stop(self) -> None:
        """Stops the model at its next step, and returns once it has stopped."""
        self._timer.cancel()
        self.end()
        await self._stopped.wait()

    def _work(self) -> None:
        """The thread. That the loop has gone is no error: then nobody listens."""
        with suppress(RuntimeError):
            try:
                with closing(self._steps) as steps:
                    self._pass_on(steps)
            except Exception as error:  # noqa: BLE001 - becomes an answer to the client, and a line in the log
                self._loop.call_soon_threadsafe(self.end, of_exception(error))
            finally:
                self._loop.call_soon_threadsafe(self.end)
                self._loop.call_soon_threadsafe(self._stopped.set)

    def _pass_on(self, steps: Iterable[Any]) -> None:
        for event in steps:
            if self._gone.is_set():
                return
            self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Any) -> None:
        if not self._over:
            self._events.append(event)
            self._arrived.set()
