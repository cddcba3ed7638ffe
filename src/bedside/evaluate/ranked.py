"""Scores by likelihood: nothing is written, and something is always the likeliest."""

from collections.abc import Iterable, Sequence

from bedside.data.read import Row
from bedside.progress import Advance
from bedside.recipe import EvaluateSection
from bedside.records import Example
from bedside.runtime.backend import Scorer
from bedside.text import think
from bedside.text.chat import DECISIONS, LETTERS, conversation, render_example, user_text


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
