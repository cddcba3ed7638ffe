"""An answer in any case: reasoning that does not end by itself is closed, and the answer follows.

Small models reason in circles, and a person is left with no answer at all. A part of the tokens is kept for the answer
(budget forcing, Muennighoff 2025, arXiv:2501.19393); that it was forced is told with the generation.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from bedside.records import Delta, Generation, GenerationOptions
from bedside.text import think

StreamText = Callable[[str, GenerationOptions], Generator[Delta | Generation]]
"""Streams the continuation of a prompt's text; the finished generation comes last."""


def stream_with_answer(stream: StreamText, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
    """The deltas of a generation and the whole of it last, in one go at the model or, if it must be forced, two."""
    kept = min(options.answer_tokens, options.max_tokens - 1)
    reasoning: list[str] = []
    first = None
    with closing(stream(prompt, options)) as events:
        for event in events:
            if isinstance(event, Generation):
                first = event
                break
            yield event
            if event.reasoning:
                reasoning.append(event.reasoning)
                if kept and len(reasoning) >= options.max_tokens - kept:  # a delta is a token, or a few
                    break
    if first is not None and (first.answer or not first.reasoning or not kept):
        yield first
        return
    spent = first.completion_tokens if first else len(reasoning)
    so_far = prompt + think.reasoned(prompt, "".join(reasoning))
    for event in stream(so_far, replace(options, max_tokens=max(kept, options.max_tokens - spent))):
        yield _whole(event, reasoning, spent) if isinstance(event, Generation) else event


def _whole(answered: Generation, reasoning: Sequence[str], spent: int) -> Generation:
    """Both goes as one; the reasoning was prompt to the second, and its `spent` tokens are counted as completion."""
    return replace(
        answered,
        reasoning="".join(reasoning).strip(),
        prompt_tokens=max(0, answered.prompt_tokens - spent),
        completion_tokens=answered.completion_tokens + spent,
        forced=True,
    )
