"""The one answering path."""

import pytest

from bedside.answer import answer
from bedside.errors import UsageError
from bedside.recipe import PromptSection
from bedside.records import Answer, Delta, GenerationOptions, Message
from bedside.runtime.scripted import ScriptedBackend

SECTION = PromptSection(style="chat", system="You teach.")


def events(messages: list[Message], backend: ScriptedBackend) -> list[Delta | Answer]:
    return list(answer(backend, messages, GenerationOptions(max_tokens=9)))


def test_deltas_come_first_and_the_whole_answer_last():
    *deltas, last = events([Message("user", "Why?")], ScriptedBackend([("So it is.", "Because.")], SECTION))
    assert "".join(delta.reasoning for delta in deltas).strip() == "So it is."
    assert "".join(delta.answer for delta in deltas).strip() == "Because."
    assert isinstance(last, Answer)
    assert (last.reasoning, last.answer, last.model, last.finish) == ("So it is.", "Because.", "scripted", "stop")
    assert last.usage["total_tokens"] == last.usage["prompt_tokens"] + last.usage["completion_tokens"]


def test_what_nobody_has_looked_for_is_null_and_not_no():
    last = events([Message("user", "Why?")], ScriptedBackend([("", "Because.")], SECTION))[-1]
    assert isinstance(last, Answer)
    assert last.to_json()["emergency"] is None
    assert last.to_json()["abstained"] is None


@pytest.mark.parametrize(
    ("before", "system"),
    [([], "You teach."), ([Message("system", "You test.")], "You test.")],
    ids=["trained", "the conversation's own"],
)
def test_the_trained_system_message_comes_first_unless_the_conversation_brings_its_own(before, system: str):
    backend = ScriptedBackend([("", "Because.")], SECTION)
    history = [*before, Message("user", "What?"), Message("assistant", "This.")]
    events([*history, Message("user", "Why?")], backend)
    assert [message.role for message in backend.asked[0]] == ["system", "user", "assistant", "user"]
    assert backend.asked[0][0].content == system


def test_a_quarter_of_the_tokens_is_kept_for_the_answer():
    backend = ScriptedBackend([("", "Because.")], SECTION)
    list(answer(backend, [Message("user", "Why?")], GenerationOptions(max_tokens=100)))
    assert backend.options[0].answer_tokens == 25


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(UsageError, match="not valid UTF-8"):
        events([Message("user", "Why\udc80?")], ScriptedBackend([]))


@pytest.mark.parametrize("messages", [[], [Message("user", "  ")], [Message("user", "a"), Message("assistant", "b")]])
def test_a_conversation_without_a_question_is_refused(messages: list[Message]):
    with pytest.raises(UsageError, match="must end with a question"):
        events(messages, ScriptedBackend([]))
