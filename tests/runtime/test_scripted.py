from bedside.answer import answer
from bedside.recipe import PromptSection
from bedside.records import Answer, Delta, Generation, GenerationOptions, Message
from bedside.runtime.scripted import ScriptedBackend

QUESTION = [Message("user", "Why a raised JVP?")]


def test_it_says_what_it_was_told_to_in_order() -> None:
    speaker = ScriptedBackend([("It is the heart.", "Heart failure."), ("", "Rest.")])
    first = list(speaker.stream(QUESTION, GenerationOptions()))
    assert first[-1] == Generation("It is the heart.", "Heart failure.", "stop", 4, 6)
    assert "".join(e.reasoning for e in first if isinstance(e, Delta)).strip() == "It is the heart."
    assert "".join(e.answer for e in first if isinstance(e, Delta)).strip() == "Heart failure."
    second = list(speaker.stream(QUESTION, GenerationOptions()))
    assert isinstance(second[-1], Generation)
    assert second[-1].answer == "Rest."


def test_it_remembers_what_it_was_asked_and_how() -> None:
    speaker = ScriptedBackend([("", "Rest.")], PromptSection(system="Be brief."))
    options = GenerationOptions(max_tokens=7, answer_tokens=2)
    *_, last = answer(speaker, QUESTION, options)
    assert isinstance(last, Answer)
    assert last.usage == {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7}
    assert speaker.asked == [[Message("system", "Be brief."), *QUESTION]]
    assert speaker.options == [options]


def test_it_continues_a_text_with_the_answer_and_tells_how_likely_its_words_were() -> None:
    speaker = ScriptedBackend([("It is the heart.", "Heart failure.")], name="second")
    *deltas, last = speaker.complete("A raised JVP means", GenerationOptions(logprobs=1))
    assert isinstance(last, Generation)
    assert (speaker.name, speaker.prompts, last.reasoning, last.prompt_tokens) == (
        "second",
        ["A raised JVP means"],
        "",
        4,
    )
    told = [one for delta in deltas if isinstance(delta, Delta) for one in delta.logprobs]
    assert tuple(told) == last.logprobs
    assert [one.token for one in told] == ["Heart ", "failure. "]
    assert all(one.top == ((one.token, one.logprob),) for one in told)
    assert speaker.tokens("A raised", " JVP") == 3
