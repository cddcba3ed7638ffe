"""Scores by likelihood: nothing is written, and something is always the likeliest."""

import math
from collections.abc import Iterable, Sequence

from bedside.data.read import Row
from bedside.errors import ModelError
from bedside.progress import Advance
from bedside.recipe import EvaluateSection
from bedside.records import Example
from bedside.runtime.backend import Likelihood, Scorer
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS, conversation, render_example, user_text

Asked = tuple[str, Sequence[str]]
"""A prompt, and the continuations of which the log-likelihood is wanted."""


def choice(scorer: Scorer, item: Example, settings: EvaluateSection) -> Asked:
    """The options' texts after the bare question ("cloze"), or their letters with all options in sight."""
    cloze = settings.choice_scoring == "cloze"
    question = "\n\n".join(filter(None, (item.context, item.question))) if cloze else user_text(item)
    return _prompt(scorer, question), item.options if cloze else LETTERS[: len(item.options)]


def decision(scorer: Scorer, item: Example, settings: EvaluateSection) -> Asked:
    """ "Yes.", "No." and "Maybe." as the beginning of the answer, with the context in sight."""
    return _prompt(scorer, user_text(item)), [f"{decision.capitalize()}." for decision in DECISIONS]


def reference(scorer: Scorer, item: Example, settings: EvaluateSection) -> Asked:
    """The reference completion, end token included."""
    text = render_example(item, scorer.prompt, scorer.renderer)
    return text.prompt, [text.completion]


def score_choice(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The option with the highest log-likelihood: of its text per character ("cloze"), or of its letter."""
    found = _likelihoods(scorer, [choice(scorer, item, settings) for item in items], advance)
    per_character = settings.choice_scoring == "cloze"
    scores = [[one.logprob / (one.characters if per_character else 1) for one in of_item] for of_item in found]
    return [_ranked(item, LETTERS[: len(item.options)], of_item) for item, of_item in zip(items, scores, strict=True)]


def score_decision(scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance) -> list[Row]:
    """The likeliest decision."""
    found = _likelihoods(scorer, [decision(scorer, item, settings) for item in items], advance)
    scores = [[one.logprob for one in of_item] for of_item in found]
    return [_ranked(item, DECISIONS, of_item) for item, of_item in zip(items, scores, strict=True)]


def score_likelihood(
    scorer: Scorer, items: Sequence[Example], settings: EvaluateSection, advance: Advance
) -> list[Row]:
    """Log-likelihood per token of the reference completion: the negative of the training loss."""
    found = _likelihoods(scorer, [reference(scorer, item, settings) for item in items], advance)
    return [
        {"id": item.id, "score": one.logprob / one.tokens, "tokens": one.tokens}
        for item, (one,) in zip(items, found, strict=True)
    ]


def _prompt(scorer: Scorer, question: str) -> str:
    """Asked without reasoning, in the form that rows without it were trained in."""
    prompt = scorer.prompt_text(conversation(question, scorer.prompt))
    return prompt + think.closed(prompt) if scorer.prompt.reasoning == "think" else prompt


def _likelihoods(scorer: Scorer, asked: Sequence[Asked], advance: Advance) -> list[list[Likelihood]]:
    """Raises ModelError where one is no number, of which the first would be the likeliest."""
    found = scorer.likelihoods(asked, lambda n: advance(n, ""))
    if not all(math.isfinite(one.logprob) for of_item in found for one in of_item):
        raise ModelError(f"{scorer.name}: a likelihood is no number; its weights are damaged, or overflow in this type")
    return found


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
