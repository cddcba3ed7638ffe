import re
from pathlib import Path
from typing import Any

import pytest

from bedside.data import card as data_card
from bedside.export import release
from bedside.export.card import NOT_CHECKED, UNVERIFIED, VERDICTS, Evidence, card
from bedside.export.cited import Cited
from bedside.recipe import DataSection, Recipe
from bedside.text.prompts import NOTICE

RECIPE = Recipe(name="demo-8b", model={"base": "org/base-1b"}, prompt={"style": "alpaca-think"})
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
    "device": "cpu (no card)",
    "seconds": 1234.56,
}
SCORE = {
    "task": "decision",
    "n": 72,
    "metric": "accuracy",
    "value": 0.416666666666667,
    "ci": [0.31, 0.53],
    "unparsed": 0,
    "baseline": 0.25,
}
DIFFERENCE = {
    "task": "decision",
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
BASE = {"name": "org/base-1b", "id": "org/base-1b", "revision": None, "licence": "llama3.1"}
FILE = {"path": "demo-q8_0.gguf", "quantisation": "q8_0", "bytes": 144810784, "sha256": "ab" * 32}
PARITY = {
    "ok": True,
    "tokens_equal": True,
    "greedy_equal": False,
    "kl_mean": 0.00336,
    "top1_agreement": 0.9375,
    "compared": 64,
    "measured": {
        "q8_0": {"kl_mean": 0.00336, "top1_agreement": 0.9375, "perplexity_ratio": 1.01, "flips": 1, "items": 24}
    },
}
HASHES = {"demo-q8_0.gguf": "ab" * 32, release.TRAIN: "cd" * 32}


def _whole(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "base": BASE,
        "data": OWN,
        "train": TRAIN,
        "scores": {"base": [SCORE], "tuned": [SCORE]},
        "comparison": {"verdict": "underpowered", "tasks": [DIFFERENCE]},
        "files": [FILE],
        "parity": PARITY,
    }
    parts.update(changes)
    evidence = Evidence(
        recipe=Cited.root(release.RECIPE, RECIPE.model_dump(mode="json")),
        data=Cited.root(release.DATA, parts["data"]),
        train=Cited.root(release.TRAIN, parts["train"]),
        scores={role: Cited.root(release.scores(role), {"tasks": tasks}) for role, tasks in parts["scores"].items()},
        comparison=Cited.root(release.COMPARISON, parts["comparison"]),
        export=Cited.root(release.EXPORT, {key: parts[key] for key in ("base", "files", "parity")}),
    )
    return card(evidence, HASHES)


def _read(text: str) -> list[str]:
    """The lines as a reader sees them, without the numbers of the citations."""
    return re.sub(r"\[([^\[\]]*)\]\[\d+\]", r"\1", text).splitlines()


def _metadata(text: str) -> Any:
    from huggingface_hub import ModelCard

    return ModelCard(text).data


@pytest.mark.parametrize(
    "line",
    [
        "# demo-8b",
        "- Name: org/base-1b",
        "- Licence: llama3.1",
        "- Source: rows.jsonl, read as chat",
        "- Licence: CC BY 4.0",
        "1,200 read = 1,180 kept + 20 left out. Kept: train 944, validation 118, test 118.",
        "| near duplicate | data.near_duplicates = 0.8 | 20 |",
        "| question equal to answer |  | 0 |",
        "- HTML tags and entities resolved: 7",
        "- medqa: none of its 9 items is in the training rows",
        f"| rows.jsonl | 1,234 | {'cd' * 32} |",
        "### Contamination",
        "| Final loss | 1.250 |",
        "| Hardware | cpu (no card) |",
        "| Seconds | 1,234.6 |",
        "| Trainable parameters | 4,884,480 |",
        "| tuned | decision | 72 | accuracy | 0.417 | 0.310 to 0.530 | 0 | 0.250 |",
        "| decision | 72 | 0.400 | 0.417 | +0.017 | -0.050 to +0.080 | <0.001 | 0.160 | underpowered, not counted |",
        "| demo-q8_0.gguf | q8_0 | 144,810,784 |",
        f"| [demo-q8_0.gguf](demo-q8_0.gguf) | `{'ab' * 32}` |",
        "| Rows seen, repeated ones counted each time | 288 |",
        "| Conversations compared | 64 |",
        "| q8_0 | 0.0034 | 93.8% | 1.010 | 1 | 24 |",
        f"> {NOTICE}",
    ],
)
def test_the_card_tells_what_the_stages_found(line: str) -> None:
    assert line in _read(_whole())


def test_each_number_names_the_place_that_it_was_read_from() -> None:
    text = _whole()
    number = re.search(r"\| Final loss \| \[1\.250\]\[(\d+)\]", text)
    assert number
    assert f'[{number[1]}]: evidence/adapter/train.json#/final_loss ".3f"' in text.splitlines()


@pytest.mark.parametrize(("verdict", "words"), VERDICTS.items())
def test_the_verdict_is_told_whatever_it_is(verdict: str, words: str) -> None:
    told = "\n".join(_read(_whole(comparison={"verdict": verdict, "tasks": [DIFFERENCE]})))
    assert f"**{verdict}**" in told
    assert words in told


@pytest.mark.parametrize(
    ("parity", "told"),
    [
        (None, NOT_CHECKED),
        ({}, NOT_CHECKED),
        ({**PARITY, "ok": None}, NOT_CHECKED),
        ({**PARITY, "ok": False}, UNVERIFIED),
    ],
)
def test_an_export_that_was_not_shown_to_say_the_same_is_unverified(parity: dict[str, Any] | None, told: str) -> None:
    text = _whole(parity=parity)
    assert told in text.splitlines()
    assert "unverified" in _metadata(text).tags
    assert UNVERIFIED not in _whole().splitlines()


def test_the_metadata_are_what_the_hub_reads() -> None:
    found = _metadata(_whole())
    assert (found.pipeline_tag, found.base_model) == ("text-generation", "org/base-1b")
    assert found.tags == ["medical", "lora", "gguf", "bedside"]
    assert found.datasets is None
    assert found.eval_results is None


def test_scores_on_data_of_the_hub_are_told_to_it_exactly() -> None:
    found = _metadata(_whole(data=HUB))
    assert found.datasets == ["qiaojin/PubMedQA"]
    [result] = found.eval_results
    assert (result.dataset_type, result.dataset_config, result.dataset_revision) == (
        "qiaojin/PubMedQA", "pqa_labeled", "9001f285",
    )  # fmt: skip
    assert (result.metric_type, result.metric_value) == ("accuracy", SCORE["value"])
    assert result.metric_args == {"n": 72, "low": 0.31, "high": 0.53}


def test_a_score_on_other_items_is_not_told_of_the_data_set() -> None:
    found = _metadata(_whole(data=HUB, scores={"base": [], "tuned": [{**SCORE, "task": "general"}]}))
    assert found.eval_results is None


def test_the_commit_is_told_where_the_hub_gave_one() -> None:
    assert "- Revision: 0f1e" in _read(_whole(base={**BASE, "revision": "0f1e"}))
    assert "evision" not in _whole()
    told = "\n".join(_read(_whole(data=HUB)))
    assert "qiaojin/PubMedQA, subset pqa_labeled, revision 9001f285" in told


def test_a_licence_that_nobody_states_is_not_made_up() -> None:
    assert "- Licence: not stated in its files" in _read(_whole(base={**BASE, "licence": ""}))


def test_a_base_from_a_folder_is_not_named_to_the_hub() -> None:
    assert "base_model" not in _whole(base={**BASE, "id": None})


def test_numbers_that_are_absent_are_left_out() -> None:
    text = _whole(base={}, data={}, train={}, scores={"base": [], "tuned": []}, comparison={}, files=[], parity=None)
    for absent in ("## Evaluation", "## Files", "loss", "kept", "aired comparison", "None", "nan"):
        assert absent not in text
    assert "## Limits" in text


def test_tokens_that_differ_are_told() -> None:
    told = _read(_whole(parity={**PARITY, "tokens_equal": False}))
    assert "| They become the same token ids in training, merged model, files and chat endpoint | no |" in told


def test_evidence_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert not Evidence.read(tmp_path).train
