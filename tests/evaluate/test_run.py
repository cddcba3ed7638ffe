"""One row an item, scored as described, and resumed task by task."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bedside.evaluate.run import evaluate
from bedside.recipe import PromptSection
from bedside.recipe_file import parse
from bedside.records import Example, Generation, GenerationOptions, Message
from bedside.runtime.backend import Likelihood
from bedside.runtime.hf import load_backend
from bedside.text.chat import Renderer, template_for

THINK = PromptSection(style="alpaca-think")
CHOICE = Example("c", "Which drug?", "B. aspirin", label="B", options=("oil", "aspirin", "a very long wrong text"))
DECISION = Example("d", "Does it work?", "No. It does not.", label="no", context="It failed.")
OPEN = Example("o", "What is it?", "It is a raised pressure.", reasoning="First the heart.")


class ToyScorer:
    """Likelihood by a rule that is given, and answers from a table."""

    name = "toy"

    def __init__(self, logprob: Callable[[str], float], answers: Sequence[tuple[str, str]] = ()) -> None:
        self.prompt = THINK
        self.renderer = Renderer(template_for(THINK, "", adds_bos=False), "", "</s>")
        self.logprob = logprob
        self.answers = iter(answers)
        self.generated: list[tuple[list[str], GenerationOptions]] = []
        self.prompts: list[str] = []

    def prompt_text(self, messages: Sequence[Message]) -> str:
        return self.renderer.render(messages, generation=True)

    def likelihoods(
        self, asked: Sequence[tuple[str, Sequence[str]]], progress=lambda n: None
    ) -> list[list[Likelihood]]:
        self.prompts += [prompt for prompt, _ in asked]
        progress(len(asked))
        return [[Likelihood(self.logprob(text), len(text.split()), len(text)) for text in texts] for _, texts in asked]

    def generate(self, prompts, options: GenerationOptions, progress=lambda n: None) -> list[Generation]:
        self.generated.append((list(prompts), options))
        progress(len(prompts))
        return [Generation(*next(self.answers), "stop", 1, 2) for _ in prompts]


def recipe(*tasks: str, **evaluate_: object):
    return parse({"name": "r", "data": {"source": "starter"}, "evaluate": {"tasks": tasks, **evaluate_}}, "test")


def rows(folder: Path, task: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{task}.jsonl").read_text().splitlines()]


def test_cloze_choice_is_normalised_by_length_so_that_a_long_option_is_not_punished(tmp_path: Path):
    per_character = {"oil": -1.0, "aspirin": -0.5, "a very long wrong text": -0.6}
    scorer = ToyScorer(lambda text: per_character[text] * len(text))
    evaluate(scorer, {"choice": [CHOICE]}, recipe("choice"), tmp_path, label="toy")
    assert rows(tmp_path, "choice")[0]["chosen"] == "B"
    assert scorer.prompts[0].endswith("<think>\n</think>\n\n")
    assert "aspirin" not in scorer.prompts[0]


def test_letter_choice_shows_the_options_and_scores_the_letters(tmp_path: Path):
    scorer = ToyScorer(lambda text: {"A": -3.0, "B": -2.0, "C": -1.0}[text])
    scores = evaluate(scorer, {"choice": [CHOICE]}, recipe("choice", choice_scoring="letter"), tmp_path, label="toy")
    assert "B. aspirin\n" in scorer.prompts[0]
    assert rows(tmp_path, "choice")[0]["chosen"] == "C"
    assert (scores[0].value, scores[0].baseline) == (0.0, pytest.approx(1 / 3))


def test_decision_sees_the_context_and_takes_the_likeliest_word(tmp_path: Path):
    scorer = ToyScorer(lambda text: {"Yes.": -2.0, "No.": -1.0, "Maybe.": -3.0}[text])
    evaluate(scorer, {"decision": [DECISION]}, recipe("decision"), tmp_path, label="toy")
    assert "It failed." in scorer.prompts[0]
    assert rows(tmp_path, "decision")[0] == {
        "id": "d", "score": 1.0, "chosen": "no", "gold": "no", "scores": {"yes": -2.0, "no": -1.0, "maybe": -3.0},
    }  # fmt: skip


def test_rouge_compares_answers_and_not_reasoning(tmp_path: Path):
    scorer = ToyScorer(lambda text: 0.0, [("Thinking.", "It is a raised pressure."), ("Thinking.", "It is not known.")])
    other = Example("p", OPEN.question, OPEN.answer)
    scores = evaluate(scorer, {"rouge": [OPEN, other]}, recipe("rouge"), tmp_path, label="toy")
    first, second = rows(tmp_path, "rouge")
    assert first["score"] == 1.0
    assert 0 < second["score"] < 1
    assert (scores[0].unparsed, scores[0].n) == (0, 2)


def test_reasoning_that_fills_the_budget_is_closed_and_the_answer_asked_for(tmp_path: Path):
    scorer = ToyScorer(lambda text: 0.0, [("Round and round.", ""), ("", "It is a raised pressure.")])
    evaluate(scorer, {"rouge": [OPEN]}, recipe("rouge", answer_tokens=7), tmp_path, label="toy")
    row = rows(tmp_path, "rouge")[0]
    assert (row["reasoning"], row["answer"], row["forced"], row["score"]) == (
        "Round and round.", "It is a raised pressure.", True, 1.0,
    )  # fmt: skip
    prompts, options = scorer.generated[1]
    assert prompts[0].endswith("<think>\nRound and round.\n</think>\n\n")
    assert options.max_tokens == 7


def test_what_gives_no_answer_even_then_is_counted_as_such(tmp_path: Path):
    scorer = ToyScorer(lambda text: 0.0, [("Round and round.", ""), ("", "")])
    scores = evaluate(scorer, {"rouge": [OPEN]}, recipe("rouge"), tmp_path, label="toy")
    assert (scores[0].value, scores[0].unparsed) == (0.0, 1)


def test_likelihood_is_per_token_over_reasoning_answer_and_end_token(tiny_llama: Path, tmp_path: Path):
    backend = load_backend(tiny_llama, THINK)
    scores = evaluate(backend, {"likelihood": [OPEN]}, recipe("likelihood"), tmp_path, label="tiny")
    completion = "First the heart.\n</think>\n\nIt is a raised pressure.<|im_end|>"
    row = rows(tmp_path, "likelihood")[0]
    assert row["tokens"] == len(backend.tokenizer(completion).input_ids)
    assert scores[0].value == pytest.approx(row["score"])
    assert row["score"] < 0


def test_a_task_that_is_done_is_not_computed_again(tmp_path: Path):
    def explode(text: str) -> float:
        raise AssertionError("computed again")

    items = {"choice": [CHOICE]}
    evaluate(ToyScorer(lambda text: -1.0), items, recipe("choice"), tmp_path, label="toy")
    (tmp_path / "choice.seconds.json").write_text("1.5")
    (tmp_path / "scores.json").unlink()  # as after a kill, before the stage was finished
    again = evaluate(ToyScorer(explode), items, recipe("choice"), tmp_path, label="toy")
    assert again[0].seconds == 1.5
