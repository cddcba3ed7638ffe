from typing import Any

import pytest

from bedside.export.card import VERDICTS, Evidence, card
from bedside.recipe import Recipe
from bedside.text.prompts import NOTICE

RECIPE = Recipe(name="demo", model={"base": "org/base-1b"}, prompt={"style": "alpaca-think"})
STATS = {
    "read": 1200,
    "kept": 1180,
    "dropped": {"a question asked before": 20},
    "splits": {"train": 944, "validation": 118, "test": 118},
}
TRAIN = {
    "steps": 36,
    "first_loss": 2.5,
    "final_loss": 1.25,
    "trainable_parameters": 4884480,
    "rows": 944,
    "rows_seen": 288,
}
SCORE = {
    "task": "choice",
    "n": 72,
    "metric": "accuracy",
    "value": 0.4167,
    "ci": [0.31, 0.53],
    "unparsed": 0,
    "baseline": 0.25,
}
DIFFERENCE = {
    "task": "choice",
    "n": 72,
    "base": 0.4,
    "tuned": 0.4167,
    "difference": 0.0167,
    "ci": [-0.05, 0.08],
    "p": 0.7,
    "p_adjusted": 0.0009,
    "detectable": 0.16,
    "verdict": "underpowered",
    "counted": False,
}
FILE = {"path": "demo-q8_0.gguf", "quantisation": "q8_0", "bytes": 144810784, "sha256": "ab" * 32}
PARITY = {
    "ok": True,
    "tokens_equal": True,
    "greedy_equal": False,
    "kl_mean": 0.00336,
    "top1_agreement": 0.9375,
    "agreed_tokens": 46,
    "total_tokens": 141,
}


def _whole(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "stats": STATS,
        "train": TRAIN,
        "scores": {"base": [SCORE], "tuned": [SCORE]},
        "comparison": {"verdict": "underpowered", "tasks": [DIFFERENCE]},
        "files": [FILE],
        "parity": PARITY,
    }
    return card(RECIPE, Evidence("org/base-1b", **{**parts, **changes}))


@pytest.mark.parametrize(
    "line",
    [
        "1,180 of 1,200 rows were kept.",
        "Splits: train 944, validation 118, test 118.",
        "Left out: a question asked before (20).",
        "| Final loss | 1.250 |",
        "| Trainable parameters | 4,884,480 |",
        "| tuned | choice | 72 | accuracy | 0.417 | 0.310 to 0.530 | 0 | 0.250 |",
        "| choice | 72 | 0.400 | 0.417 | +0.017 | -0.050 to +0.080 | <0.001 | 0.160 | underpowered, not counted |",
        f"| demo-q8_0.gguf | q8_0 | 144,810,784 | `{'ab' * 32}` |",
        "| Rows seen, repeated ones counted each time | 288 |",
        "Their greedy answers part: 46 of 141 tokens are equal before the first that is not.",
        "Given the same text, their likeliest next token is the same at 93.8% of places,",
        f"> {NOTICE}",
    ],
)
def test_the_card_tells_what_the_stages_found(line: str) -> None:
    assert line in _whole().splitlines()


@pytest.mark.parametrize(("verdict", "words"), VERDICTS.items())
def test_the_verdict_is_told_whatever_it_is(verdict: str, words: str) -> None:
    assert words in _whole(comparison={"verdict": verdict, "tasks": [DIFFERENCE]})


def test_the_front_matter_names_a_base_of_the_hub() -> None:
    assert _whole().splitlines()[:3] == ["---", "pipeline_tag: text-generation", "tags:"]
    assert "base_model: org/base-1b" in _whole()


def test_the_embedded_base_is_named_by_its_place_on_the_hub() -> None:
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card(RECIPE, Evidence("SmolLM2-135M-Instruct"))


def test_a_base_from_a_folder_is_not_named_to_the_hub() -> None:
    assert "base_model" not in card(RECIPE, Evidence("base-1b"))


def test_numbers_that_are_absent_are_left_out() -> None:
    text = card(RECIPE, Evidence("base-1b"))
    for absent in ("Evaluation", "Files", "loss", "rows were kept", "comparison", "None", "nan"):
        assert absent not in text
    assert "## Limits" in text


def test_tokens_that_differ_are_told() -> None:
    assert "as **not the same** token ids" in _whole(parity={**PARITY, "tokens_equal": False})
