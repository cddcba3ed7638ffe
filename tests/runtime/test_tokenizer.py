"""Tokens of a row by its parts: the same as training makes, however long the parts are."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.runtime.tokenizer import load_tokenizer, part_lengths
from bedside.train import batch

TEXT = st.text("ab 中</th>\n.", min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reasoning=st.just("") | TEXT, answer=TEXT, reasons=st.booleans())
def test_the_parts_sum_to_what_is_trained(tiny_llama: Path, reasoning: str, answer: str, reasons: bool) -> None:
    section = PromptSection(reasoning="think" if reasons else "none")
    tokenizer = load_tokenizer(tiny_llama, section)
    example = Example("1", "Which drug?", answer, reasoning)
    [row] = batch.encode([example], section, tokenizer, 10_000).rows
    prompt, reasoned, answered = part_lengths(tokenizer, example, section)
    assert (prompt, prompt + reasoned + answered) == (row.prompt, len(row.ids))
    assert (reasoned > 0) == bool(reasons and reasoning.strip())
    assert answered > 0


@pytest.mark.parametrize("style", ["chat", "alpaca-think"])
def test_the_reasoning_ends_with_its_tag(tiny_llama: Path, style: str) -> None:
    section = PromptSection.model_validate({"style": style})
    tokenizer = load_tokenizer(tiny_llama, section)
    example = Example("1", "Which drug?", "Aspirin.", "I think of the heart.")
    [row] = batch.encode([example], section, tokenizer, 10_000).rows
    prompt, reasoned, _ = part_lengths(tokenizer, example, section)
    assert tokenizer.decode(row.ids[prompt : prompt + reasoned]).endswith("I think of the heart.\n</think>")
