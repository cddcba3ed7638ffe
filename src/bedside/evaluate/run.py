"""Scores one model on the items of each task: a row an item, a file a task, and `scores.json`.

A task whose file is there is not computed again, so an evaluation that was killed goes on with the next task.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bedside.evaluate.tasks import SCORED_BY, TASKS, baseline
from bedside.files import read_json, read_jsonl, write_json, write_jsonl
from bedside.metrics.overlap import rouge_l
from bedside.metrics.paired import mean_interval
from bedside.progress import Advance, bar, say
from bedside.recipe import EvaluateSection, Recipe, TaskName
from bedside.records import Example, Generation, GenerationOptions, Score
from bedside.runtime.backend import Scorer
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS, conversation, render_example, user_text

Row = dict[str, Any]


def evaluate(
    scorer: Scorer, items: Mapping[TaskName, Sequence[Example]], recipe: Recipe, folder: Path, label: str
) -> list[Score]:
    """Runs every task that is not in `folder` yet and writes `scores.json` over all of them."""
    scores = []
    for task, examples in items.items():
        path = folder / f"{task}.jsonl"
        timing = folder / f"{task}.seconds.json"
        if not path.exists():
            started = time.monotonic()
            with bar(f"{label}: {task}", len(examples), "items") as advance:
                rows = SCORERS[task](scorer, examples, recipe.evaluate, advance)
            write_json(timing, round(time.monotonic() - started, 1))
            write_jsonl(path, rows)
        scores.append(_score(task, examples, [row for _, row in read_jsonl(path)], recipe.seed, read_json(timing)))
    how = recipe.evaluate.model_dump(include=set().union(*SCORED_BY.values()))
    found = {"model": scorer.name, "settings": how, "tasks": [asdict(score) for score in scores]}
    write_json(folder / "scores.json", found)
    return scores


def _score(task: TaskName, items: Sequence[Example], rows: Sequence[Row], seed: int, seconds: float) -> Score:
    value, ci = mean_interval([row["score"] for row in rows], seed, proportion=TASKS[task].metric == "accuracy")
    unparsed = sum(not row.get("answer", "-") for row in rows)
    return Score(task, len(rows), TASKS[task].metric, value, ci, unparsed, baseline(task, items), seconds)


def score_choice(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The option with the highest log-likelihood: of its text per character ("cloze"), or of its letter."""
    cloze = settings.choice_scoring == "cloze"
    letters = [LETTERS[: len(item.options)] for item in items]
    asked = [_without_options(item) if cloze else user_text(item) for item in items]
    continuations = [item.options for item in items] if cloze else letters
    scores = _continuation_scores(scorer, asked, continuations, advance, per_character=cloze)
    return [_ranked(*one) for one in zip(items, letters, scores, strict=True)]


def score_decision(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The likeliest of "Yes.", "No.", "Maybe." as the beginning of the answer, with the context in sight."""
    continuations = [[f"{decision.capitalize()}." for decision in DECISIONS]] * len(items)
    asked = [user_text(item) for item in items]
    scores = _continuation_scores(scorer, asked, continuations, advance, per_character=False)
    return [_ranked(item, DECISIONS, of_item) for item, of_item in zip(items, scores, strict=True)]


def score_likelihood(
    scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance
) -> list[Row]:
    """Log-likelihood per token of the reference completion, end token included: the negative of the training loss."""
    texts = [render_example(item, scorer.prompt, scorer.renderer) for item in items]
    asked = [(text.prompt, [text.completion]) for text in texts]
    found = scorer.likelihoods(asked, lambda n: advance(n, ""))
    return [
        {"id": item.id, "score": one.logprob / one.tokens, "tokens": one.tokens}
        for item, (one,) in zip(items, found, strict=True)
    ]


def score_rouge(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """Greedy answers against the references; reasoning is not compared. See `answers` for reasoning without an end."""
    prompts = [scorer.prompt_text(conversation(user_text(item), scorer.prompt, item.history)) for item in items]
    generations, forced = answers(scorer, prompts, settings, advance)
    return [
        {
            "id": item.id,
            "score": rouge_l(item.answer, generation.answer),
            "question": item.question,
            "context": item.context,
            "reference": item.answer,
            "reference_reasoning": item.reasoning,
            "reasoning": generation.reasoning,
            "answer": generation.answer,
            "finish": generation.finish,
            "forced": i in forced,
            "tokens": generation.completion_tokens,
        }
        for i, (item, generation) in enumerate(zip(items, generations, strict=True))
    ]


def answers(
    scorer: Scorer, prompts: Sequence[str], settings: EvaluateSection, advance: Advance
) -> tuple[list[Generation], set[int]]:
    """A generation for each prompt, and which of them had to be made to answer.

    A base model may never close a `<think>` block that it was not trained on; scoring that as 0 would make every tuned
    model "better" by form alone. Where reasoning fills the whole budget the block is closed, and the answer gets
    `answer_tokens` of its own (budget forcing, Muennighoff 2025, arXiv:2501.19393).
    """
    first = scorer.generate(prompts, GenerationOptions(max_tokens=settings.max_tokens), lambda n: advance(n, ""))
    open_ended = [i for i, generation in enumerate(first) if generation.reasoning and not generation.answer]
    closed = [prompts[i] + think.reasoned(prompts[i], first[i].reasoning) for i in open_ended]
    second: list[Generation] = []
    if closed:
        say(f"{len(closed)} of {len(first)} answers were not reached in {settings.max_tokens} tokens: asking for them")
        forced = GenerationOptions(max_tokens=settings.answer_tokens)
        second = scorer.generate(closed, forced, lambda n: advance(0, f"{n} answers reached"))
    whole = list(first)
    for i, answered in zip(open_ended, second, strict=True):
        tokens = first[i].completion_tokens + answered.completion_tokens
        whole[i] = replace(first[i], answer=answered.answer, finish=answered.finish, completion_tokens=tokens)
    return whole, set(open_ended)


def _without_options(item: Example) -> str:
    return "\n\n".join(filter(None, (item.context, item.question)))


def _continuation_scores(
    scorer: Scorer,
    questions: Sequence[str],
    continuations: Sequence[Sequence[str]],
    advance: Advance,
    *,
    per_character: bool,
) -> list[list[float]]:
    """Of each question, the log-likelihood of every continuation, summed or per character."""
    prompts = [scorer.prompt_text(conversation(question, scorer.prompt)) for question in questions]
    if scorer.prompt.reasoning == "think":  # asked without reasoning, in the form that rows without it were trained in
        prompts = [prompt + think.closed(prompt) for prompt in prompts]
    found = scorer.likelihoods(list(zip(prompts, continuations, strict=True)), lambda n: advance(n, ""))
    return [[one.logprob / (one.characters if per_character else 1) for one in of_item] for of_item in found]


def _ranked(item: Example, labels: Iterable[str], scores: Sequence[float]) -> Row:
    by_label = dict(zip(labels, scores, strict=True))
    chosen = max(by_label, key=lambda label: by_label[label])
    return {
        "id": item.id,
        "score": float(chosen == item.label),
        "chosen": chosen,
        "gold": item.label,
        "scores": by_label,
    }


SCORERS: dict[TaskName, Callable[[Scorer, Sequence[Example], EvaluateSection, Advance], list[Row]]] = {
    "choice": score_choice,
    "decision": score_decision,
    "likelihood": score_likelihood,
    "rouge": score_rouge,
}
