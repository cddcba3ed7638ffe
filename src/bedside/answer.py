"""The one answering path: what `ask`, the page and the API all go through.

    for event in answer(speaker, [Message("user", "What causes a raised JVP?")], GenerationOptions()):
        ...                                                  # Delta, …, Delta, Answer

The system message that the model was trained with is put in front unless the conversation brings its own. A quarter of
the tokens is kept for the answer: reasoning that does not end by then is closed, and `Answer.forced` says so.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from bedside.errors import UsageError
from bedside.records import Answer, Delta, Generation, GenerationOptions, Message
from bedside.runtime.backend import Speaker
from bedside.text.chat import conversation


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


def _answer(generation: Generation, model: str) -> Answer:
    usage = {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "total_tokens": generation.prompt_tokens + generation.completion_tokens,
    }
    return Answer(generation.answer, generation.reasoning, model, usage, generation.finish, generation.forced)
