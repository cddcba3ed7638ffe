"""Who is asked and in which order: the speakers, a bounded queue before each one's seats, and what is running.

A generation runs in a thread of its own (a `Feed`), since a model blocks; its events reach the loop one by one and are
taken from there in batches, so that a slow client costs the model nothing. Its seat is free once the model has stopped,
whether or not its client has read the answer.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, current_time, fail_after, to_thread

from bedside.recipe import ServeSection
from bedside.records import Delta
from bedside.runtime.backend import Speaker
from bedside.serve.audit import Audit
from bedside.serve.faults import BUSY, STOPPING, Fault, Refused, of_exception, too_long
from bedside.serve.metrics import Metrics

Given = TypeVar("Given")
Made = TypeVar("Made")
ANY_MODEL = "bedside"
"""A model name that clients may always give, so that their settings outlive the model's name."""
LAST_WORD_S = 5.0
"""How long a client may take to read the end of an answer whose time is up."""


class Seats:
    """So many at once, first come first, with a bounded queue before them."""

    def __init__(self, count: int, settings: ServeSection) -> None:
        self._settings = settings
        self._limiter = CapacityLimiter(count)
        self._threads = CapacityLimiter(count)

    @property
    def waiting(self) -> int:
        """Requests that wait for a seat."""
        return self._limiter.statistics().tasks_waiting

    @property
    def busy(self) -> int:
        """Seats that are taken."""
        return self._limiter.statistics().borrowed_tokens

    def check(self) -> None:
        """Raises Refused if there is neither a seat nor room in the queue."""
        if self._limiter.available_tokens <= 0 and self.waiting >= self._settings.queue:
            raise Refused(BUSY)

    async def take(self) -> Callable[[], None]:
        """Waits for a seat; the caller frees it by what is returned. Raises Refused if there is none in time."""
        self.check()
        holder = object()
        try:
            with fail_after(self._settings.wait_s):
                await self._limiter.acquire_on_behalf_of(holder)
        except TimeoutError:
            raise Refused(BUSY) from None
        return lambda: self._limiter.release_on_behalf_of(holder)

    async def run(self, work: Callable[[Given], Made], given: Given) -> Made:
        """What a function makes that blocks, in a thread of these seats' own. Raises Refused as `take` does."""
        leave = await self.take()
        try:
            return await to_thread.run_sync(work, given, limiter=self._threads)
        finally:
            leave()


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
        self._seats = {name: Seats(slots, settings) for name in self.speakers}
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
        return sum(seats.waiting for seats in self._seats.values())

    @property
    def busy(self) -> int:
        """Seats that are taken."""
        return sum(seats.busy for seats in self._seats.values())

    def check(self, speaker: Speaker) -> None:
        """Raises Refused if the server is being stopped, or too many wait for this speaker."""
        if self.closing:
            raise Refused(STOPPING)
        self._seats[speaker.name].check()

    @asynccontextmanager
    async def feed(self, speaker: Speaker, steps: Callable[[], Generator[Any]]) -> AsyncIterator["Feed"]:
        """The events of a generation, once there is a seat for it; leaving stops it.

        What is done with them is cut off when the time of an answer is up. Raises Refused if too many wait, if it would
        wait for too long, and if the server is being stopped.
        """
        self.check(speaker)
        leave = await self._seats[speaker.name].take()
        try:
            if self.closing:
                raise Refused(STOPPING)
            feed = Feed(steps, self.settings.answer_s, leave)
        except BaseException:
            leave()
            raise
        self._running.add(feed)
        try:
            with feed.patience:
                yield feed
        finally:
            with CancelScope(shield=True):
                await feed.stop()
            self._running.discard(feed)

    def abort(self) -> None:
        """Ends every answer now, with a word to its client. Called on the loop, after `closing` has been set."""
        for feed in self._running:
            feed.hurry()
            feed.end(STOPPING)


class Feed:
    """What one generation gives: events, or the Fault that ended it. Made and used on the loop.

    `on_stop` is called once the model has stopped; `patience` is the scope of what is done with the events.
    """

    def __init__(self, steps: Callable[[], Generator[Any]], limit_s: float, on_stop: Callable[[], None]) -> None:
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._events: list[Any] = []
        self._arrived = asyncio.Event()
        self._over = False
        self._gone = threading.Event()
        self._stopped = asyncio.Event()
        self._on_stop = on_stop
        self.patience = CancelScope(deadline=current_time() + limit_s + LAST_WORD_S)
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

    def hurry(self) -> None:
        """Leaves time for the end of the answer only."""
        self.patience.deadline = min(self.patience.deadline, current_time() + LAST_WORD_S)

    async def stop(self) -> None:
        """Stops the model at its next step, and returns once it has stopped."""
        self._timer.cancel()
        self.end()
        await self._stopped.wait()

    def _work(self) -> None:
        """The thread. That the loop has gone is no error: then nobody listens."""
        with suppress(RuntimeError):
            try:
                with closing(self._steps()) as steps:
                    self._pass_on(steps)
            except Exception as error:  # noqa: BLE001 - becomes an answer to the client, and a line in the log
                self._loop.call_soon_threadsafe(self.end, of_exception(error))
            finally:
                self._loop.call_soon_threadsafe(self.end)
                self._loop.call_soon_threadsafe(self._has_stopped)

    def _pass_on(self, steps: Iterable[Any]) -> None:
        for event in steps:
            if self._gone.is_set():
                return
            if isinstance(event, Delta) and not (event.reasoning or event.answer):
                continue  # a step that told nothing; it is there to be stopped at
            self._loop.call_soon_threadsafe(self._take, event)

    def _has_stopped(self) -> None:
        self._on_stop()
        self._stopped.set()

    def _take(self, event: Any) -> None:
        if not self._over:
            self._events.append(event)
            self._arrived.set()
