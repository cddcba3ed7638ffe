"""`bedside ask`: one answer, streamed; reasoning to stderr, answer to stdout."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bedside.answer import Drafted, guarded
from bedside.errors import UsageError
from bedside.guard.triage import triage_of
from bedside.progress import say
from bedside.recipe import ServeSection
from bedside.records import Answer, Flag, GenerationOptions, Message
from bedside.runtime.choose import speaker
from bedside.text.prompts import NOTICE

FROM_STDIN = "-"


def options(max_tokens: int, temperature: float) -> GenerationOptions:
    """Decoding options from the command line."""
    return GenerationOptions(max_tokens=max_tokens, temperature=temperature)


def ask(model: str, question: str, how: GenerationOptions, settings: ServeSection, runs: Path, json_: bool) -> None:
    """Streams the answer, or prints the whole as JSON."""
    asked = [Message("user", _from_stdin() if question == FROM_STDIN else question)]
    if not asked[0].content.strip():
        raise UsageError("the question is empty")
    flags = triage_of(asked)
    _warn(flags)
    with closing(speaker(model, runs, settings)) as backend:
        events = guarded(backend, asked, how, flags)
        if json_:
            *_, whole = events
            assert isinstance(whole, Answer)
            print(json.dumps(whole.to_json(), ensure_ascii=False, indent=2), flush=True)
            say(NOTICE)
            return
        reasoning = False
        for event in events:
            assert not isinstance(event, Drafted)
            if isinstance(event, Answer):
                print(flush=True)
                if not event.answer:
                    say("\n(no answer was reached; raise --max-tokens)")
                elif event.finish == "length":
                    say("(cut at the token limit; raise --max-tokens)")
                say(NOTICE)
            elif event.reasoning:
                reasoning = True
                print(event.reasoning, end="", file=sys.stderr, flush=True)
            else:
                if reasoning:
                    say("\n")
                reasoning = False
                print(event.answer, end="", flush=True)


def _warn(flags: Sequence[Flag]) -> None:
    """Told before the model is loaded, since its answer may take a minute."""
    for flag in flags:
        say(f"EMERGENCY? {flag.title} ({', '.join(flag.matched)}). {flag.advice} [{flag.source}]\n")


def _from_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the question on stdin is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
