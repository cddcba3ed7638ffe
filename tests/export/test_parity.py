from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from bedside.errors import UsageError
from bedside.export.convert import write_gguf
from bedside.export.parity import Seen, check, divergence, margin, summary
from bedside.files import write_json
from bedside.recipe import PromptSection

SECTION = PromptSection(style="alpaca-think", system="Answer yes or no.")
QUESTIONS = ["Which drug lowers the blood pressure?", "Aspirin 300 mg?"]


@pytest.fixture
def merged(tiny_llama: Path, save_llama: Any) -> Path:
    """A folder as `merge` leaves it."""
    from bedside.runtime.hf import load_tokenizer

    folder: Path = save_llama(AutoTokenizer.from_pretrained(tiny_llama))
    load_tokenizer(folder, SECTION).save_pretrained(folder)
    write_json(folder / "bedside.json", SECTION.model_dump(mode="json"))
    return folder


def test_an_unquantised_file_is_proven_equal(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "model.gguf", "f32", "tiny")
    found = check(merged, tmp_path / "model.gguf", SECTION, QUESTIONS, max_tokens=16)
    assert (found.ok, found.tokens_equal, found.greedy_equal) == (True, True, True)
    assert (found.compared, found.agreed_tokens, found.first_difference) == (2, found.total_tokens, None)
    assert found.kl_mean < 1e-4
    assert found.top1_agreement == 1.0
    assert {"ok", "tokens_equal", "greedy_equal", "kl_mean", "top1_agreement"} <= found.to_json().keys()


def test_a_quantised_file_is_measured(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "model.gguf", "q4_0", "tiny")
    found = check(merged, tmp_path / "model.gguf", SECTION, QUESTIONS, max_tokens=16)
    assert found.ok
    assert found.kl_mean > 1e-4


def test_a_file_of_fewer_bits_than_the_weights_is_measured(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "model.gguf", "bf16", "tiny")
    assert check(merged, tmp_path / "model.gguf", SECTION, QUESTIONS, max_tokens=16).ok


def test_a_file_of_the_weights_own_bits_is_proven_equal(merged: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(merged, dtype=torch.bfloat16).save_pretrained(merged)
    write_gguf(merged, tmp_path / "model.gguf", "bf16", "tiny")
    found = check(merged, tmp_path / "model.gguf", SECTION, QUESTIONS, max_tokens=16)
    assert (found.ok, found.greedy_equal) == (True, True)


def test_other_weights_are_found(merged: Path, save_llama: Any, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "model.gguf", "f32", "tiny")
    tokenizer = AutoTokenizer.from_pretrained(merged)
    other = save_llama(tokenizer, "other", rope_parameters={"rope_type": "default", "rope_theta": 20.0})
    found = check(other, tmp_path / "model.gguf", SECTION, QUESTIONS, max_tokens=16)
    assert (found.ok, found.tokens_equal, found.greedy_equal) == (False, True, False)
    assert found.first_difference is not None
    assert found.first_difference["stage"] == "greedy"
    assert found.agreed_tokens < found.total_tokens


def test_another_prompt_is_found(merged: Path, tmp_path: Path) -> None:
    write_gguf(merged, tmp_path / "model.gguf", "q8_0", "tiny")
    trained_with = SECTION.model_copy(update={"reasoning": "none"})
    found = check(merged, tmp_path / "model.gguf", trained_with, QUESTIONS, max_tokens=4)
    assert (found.ok, found.tokens_equal) == (False, False)
    assert found.first_difference is not None
    assert found.first_difference["stage"] == "tokens"


def test_nothing_to_compare_is_an_error(merged: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no question"):
        check(merged, tmp_path / "model.gguf", SECTION, [])


def test_divergence_is_that_of_the_textbook() -> None:
    # By hand: p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): 1/2 ln 2 + 0 + 1/4 ln 1/2 = ln(2) / 4.
    p = np.log([0.5, 0.25, 0.25])
    q = {0: np.log(0.25), 1: np.log(0.25), 2: np.log(0.5)}
    assert divergence(p, q) == pytest.approx(np.log(2) / 4)


def test_tokens_that_were_not_told_count_as_one() -> None:
    # By hand: as above with tokens 1 and 2 together, p = (1/2, 1/2), q = (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3.
    p = np.log([0.5, 0.25, 0.25])
    assert divergence(p, {0: np.log(0.25)}) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_equal_distributions_do_not_diverge() -> None:
    p = np.log([0.7, 0.2, 0.1])
    assert divergence(p, dict(enumerate(p))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("margin", "exact", "ok"), [(0.001, True, True), (0.5, True, False), (0.5, False, True)])
def test_only_a_tie_may_be_broken_otherwise_by_an_exact_file(margin: float, exact: bool, ok: bool) -> None:
    seen = Seen("Q?", [1], [1], [5, 6], [5, 7], margin, [0.0], [True])
    found = summary([seen], exact)
    assert (found.ok, found.greedy_equal, found.agreed_tokens) == (ok, False, 1)
    assert found.first_difference is not None
    assert found.first_difference["margin"] == margin


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [([1, 2], [1, 2], 0.0), ([1, 2], [1, 3], 0.2), ([1, 2], [1], 0.4), ([1], [1, 3], -0.2)],
    ids=["the same", "another token", "theirs ended", "ours ended"],
)
def test_the_margin_is_what_our_token_is_likelier_by(ours: list[int], theirs: list[int], wanted: float) -> None:
    logprobs_TV = np.array([[0.0] * 4, [-1.4, -9.0, -1.0, -1.2]])
    assert margin(ours, theirs, logprobs_TV, end=0) == pytest.approx(wanted)
