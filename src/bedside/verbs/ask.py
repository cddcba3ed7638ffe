"""`bedside ask`: one answer, streamed; reasoning to stderr, answer to stdout."""

import json
import sys
from pathlib import Path

from bedside.answer import answer
from bedside.errors import UsageError
from bedside.records import Answer, GenerationOptions, Message
from bedside.runtime.choose import find_run, speaker
from bedside.text.prompts import NOTICE
from bedside.verbs.pipeline import warn_if_stale

CONTEXT = 4096


def options(max_tokens: int, temperature: float) -> GenerationOptions:
    """Decoding options from the command line."""
    return GenerationOptions(max_tokens=max_tokens, temperature=temperature)


def ask(model: str, question: str, how: GenerationOptions, runs: Path, json_: bool) -> None:
    """Streams the answer, or prints the whole as JSON."""
    if not question.strip():
        raise UsageError("the question is empty")
    run = find_run(model, runs)
    if run is not None:
        warn_if_stale(run, "export")
    backend = speaker(model, runs, CONTEXT)
    try:
        for event in answer(backend, [Message("user", question)], how):
            if isinstance(event, Answer):
                _finish(event, json_)
            elif not json_:
                print(event.reasoning, end="", file=sys.stderr, flush=True)
                print(event.answer, end="", flush=True)
    finally:
        backend.close()


def _finish(whole: Answer, json_: bool) -> None:
    if json_:
        print(json.dumps(whole.to_json(), ensure_ascii=False, indent=2))
    else:
        print(flush=True)
        if whole.finish == "length":
            print("(cut at the token limit; raise --max-tokens)", file=sys.stderr)
    print(NOTICE, file=sys.stderr)
