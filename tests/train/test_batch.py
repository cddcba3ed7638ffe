"""Rows, labels, padding and order."""

from pathlib import Path

import pytest

from bedside.errors import DataError
from bedside.fused.packs import Row
from bedside.recipe import PromptSection
from bedside.records import Example
from bedside.runtime.hf import load_tokenizer
from bedside.train.batch import IGNORED, batches, collate, encode, order, step_rows

THINK = PromptSection(style="alpaca-think")
EXAMPLES = [
    Example("a", "Which drug?", "Aspirin.", reasoning="First I think of the heart."),
    Example("b", "Which organ?", "The kidneys.", reasoning="Then of the lungs. " * 40),
]


def row(name: str, length: int, prompt: int) -> Row:
    return Row(name, tuple(range(3, 3 + length)), prompt)


def test_only_the_completion_is_trained_and_the_end_token_is_the_last_trained_one(tiny_llama: Path):
    tokenizer = load_tokenizer(tiny_llama, THINK)
    encoded = encode(EXAMPLES[:1], THINK, tokenizer, 512).rows[0]
    prompt, trained = encoded.ids[: encoded.prompt], encoded.ids[encoded.prompt :]
    assert tokenizer.decode(list(prompt)).endswith("### Response:\n<think>\n")
    assert tokenizer.decode(list(trained)) == "First I think of the heart.\n</think>\n\nAspirin.<|im_end|>"
    assert trained[-1] == tokenizer.eos_token_id
    assert trained.count(tokenizer.eos_token_id) == 1


def test_a_row_that_is_too_long_is_left_out_whole_and_named(tiny_llama: Path):
    encoded = encode(EXAMPLES, THINK, load_tokenizer(tiny_llama, THINK), 300)
    assert [row.id for row in encoded.rows] == ["a"]
    assert encoded.too_long == ["b"]


def test_no_row_that_fits_is_told_with_the_setting_to_raise(tiny_llama: Path):
    with pytest.raises(DataError, match=r"all 2 training rows are longer than model\.max_length = 16; raise it"):
        encode(EXAMPLES, THINK, load_tokenizer(tiny_llama, THINK), 16)


def test_padding_is_neither_trained_nor_attended_even_where_the_pad_token_is_the_end_token():
    end = 9
    batch = collate([Row("long", (3, 4, 5, end), 2), Row("short", (3, end), 1)], pad=end)
    assert batch.labels_BT.tolist() == [[IGNORED, IGNORED, 5, end], [IGNORED, end, IGNORED, IGNORED]]
    assert batch.mask_BT.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert (batch.trained, batch.tokens) == (3, 6)


def test_each_epoch_sees_every_row_once_in_an_order_of_its_own():
    rows = [row(str(i), 4, 2) for i in range(10)]
    seen = [r.id for step in range(4) for r in step_rows(rows, step, 5, seed=1)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == sorted(r.id for r in rows)
    assert seen[:10] != seen[10:]
    assert order(10, 0, seed=1) != order(10, 0, seed=2)


def test_a_step_may_reach_over_the_end_of_an_epoch():
    rows = [row(str(i), 4, 2) for i in range(3)]
    assert len(step_rows(rows, 0, 8, seed=1)) == 8


def test_batches_hold_all_rows_and_put_like_lengths_together():
    rows = [row("a", 9, 2), row("b", 3, 2), row("c", 8, 2), row("d", 4, 2)]
    made = list(batches(rows, 2, pad=0))
    assert [tuple(batch.ids_BT.shape) for batch in made] == [(2, 4), (2, 9)]
    assert sum(batch.tokens for batch in made) == 24
