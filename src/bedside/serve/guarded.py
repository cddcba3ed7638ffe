"""The guarded endpoints: an answer with triage, sections and safe HTML; an invented case; and how long a text is.

In: checked requests, and the events of `bedside.answer`. Out: one JSON object, or server-sent events, each with a
`type`: "triage" at once and before there is a seat, "reasoning", "answer" and "rendered" or "sections" as they come,
"done".
"""

import json
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.responses import Response

from bedside.answer import Drafted, case, guarded
from bedside.guard.triage import triage_of
from bedside.records import Answer, Delta, Flag
from bedside.serve import markdown
from bedside.serve.api import REFUSALS, STREAM
from bedside.serve.desk import Desk, Seats
from bedside.serve.faults import Refused, of_exception
from bedside.serve.guarded_wire import AnswerReply, AnswerRequest, CaseRequest, TokensReply, TokensRequest
from bedside.serve.reply import Outcome, Reply
from bedside.text import sections
from bedside.text.prompts import NOTICE

TRIAGED_AT_ONCE = 4
COUNTED_AT_ONCE = 4
RENDER_EVERY_S = 0.15
RENDER_SHARE = 4
"""A text that takes long to render is rendered seldom: at most so large a part of the time, one in this many."""


@dataclass(frozen=True, slots=True)
class Triaged:
    """What is known before the model is asked."""

    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The answer so far as HTML."""

    html: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The whole answer and its HTML."""

    answer: Answer
    html: str


Steps = Generator[Delta | Drafted | Answer] | Generator[Delta | Answer]
Event = Delta | Drafted | Triaged | Rendered | Finished


class GuardedForm:
    """How the events of one guarded answer are written; see `reply.Form`."""

    def __init__(self, kind: Literal["bedside.answer", "bedside.case"], model: str, asked: str) -> None:
        self.id = f"{kind.partition('.')[2]}-{uuid.uuid4().hex}"
        self.asked = asked
        self._fields: dict[str, Any] = {"id": self.id, "object": kind, "created": int(time.time()), "model": model}

    def lines(self, event: Event) -> Iterable[str]:
        """One line of JSON for each event."""
        yield json.dumps(self._told(event))

    def whole(self, events: Sequence[Any]) -> str:
        """The answer as one object."""
        return json.dumps(self._answer(events[-1]))

    def note(self, outcome: Outcome, event: Event) -> None:
        """A draft takes the place of what was said before; the finished answer tells all."""
        match event:
            case Triaged():
                outcome.flags = tuple(flag.rule for flag in event.flags)
            case Delta():
                outcome.add(event)
            case Drafted():
                outcome.said, outcome.completion_tokens = [sections.markdown(event.sections)], event.deltas
            case Finished():
                answer, usage = event.answer, event.answer.usage
                outcome.end(answer.answer, usage["prompt_tokens"], usage["completion_tokens"], answer.finish)

    def _told(self, event: Event) -> dict[str, Any]:
        match event:
            case Triaged():
                flags = [asdict(flag) for flag in event.flags]
                return {"type": "triage", "emergency": bool(flags), "flags": flags}
            case Drafted():
                return {"type": "sections", "sections": [asdict(section) for section in event.sections]}
            case Rendered():
                return {"type": "rendered", "html": event.html}
            case Finished():
                return {"type": "done", "answer": self._answer(event)}
        return (
            {"type": "reasoning", "text": event.reasoning}
            if event.reasoning
            else {"type": "answer", "text": event.answer}
        )

    def _answer(self, done: Finished) -> dict[str, Any]:
        return (
            self._fields | done.answer.to_json() | {"model": self._fields["model"], "html": done.html, "notice": NOTICE}
        )


def add_guarded(app: FastAPI, desk: Desk) -> None:
    """Adds the endpoints. Triage and counts have threads of their own, so that nobody who asks for others waits."""
    triaging = CapacityLimiter(TRIAGED_AT_ONCE)
    counting = Seats(COUNTED_AT_ONCE, desk.settings)

    @app.post("/v1/answer", response_model=AnswerReply, responses={**STREAM, **REFUSALS})
    async def answers(asked: AnswerRequest) -> Response:
        """Answers the last message with what stands around a model; a stream of typed events if `stream` is true."""
        speaker = desk.speaker(asked.model)
        messages, options = asked.conversation, asked.options(desk.settings)
        flags = await to_thread.run_sync(triage_of, messages, limiter=triaging)
        structured = asked.format == "sections"
        return Reply(
            desk,
            speaker,
            lambda: rendered(guarded(speaker, messages, options, flags, structured)),
            GuardedForm("bedside.answer", speaker.name, asked.question),
            stream=bool(asked.stream),
            early=[Triaged(flags)],
        )

    @app.post("/v1/case", response_model=AnswerReply, responses={**STREAM, **REFUSALS})
    async def cases(asked: CaseRequest) -> Response:
        """An invented case vignette to try the model with; of no real patient."""
        speaker = desk.speaker(asked.model)
        options = asked.options(desk.settings)
        return Reply(
            desk,
            speaker,
            lambda: rendered(case(speaker, asked.specialty, asked.difficulty, options)),
            GuardedForm("bedside.case", speaker.name, f"{asked.specialty}, {asked.difficulty}"),
            stream=bool(asked.stream),
        )

    @app.post("/v1/tokens", responses=REFUSALS)
    async def tokens(asked: TokensRequest) -> TokensReply:
        """How many tokens a text takes of the context."""
        speaker = desk.speaker(asked.model)
        try:
            return TokensReply(tokens=await counting.run(speaker.tokens, asked.text))
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - told as for an answer, and logged by place alone
            raise Refused(of_exception(error)) from None


def rendered(steps: Steps, clock: Callable[[], float] = time.monotonic) -> Generator[Event]:
    """The same events, with the text as HTML now and then; the finished answer with its HTML last.

    Sections and HTML are told whole each time, so not for every token.
    """
    text, due = "", 0.0
    with closing(steps):
        for event in steps:
            now = clock()
            if isinstance(event, Answer):
                html = markdown.html(event.answer)
                if text:
                    yield Rendered(html)
                yield Finished(event, html)
            elif isinstance(event, Drafted):
                yield event if now >= due else Delta()
                due = now + RENDER_EVERY_S if now >= due else due
            else:
                yield event
                text += event.answer
                if event.answer and now >= due:
                    yield Rendered(markdown.html(text))
                    due = now + max(RENDER_EVERY_S, RENDER_SHARE * (clock() - now))
