"""The one answering path."""

import json
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from bedside.answer import Drafted, answer, case, guarded
from bedside.errors import ContextTooLong, RemoteError, UsageError
from bedside.recipe import PromptSection
from bedside.records import Answer, Delta, Flag, Generation, GenerationOptions, Message, Section
from bedside.runtime.budget import stream_with_answer
from bedside.runtime.reading import Piece
from bedside.runtime.remote import AS_SERVED
from bedside.runtime.scripted import ScriptedBackend
from bedside.text import prompts, sections

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


SAID = '{"Diagnosis": ["STEMI"], "Differential": [], "Plan": ["ECG"], "Red flags": [], "What is missing": []}'


def told(backend: ScriptedBackend, structured: bool = True, flags: tuple[Flag, ...] = ()) -> list[Any]:
    options = GenerationOptions(max_tokens=100)
    return list(guarded(backend, [Message("user", "Chest pain?")], options, flags, structured))


def test_a_structured_answer_comes_as_drafts_and_ends_as_sections_and_their_markdown():
    backend = ScriptedBackend([("Hm.", SAID)], SECTION)
    *before, last = told(backend)
    drafts = [event for event in before if isinstance(event, Drafted)]
    assert drafts[-1].sections == last.sections == (Section("Diagnosis", ("STEMI",)), Section("Plan", ("ECG",)))
    assert last.answer == "## Diagnosis\n\n- STEMI\n\n## Plan\n\n- ECG"
    assert not [event for event in before if isinstance(event, Delta) and event.answer]
    assert backend.options[0].schema == sections.SCHEMA
    assert backend.options[0].answer_tokens == 75
    assert backend.asked[0][-1].content == f"Chest pain?\n\n{prompts.SECTIONS}"


@pytest.mark.parametrize("said", ["It is a STEMI.", "[1, 2]", "{} and so on"])
def test_a_model_that_says_something_else_is_shown_as_plain_text(said: str):
    *_, last = told(ScriptedBackend([("", said)], SECTION))
    assert (last.answer, last.sections) == (said, ())


def test_an_answer_that_is_cut_keeps_the_sections_that_were_reached():
    *_, last = told(ScriptedBackend([("", SAID[:40])], SECTION))
    assert last.sections[0] == Section("Diagnosis", ("STEMI",))


@pytest.mark.parametrize(
    "said", ["{", '{"Diag', '{"Diagnosis": [', '{"Diagnosis": ["', '{"Diagnosis": [], "Plan": []}']
)
def test_an_answer_that_is_cut_before_it_says_anything_is_not_shown_as_json(said: str):
    *_, last = told(ScriptedBackend([("Hm.", said)], SECTION))
    assert (last.answer, last.sections, last.reasoning) == ("", (), "Hm.")


@pytest.mark.parametrize("said", ['{"diagnosis": "STEMI"}', '{"Diagnosis": "STEMI"}'])
def test_json_of_another_shape_is_shown_as_it_is(said: str):
    *_, last = told(ScriptedBackend([("", said)], SECTION))
    assert (last.answer, last.sections) == (said, ())


class Ruminating(ScriptedBackend):
    """Never ends its thought, and fills every item of every section; a token of it has four characters."""

    items = {name: [f"{i:0{size}}" for i in range(most)] for name, (_, most, size) in sections.BOUNDS.items()}

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        return stream_with_answer(self.pieces, "Why?\n<think>\n", options)

    def pieces(self, prompt: str, options: GenerationOptions) -> Generator[Piece]:
        text = json.dumps(self.items) if options.schema else "so, " * 9999
        cut = text[: 4 * options.max_tokens]
        for at in range(0, len(cut), 4):
            yield Piece(cut[at : at + 4], at // 4 + 1, 3)
        yield Piece("", len(cut) // 4, 3, "stop" if cut == text else "length")


def test_the_longest_structured_answer_fits_behind_reasoning_that_never_ends():
    asked = [Message("user", "Chest pain?")]
    *_, last = guarded(Ruminating([], SECTION), asked, GenerationOptions(max_tokens=1024), (), structured=True)
    assert isinstance(last, Answer)
    assert {section.name: list(section.items) for section in last.sections} == Ruminating.items
    assert (last.finish, last.forced) == ("stop", True)
    assert last.reasoning


def test_a_model_that_cannot_be_constrained_is_asked_for_plain_text():
    backend = ScriptedBackend([("", "It is a STEMI.")], SECTION)
    backend.constrains = False
    *_, last = told(backend)
    assert last.answer == "It is a STEMI."
    assert (backend.options[0].schema, backend.asked[0][-1].content) == ("", "Chest pain?")


def test_a_guarded_answer_says_whether_the_triage_found_an_emergency():
    flag = Flag("shock", "Shock", "Call.", "ABCDE", "https://example.org", ("collapse",))
    for flags in ((), (flag,)):
        *_, last = told(ScriptedBackend([("", "Rest.")], SECTION), structured=False, flags=flags)
        assert (last.emergency, last.flags) == (bool(flags), flags)


def test_a_case_is_written_without_reasoning_and_without_the_trained_system_message():
    backend = ScriptedBackend([("", "A 50-year-old man …")], SECTION)
    *_, last = case(backend, "cardiology", "hard", GenerationOptions(seed=7))
    assert last.answer.startswith("A 50-year-old")
    assert backend.options[0].thinking_tokens == 0
    assert backend.asked[0][0] == Message("system", prompts.CASE_SYSTEM)
    assert "cardiology" in backend.asked[0][-1].content


def test_a_case_of_a_server_that_reasons_as_it_likes_sets_no_limit_to_that():
    class Elsewhere(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
            if options.thinking_tokens is not None:
                raise UsageError("how long it reasons is for its server to set")
            return super().stream(messages, options)

    backend = Elsewhere([("", "A 50-year-old man …")], AS_SERVED)
    *_, last = case(backend, "cardiology", "hard", GenerationOptions(seed=7))
    assert last.answer.startswith("A 50-year-old")


@pytest.mark.parametrize("refusal", [RemoteError("no response_format here"), UsageError("cannot be held to this")])
def test_where_a_model_refuses_the_schema_the_answer_is_plain_text(refusal: Exception):
    class Refusing(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
            if options.schema:
                raise refusal
            yield from super().stream(messages, options)

    *_, last = guarded(Refusing([("", "Rest.")]), [Message("user", "A case.")], GenerationOptions(), (), True)
    assert isinstance(last, Answer)
    assert (last.answer, last.sections) == ("Rest.", ())


def test_what_a_model_refuses_as_plain_text_too_is_told():
    class Full(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
            raise ContextTooLong("too long")

    with pytest.raises(ContextTooLong, match="too long"):
        list(guarded(Full([]), [Message("user", "A case.")], GenerationOptions(), (), True))


def test_a_server_that_fails_in_the_middle_of_sections_is_not_asked_again():
    class Failing(ScriptedBackend):
        def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
            yield Delta(reasoning="Hm. ")
            raise RemoteError("gone")

    with pytest.raises(RemoteError, match="gone"):
        list(guarded(Failing([]), [Message("user", "A case.")], GenerationOptions(), (), True))
