"""An answer in any case, and cut where it is told to stop.

Small models reason in circles, and a person is left with no answer at all. So a part of the tokens is kept for the
answer: reasoning that does not end by itself is closed (budget forcing, Muennighoff 2025, arXiv:2501.19393), which is
told with the generation. Stop sequences end the answer alone; in the reasoning they would end it before it began.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from bedside.records import Delta, Generation, GenerationOptions
from bedside.text import think

GenerateText = Callable[[Sequence[str], GenerationOptions, Callable[[int], None]], list[Generation]]
"""Continues the texts of several prompts at once, and tells of every few that are done."""
StreamText = Callable[[str, GenerationOptions], Generator[int | Delta | Generation]]
"""Streams the continuation of a prompt's text: the prompt's tokens first, the finished generation last."""


def stream_with_answer(stream: StreamText, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
    """The deltas of a generation and the whole of it last."""
    answering = _Answering(stream, prompt, replace(options, stop=()))
    with closing(answering.events()) as events:
        for event in _until(options.stop, events):
            if isinstance(event, Generation):
                event = replace(event, prompt_tokens=answering.prompt_tokens, forced=answering.forced)
            yield event


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


class _Answering:
    """One go at the model or, if it must be made to answer, two."""

    def __init__(self, stream: StreamText, prompt: str, options: GenerationOptions) -> None:
        self._stream = stream
        self._prompt = prompt
        self._options = options
        self._kept = min(options.answer_tokens, options.max_tokens - 1)
        self.prompt_tokens = 0
        self.forced = False

    def events(self) -> Generator[Delta | Generation]:
        """Deltas, and the generation last."""
        reasoning: list[str] = []
        first = None
        with closing(self._stream(self._prompt, self._options)) as events:
            for event in events:
                if isinstance(event, int):
                    self.prompt_tokens = event
                elif isinstance(event, Generation):
                    first = event
                    break
                else:
                    yield event
                    if event.reasoning:
                        reasoning.append(event.reasoning)
                        if self._kept and len(reasoning) >= self._options.max_tokens - self._kept:  # about a token each
                            break
        if first is not None and (first.answer or not first.reasoning or not self._kept):
            yield first
        else:
            yield from self._answer(reasoning, first.completion_tokens if first else len(reasoning), first is not None)

    def _answer(self, reasoning: Sequence[str], spent: int, ended: bool) -> Iterator[Delta | Generation]:
        """The second go; the reasoning is prompt to it, and its `spent` tokens are counted as completion.

        Reasoning that ended by itself leaves what it did not use. Reasoning that was broken off was counted by its
        deltas, which may be several tokens each, so the answer gets what was kept for it.
        """
        self.forced = True
        so_far = self._prompt + think.reasoned(self._prompt, "".join(reasoning))
        left = max(1, self._options.max_tokens - spent) if ended else self._kept
        for event in self._stream(so_far, replace(self._options, max_tokens=left)):
            if isinstance(event, Generation):
                tokens = event.completion_tokens + spent
                yield replace(event, reasoning="".join(reasoning).strip(), completion_tokens=tokens)
            elif not isinstance(event, int):
                yield event


def _until(stop: Sequence[str], events: Iterator[Delta | Generation]) -> Iterator[Delta | Generation]:
    """The same up to the first stop sequence in the answer; one may be torn over any number of deltas."""
    reasoning, answer, held, tokens = "", "", "", 0
    for event in events:
        if isinstance(event, Generation):
            if held:
                yield Delta(answer=held)
            yield event
            return
        tokens += 1
        if event.reasoning:
            reasoning += event.reasoning
            yield event
            continue
        held += event.answer
        cut = min((at for text in stop if (at := held.find(text)) >= 0), default=-1)
        keep = max((think.tail_of(text, held) for text in stop), default=0) if cut < 0 else len(held) - cut
        ready, held = held[: len(held) - keep], held[len(held) - keep :]
        if ready:
            answer += ready
            yield Delta(answer=ready)
        if cut >= 0:
            yield Generation(reasoning.strip(), answer.strip(), "stop", 0, tokens)
            return
