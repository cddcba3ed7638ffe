"""Scores of what a model writes, always greedily: with reasoning before the answer, or without.

A row keeps what was written, so that it can be read and scored again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bedside.data.read import Row
from bedside.evaluate.forgetting import score_instruction
from bedside.evaluate.safety import score_refusal
from bedside.metrics import bertscore
from bedside.metrics.overlap import rouge_l
from bedside.progress import Advance
from bedside.recipe import EvaluateSection
from bedside.records import Example, Generation, GenerationOptions, Message
from bedside.runtime.backend import Writer
from bedside.text.chat import LETTERS, conversation, user_text
from bedside.text.diagnosis import diagnosis
from bedside.text.extract import Extracted, decision, final, letter


def direct(settings: EvaluateSection) -> GenerationOptions:
    """For an answer of at most `answer_tokens`, asked as `ranked` asks: its reasoning is closed at once."""
    return GenerationOptions(max_tokens=settings.answer_tokens, thinking_tokens=0)


def reasoned(settings: EvaluateSection) -> GenerationOptions:
    """For an answer after reasoning, `forced` where it had to be made to come."""
    return GenerationOptions(max_tokens=settings.max_tokens, answer_tokens=settings.answer_tokens)


def messages(writer: Writer, item: Example) -> list[Message]:
    """The conversation in which an item is asked."""
    return conversation(user_text(item), writer.prompt, item.history)


def _written(
    writer: Writer, items: Sequence[Example], options: GenerationOptions, advance: Advance
) -> list[Generation]:
    asked = [messages(writer, item) for item in items]
    if writer.prompt.reasoning == "none":
        options = replace(options, thinking_tokens=None)  # there is none to be closed
    return writer.write(asked, options, lambda n: advance(n, ""))


def _committed(item: Example, generation: Generation) -> Row:
    found = _extracted(item, generation)
    return {
        "score": float(found.value == item.label),
        "chosen": found.value,
        "gold": item.label,
        "how": found.how,
        "form": found.form,
    }


def _extracted(item: Example, generation: Generation) -> Extracted:
    if item.options:
        return letter(generation.answer, LETTERS[: len(item.options)], item.options, generation.finish)
    if item.accepted:
        return diagnosis(generation.answer, item.accepted, generation.finish)
    return decision(generation.answer, generation.finish)


def _ended(generation: Generation) -> Row:
    """How an open answer ended; one that declines or was cut is scored all the same, by what is there."""
    return {"how": final(generation.answer, generation.finish).how}


def _asked(item: Example) -> Row:
    return {
        "id": item.id,
        "question": item.question,
        "context": item.context,
        "options": list(item.options),
        "reference": item.answer,
        "reference_reasoning": item.reasoning,
    }


def _said(generation: Generation) -> dict[str, Any]:
    return {
        "reasoning": generation.reasoning,
        "answer": generation.answer,
        "finish": generation.finish,
        "forced": generation.forced,
        "tokens": generation.completion_tokens,
    }


def _scorer(
    options: Callable[[EvaluateSection], GenerationOptions],
    judge: Callable[[Example, Generation], Row],
) -> Callable[[Writer, Sequence[Example], EvaluateSection, Advance], list[Row]]:
    """A row an item: what was asked, what was written, and how that is judged."""

    def score(writer: Writer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
        return [
            {**_asked(item), **_said(generation), **judge(item, generation)}
            for item, generation in zip(items, _written(writer, items, options(settings), advance), strict=True)
        ]

    return score


_score_wording = _scorer(reasoned, lambda item, said: {"score": rouge_l(item.answer, said.answer), **_ended(said)})
score_reason = _scorer(reasoned, _committed)
"""The option, decision or diagnosis that an answer after reasoning commits to."""
score_direct = _scorer(direct, _committed)
"""The same of an answer without reasoning."""
score_instructions = _scorer(direct, lambda item, said: {**score_instruction(item, said.answer), **_ended(said)})
score_safety = _scorer(direct, lambda item, said: score_refusal(item, said.answer))


def score_rouge(writer: Writer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """Answers after reasoning against the references; the reasoning itself is not compared."""
    rows = _score_wording(writer, items, settings, advance)
    if not settings.bertscore:
        return rows
    references, answers = ([row[name] for row in rows] for name in ("reference", "answer"))
    found = bertscore.overlaps(settings.bertscore, settings.bertscore_layer, references, answers)
    return [{**row, "bertscore": one} for row, one in zip(rows, found, strict=True)]
