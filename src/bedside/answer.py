"""The one answering path: what `ask`, the page and the API all go through.

    for event in answer(speaker, [Message("user", "What causes a raised JVP?")], GenerationOptions()):
        ...                                                  # Delta, …, Delta, Answer

The system message that the model was trained with is put in front unless the conversation brings its own. A quarter of
the tokens is kept for the answer, and of a structured one all that it may need, up to three quarters: reasoning that
does not end by then is closed, and `Answer.forced` says so.

`guarded` is the same with what stands around a model: the flags of the triage, and sections if they are wanted. The
triage is shown before the model is asked, so it comes first: `triage_of(messages)`. Evaluation and parity ask the bare
model.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from bedside.errors import RemoteError, UsageError
from bedside.records import Answer, Delta, Flag, Generation, GenerationOptions, Message, Section
from bedside.runtime.backend import Speaker
from bedside.text import prompts, sections
from bedside.text.chat import conversation


@dataclass(frozen=True, slots=True)
class Drafted:
    """The sections of a structured answer as far as they have come, after so many deltas, reasoning included."""

    sections: tuple[Section, ...]
    deltas: int


def answer(speaker: Speaker, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Answer]:
    """Streams the answer to the last message; the finished `Answer` comes last.

    Raises UsageError if the conversation does not end with a question.
    """
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise UsageError("the conversation must end with a question of the user")
    if any("\ud800" <= char <= "\udfff" for message in messages for char in message.content):
        raise UsageError("the conversation is not valid UTF-8 text")
    whole = conversation(messages[-1].content.strip(), speaker.prompt, messages[:-1])
    kept = options.answer_tokens or options.max_tokens // 4
    with closing(speaker.stream(whole, replace(options, answer_tokens=kept))) as events:
        for event in events:
            yield _answer(event, speaker.name) if isinstance(event, Generation) else event


def guarded(
    speaker: Speaker,
    messages: Sequence[Message],
    options: GenerationOptions,
    flags: tuple[Flag, ...],
    structured: bool = False,
) -> Generator[Delta | Drafted | Answer]:
    """Streams the answer; the finished `Answer` comes last, with the flags of the triage.

    A `structured` answer comes as `Drafted` sections where the model can be held to their schema. It is plain text
    where it cannot, and where the model says something else all the same. Raises UsageError as `answer` does.
    """
    events = _structured(speaker, messages, options) if structured else answer(speaker, messages, options)
    with closing(events):
        for event in events:
            yield replace(event, emergency=bool(flags), flags=flags) if isinstance(event, Answer) else event


def case(
    speaker: Speaker, specialty: prompts.Specialty, difficulty: prompts.Difficulty, options: GenerationOptions
) -> Generator[Delta | Answer]:
    """Streams an invented vignette; a model whose reasoning can be closed writes it at once."""
    messages = [
        Message("system", prompts.CASE_SYSTEM),
        Message("user", prompts.CASE.format(specialty="orthopaedics", difficulty=prompts.DIFFICULTIES["easy"])),
        Message("assistant", prompts.CASE_EXAMPLE),
        Message("user", prompts.CASE.format(specialty=specialty, difficulty=prompts.DIFFICULTIES[difficulty])),
    ]
    thinking = 0 if speaker.prompt.reasoning == "think" else None
    return answer(speaker, messages, replace(options, thinking_tokens=thinking))


def _structured(
    speaker: Speaker, messages: Sequence[Message], options: GenerationOptions
) -> Generator[Delta | Drafted | Answer]:
    """Sections, or plain text of a speaker that cannot be held to them; that may be found out only when it is asked."""
    if not speaker.constrains or not messages:
        yield from answer(speaker, messages, options)
        return
    said = False
    try:
        with closing(_drafted(speaker, messages, options)) as events:
            for event in events:
                said = True
                yield event
    except (RemoteError, UsageError):  # what a model refuses for another reason it refuses as plain text, too
        if said:
            raise
        yield from answer(speaker, messages, options)


def _drafted(
    speaker: Speaker, messages: Sequence[Message], options: GenerationOptions
) -> Generator[Delta | Drafted | Answer]:
    last = replace(messages[-1], content=f"{messages[-1].content.strip()}\n\n{prompts.SECTIONS}")
    kept = options.answer_tokens or min(sections.TOKENS, options.max_tokens * 3 // 4)  # a cut one lacks whole sections
    asked = replace(options, schema=sections.SCHEMA, answer_tokens=kept)
    text = ""
    drafted: tuple[Section, ...] = ()
    with closing(answer(speaker, [*messages[:-1], last], asked)) as events:
        for deltas, event in enumerate(events, start=1):
            if isinstance(event, Answer):
                yield _sectioned(event)
            elif not event.answer:
                yield event
            else:
                text += event.answer
                found = sections.parse(text) if sections.opens(text) else ()
                if sections.opens(text) is False:
                    yield event
                elif found != drafted:
                    drafted = found
                    yield Drafted(found, deltas)
                else:
                    yield Delta()


def _sectioned(event: Answer) -> Answer:
    """With the sections that were reached; nothing is shown of JSON that was cut before it said anything."""
    found = sections.parse(event.answer)
    if not found and not sections.is_empty(event.answer):
        return event
    return replace(event, answer=sections.markdown(found), sections=found)


def _answer(generation: Generation, model: str) -> Answer:
    usage = {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "total_tokens": generation.prompt_tokens + generation.completion_tokens,
    }
    return Answer(generation.answer, generation.reasoning, model, usage, generation.finish, generation.forced)
