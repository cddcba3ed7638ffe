"""How answers are written: the JSON of a chat's or a raw text's completion, whole or chunk by chunk.

A chunk is written for every token, so it is put together from a prepared beginning and end: only what was said is
turned into JSON. Source of the shapes: see `shapes`.
"""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bedside.records import Answer, Delta, Generation, TokenLogprob
from bedside.serve.reply import Outcome
from bedside.serve.shapes import (
    ChatLogprobs,
    Choice,
    Completion,
    Spoken,
    TextChoice,
    TextCompletion,
    TextLogprobs,
    TokenLogprobs,
    TopLogprob,
    Usage,
)


class _Form:
    """The part that both shapes share: the head of every chunk, and whether the last one counts tokens."""

    def __init__(self, prefix: str, kind: str, model: str, asked: str, wants_usage: bool) -> None:
        self.id = f"{prefix}-{uuid.uuid4().hex}"
        self._fields = {"id": self.id, "created": int(time.time()), "model": model}
        self.asked = asked
        self._wants_usage = wants_usage
        self._head = json.dumps({**self._fields, "object": kind}, separators=(",", ":"))[:-1]

    def _chunk(self, choice: str) -> str:
        return f'{self._head},"choices":[{{"index":0,{choice}}}],"usage":null}}'

    def _counted(self, usage: Mapping[str, int]) -> Iterator[str]:
        if self._wants_usage:
            yield f'{self._head},"choices":[],"usage":{json.dumps(dict(usage), separators=(",", ":"))}}}'


class ChatForm(_Form):
    """POST /v1/chat/completions: deltas and the Answer."""

    def __init__(self, model: str, asked: str, wants_usage: bool = False, logprobs: bool = False) -> None:
        super().__init__("chatcmpl", "chat.completion.chunk", model, asked, wants_usage)
        self._logprobs = logprobs
        self._role = '"role":"assistant",'

    def lines(self, event: Delta | Answer) -> Iterable[str]:
        """A delta makes one chunk, the answer the closing one or two."""
        if isinstance(event, Answer):
            yield self._delta("null", "null", finish=json.dumps(event.finish))
            yield from self._counted(event.usage)
        elif event.reasoning:
            yield self._delta("null", json.dumps(event.reasoning))
        else:
            logprobs = _chat_logprobs(event.logprobs).model_dump_json() if self._logprobs else "null"
            yield self._delta(json.dumps(event.answer), "null", logprobs)

    def whole(self, events: Sequence[Any]) -> str:
        """The answer as one object."""
        answer = events[-1]
        choice = Choice(
            message=Spoken(content=answer.answer, reasoning_content=answer.reasoning or None),
            finish_reason=answer.finish,
            logprobs=_chat_logprobs(_of_all(events)) if self._logprobs else None,
        )
        return Completion(**self._fields, choices=[choice], usage=Usage(**answer.usage)).model_dump_json()

    def note(self, outcome: Outcome, event: Delta | Answer) -> None:
        """The Answer tells all."""
        if isinstance(event, Delta):
            outcome.add(event)
        else:
            usage = event.usage
            outcome.end(event.answer, usage["prompt_tokens"], usage["completion_tokens"], event.finish)

    def _delta(self, content: str, reasoning: str, logprobs: str = "null", finish: str = "null") -> str:
        """From JSON. Both texts are always there, since clients read both of every chunk; the role comes once."""
        role, self._role = self._role, ""
        said = f'"delta":{{{role}"content":{content},"reasoning_content":{reasoning}}}'
        return self._chunk(f'{said},"logprobs":{logprobs},"finish_reason":{finish}')


class TextForm(_Form):
    """POST /v1/completions: deltas and the Generation."""

    def __init__(self, model: str, asked: str, wants_usage: bool = False, logprobs: bool = False) -> None:
        super().__init__("cmpl", "text_completion", model, asked, wants_usage)
        self._logprobs = logprobs
        self._offset = 0

    def lines(self, event: Delta | Generation) -> Iterable[str]:
        """A delta makes one chunk, the generation the closing one or two."""
        if isinstance(event, Generation):
            yield self._said("", (), event.finish)
            yield from self._counted(_usage(event).model_dump())
        else:
            yield self._said(event.answer, event.logprobs, None)

    def whole(self, events: Sequence[Any]) -> str:
        """The continuation as one object."""
        done = events[-1]
        logprobs = self._told(_of_all(events)) if self._logprobs else None
        text = "".join(event.answer for event in events[:-1])  # white space is part of what was continued
        choice = TextChoice(text=text, finish_reason=done.finish, logprobs=logprobs)
        return TextCompletion(**self._fields, choices=[choice], usage=_usage(done)).model_dump_json()

    def note(self, outcome: Outcome, event: Delta | Generation) -> None:
        """The Generation tells all."""
        if isinstance(event, Delta):
            outcome.add(event)
        else:
            outcome.end(event.answer, event.prompt_tokens, event.completion_tokens, event.finish)

    def _said(self, text: str, tokens: Sequence[TokenLogprob], finish: str | None) -> str:
        logprobs = self._told(tokens).model_dump_json() if self._logprobs and text else "null"
        return self._chunk(f'"text":{json.dumps(text)},"logprobs":{logprobs},"finish_reason":{json.dumps(finish)}')

    def _told(self, tokens: Sequence[TokenLogprob]) -> TextLogprobs:
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token.token)
        return TextLogprobs(
            tokens=[token.token for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[dict(token.top) for token in tokens],
            text_offset=offsets,
        )


def _usage(done: Generation) -> Usage:
    total = done.prompt_tokens + done.completion_tokens
    return Usage(prompt_tokens=done.prompt_tokens, completion_tokens=done.completion_tokens, total_tokens=total)


def _of_all(events: Sequence[Any]) -> list[TokenLogprob]:
    return [token for event in events if isinstance(event, Delta) for token in event.logprobs]


def _chat_logprobs(tokens: Iterable[TokenLogprob]) -> ChatLogprobs:
    told = []
    for token in tokens:
        top = [TopLogprob(token=text, logprob=value, bytes=_bytes(text)) for text, value in token.top]
        told.append(
            TokenLogprobs(
                token=token.token, logprob=token.logprob, bytes=_bytes(token.token), top_logprobs=top
            )
        )  # fmt: skip
    return ChatLogprobs(content=told)


def _bytes(token: str) -> list[int] | None:
    """UTF-8 of a token; that of a part of a character is not known here any more."""
    return None if "\ufffd" in token else list(token.encode())
