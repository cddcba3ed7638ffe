"""Scores one model on the items of each task: a row an item, a file a task, and `scores.json`.

A task whose file is there is not computed again, so an evaluation that was killed goes on with the next task.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bedside.evaluate.tasks import TASKS, baseline
from bedside.files import read_json, read_jsonl, write_json, write_jsonl
from bedside.metrics.overlap import rouge_l
from bedside.metrics.paired import mean_interval
from bedside.progress import Advance, bar
from bedside.recipe import EvaluateSection, PromptSection, Recipe, TaskName
from bedside.records import Example, GenerationOptions, Score
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
    for task in items:
        (folder / f"{task}.seconds.json").unlink()
    write_json(folder / "scores.json", {"model": scorer.name, "tasks": [asdict(score) for score in scores]})
    return scores


def _score(task: TaskName, items: Sequence[Example], rows: Sequence[Row], seed: int, seconds: float) -> Score:
    value, ci = mean_interval([row["score"] for row in rows], seed)
    unparsed = sum(not row.get("answer", "-") for row in rows)
    return Score(task, len(rows), TASKS[task].metric, value, ci, unparsed, baseline(task, items), seconds)


def score_choice(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The option with the highest log-likelihood: of its text per character ("cloze"), or of its letter."""
    cloze = settings.choice_scoring == "cloze"
    rows = []
    for item in items:
        question = item.question if cloze else user_text(item)
        continuations = list(item.options) if cloze else list(LETTERS[: len(item.options)])
        scores = _continuation_scores(scorer, question, continuations, per_character=cloze)
        rows.append(_ranked(item, LETTERS[: len(item.options)], scores))
        advance(1, "")
    return rows


def score_decision(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The likeliest of "Yes.", "No.", "Maybe." as the beginning of the answer, with the context in sight."""
    continuations = [f"{decision.capitalize()}." for decision in DECISIONS]
    rows = []
    for item in items:
        scores = _continuation_scores(scorer, user_text(item), continuations, per_character=False)
        rows.append(_ranked(item, DECISIONS, scores))
        advance(1, "")
    return rows


def score_likelihood(
    scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance
) -> list[Row]:
    """Log-likelihood per token of the reference completion, end token included: the negative of the training loss."""
    rows = []
    for item in items:
        text = render_example(item, scorer.prompt, scorer.renderer)
        found = scorer.likelihoods(text.prompt, [text.completion])[0]
        rows.append({"id": item.id, "score": found.logprob / found.tokens, "tokens": found.tokens})
        advance(1, "")
    return rows


def score_rouge(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """Greedy answers against the references. Reasoning is not compared; reasoning alone is no answer and scores 0."""
    conversations = [conversation(user_text(item), scorer.prompt, item.history) for item in items]
    options = GenerationOptions(max_tokens=settings.max_tokens)
    generations = scorer.generate(conversations, options, lambda n: advance(n, ""))
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
            "tokens": generation.completion_tokens,
        }
        for item, generation in zip(items, generations, strict=True)
    ]


def _continuation_scores(
    scorer: Scorer, question: str, continuations: Sequence[str], per_character: bool
) -> list[float]:
    prompt = scorer.prompt_text(conversation(question, scorer.prompt))
    prompt += _answer_opening(scorer.prompt, prompt)
    found = scorer.likelihoods(prompt, continuations)
    return [one.logprob / one.characters if per_character else one.logprob for one in found]


def _answer_opening(section: PromptSection, prompt: str) -> str:
    """What stands between the prompt and an answer that is given without reasoning: an empty block, as trained."""
    if section.reasoning == "none":
        return ""
    block = think.wrap("", "-").removesuffix("-")
    return block.removeprefix(think.OPEN) if prompt.endswith(think.OPEN) else block


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
