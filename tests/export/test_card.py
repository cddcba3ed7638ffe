from typing import Any

import pytest

from bedside.data import card as data_card
from bedside.export.card import VERDICTS, Evidence, card
from bedside.recipe import DataSection, Recipe
from bedside.text.prompts import NOTICE

RECIPE = Recipe(name="demo", model={"base": "org/base-1b"}, prompt={"style": "alpaca-think"})
STATS = {
    "read": 1200,
    "kept": 1180,
    "dropped": {"near duplicate": 20},
    "splits": {"train": 944, "validation": 118, "test": 118},
    "changed": {"html": 7},
    "contamination": [{"set": "medqa", "items": 9, "rows": 0, "hit_items": 0, "action": "drop", "pairs": []}],
}
ROWS = {"path": "rows.jsonl", "sha256": "cd" * 32, "bytes": 1234}
OWN = data_card.card("demo", DataSection(source="chat", path="rows.jsonl", licence="CC BY 4.0"), STATS, [ROWS])
HUB = data_card.card("demo", DataSection(source="pubmedqa"), STATS, [], "9001f285")
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
        "licence": "llama3.1",
        "data": OWN,
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
        "- Name: `org/base-1b`",
        "- Licence: llama3.1",
        "- Source: `rows.jsonl`, read as `chat`",
        "- Licence: CC BY 4.0",
        "1,200 read = 1,180 kept + 20 left out. Kept: train 944, validation 118, test 118.",
        "| near duplicate | `data.near_duplicates = 0.8` | 20 |",
        "| question equal to answer |  | 0 |",
        "- HTML tags and entities resolved: 7",
        "- medqa: none of its 9 items is in the training rows",
        f"| `rows.jsonl` | 1,234 | `{'cd' * 32}` |",
        "### Contamination",
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


def test_the_commit_is_told_where_the_hub_gave_one() -> None:
    assert "- Revision: `0f1e`" in _whole(revision="0f1e").splitlines()
    assert "evision" not in _whole()
    told = _whole(data=HUB)
    assert "`qiaojin/PubMedQA`, subset `pqa_labeled`, revision `9001f285`" in told


def test_the_front_matter_names_data_of_the_hub_and_no_others() -> None:
    assert "datasets:\n- qiaojin/PubMedQA\n---" in _whole(data=HUB)
    assert "datasets:" not in _whole()


def test_a_licence_that_nobody_states_is_not_made_up() -> None:
    assert "- Licence: not stated in its files" in _whole(licence="").splitlines()


def test_a_base_from_a_folder_is_not_named_to_the_hub() -> None:
    assert "base_model" not in card(RECIPE, Evidence("base-1b"))


def test_numbers_that_are_absent_are_left_out() -> None:
    text = card(RECIPE, Evidence("base-1b"))
    for absent in ("Evaluation", "Files", "loss", "kept", "SHA-256", "comparison", "None", "nan"):
        assert absent not in text
    assert "## Limits" in text


def test_tokens_that_differ_are_told() -> None:
    assert "as **not the same** token ids" in _whole(parity={**PARITY, "tokens_equal": False})
