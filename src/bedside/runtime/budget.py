"""An answer in any case, in the shape that is asked for, and cut where it is told to stop.

Small models reason in circles, and a person is left with no answer at all. So a part of the tokens is kept for the
answer: reasoning that does not end by itself is closed (budget forcing, Muennighoff 2025, arXiv:2501.19393), which is
told with the generation. A schema holds for the answer alone, and so do stop sequences: in the reasoning they would end
it before it began.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from bedside.records import Delta, Generation, GenerationOptions
from bedside.runtime.reading import Piece, Reading
from bedside.text import think

GenerateText = Callable[[Sequence[str], GenerationOptions, Callable[[int], None]], list[Generation]]
"""Continues the texts of several prompts at once, and tells of every few that are done."""
StreamText = Callable[[str, GenerationOptions], Generator[Piece]]
"""Streams the continuation of a prompt's text, from its first token to its last; knows of no stop sequences."""


def stream_with_answer(
    stream: StreamText, prompt: str, options: GenerationOptions, reasons: bool = True
) -> Generator[Delta | Generation]:
    """The deltas of a generation and the whole of it last. `reasons`: the prompt's style lets a model reason.

    It takes one go at the model or two. The second is for an answer that must follow a schema, once the reasoning has
    ended, and for one that reasoning has left no room for.
    """
    if reasons and options.thinking_tokens == 0:
        prompt, reasons = prompt + think.closed(prompt), False
    opened, limit, free = prompt.endswith(think.OPEN), _limit(options), reasons and bool(options.schema)
    first = _reading(opened, replace(options, schema="" if free else options.schema))

    def enough(piece: Piece) -> bool:
        over = limit is not None and first.stream.in_reasoning and piece.tokens >= limit
        return over or (free and first.stream.answering)

    pieces = stream(prompt, replace(options, stop=(), schema="" if free else options.schema))
    last = yield from _go(pieces, first, enough, answers=not free)
    bare = bool(first.answer) and not (opened or first.reasoning)  # it answers at once
    spent = 0 if free and bare else last.tokens
    left = options.max_tokens - spent
    closed = limit is not None and not first.answer and (bool(first.reasoning) or last.finish is None)
    if not closed and not (free and left > 0):
        whole = _generation(first, last)
        yield replace(whole, answer="") if free else whole
        return
    so_far = prompt if bare else prompt + think.reasoned(prompt, first.reasoning)
    second = _reading(False, options)
    last_of_all = yield from _go(stream(so_far, replace(options, stop=(), max_tokens=max(1, left))), second)
    whole = _generation(second, last_of_all)
    yield replace(
        whole,
        reasoning=(first.reasoning + whole.reasoning).strip(),
        prompt_tokens=last.prompt_tokens,
        completion_tokens=spent + whole.completion_tokens,
        forced=first.stream.in_reasoning or not free,
    )


def complete(stream: StreamText, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
    """The same for a text that is continued as it stands: all that is said is answer, tags and white space included."""
    reading = Reading(think.PlainStream(), options.stop)
    last = yield from _go(stream(prompt, replace(options, stop=())), reading)
    yield replace(_generation(reading, last), answer=reading.answer)


def in_one_go(pieces: Generator[Piece], prompt: str) -> Generation:
    """What follows a prompt, read to its end."""
    said = list(pieces)
    reasoning, answer = think.split("".join(piece.text for piece in said), opened=prompt.endswith(think.OPEN))
    return Generation(reasoning, answer, said[-1].finish or "length", said[-1].prompt_tokens, said[-1].tokens)


def write_with_answer(
    generate: GenerateText, prompts: Sequence[str], options: GenerationOptions, progress: Callable[[int], None]
) -> list[Generation]:
    """Generations for all prompts; `answer_tokens` come on top of `max_tokens` here, for those that need them.

    A base model may never close a `<think>` block that it was not trained on; scoring that as 0 would make every tuned
    model "better" by form alone.
    """
    if options.thinking_tokens == 0:
        return generate([prompt + think.closed(prompt) for prompt in prompts], options, progress)
    whole = generate(prompts, options, progress)
    unanswered = [i for i, one in enumerate(whole) if one.reasoning and not one.answer] if options.answer_tokens else []
    closed = [prompts[i] + think.reasoned(prompts[i], whole[i].reasoning) for i in unanswered]
    answered = generate(closed, replace(options, max_tokens=options.answer_tokens), lambda n: None) if closed else []
    for i, last in zip(unanswered, answered, strict=True):
        tokens = whole[i].completion_tokens + last.completion_tokens
        whole[i] = replace(
            whole[i], answer=last.answer, finish=last.finish, completion_tokens=tokens, forced=True
        )  # fmt: skip
    return whole


def _limit(options: GenerationOptions) -> int | None:
    """Tokens after which reasoning is closed; None if it may take them all."""
    kept = min(options.answer_tokens, options.max_tokens - 1)
    limits = [options.thinking_tokens] if options.thinking_tokens else []
    return min([*limits, options.max_tokens - kept] if kept else limits, default=None)


def _reading(opened: bool, options: GenerationOptions) -> Reading:
    """What follows a schema is all answer, whatever its strings look like."""
    return Reading(think.PlainStream() if options.schema else think.ThinkStream(opened), options.stop)


def _go(
    pieces: Generator[Piece],
    reading: Reading,
    enough: Callable[[Piece], bool] = lambda piece: False,
    answers: bool = True,
) -> Generator[Delta, None, Piece]:
    """One go at the model, until it ends, is stopped or has said `enough`; returns the last piece that was read.

    A piece of which nothing can be told gives an empty Delta, so that whoever listens can leave.
    """
    last = Piece("", 0, 0)
    with closing(pieces):
        for last in pieces:
            told = False
            for delta in reading.feed(last):
                if answers or delta.reasoning:
                    told = True
                    yield delta
            if not told:
                yield Delta()
            if reading.stopped or enough(last):
                return last
    yield from (delta for delta in reading.close() if answers or delta.reasoning)
    return last


def _generation(reading: Reading, last: Piece) -> Generation:
    return Generation(
        reasoning=reading.reasoning.strip(),
        answer=reading.answer.strip(),
        finish="stop" if reading.stopped else last.finish or "length",
        prompt_tokens=last.prompt_tokens,
        completion_tokens=last.tokens,
        logprobs=reading.logprobs,
    )
