"""Reading texts in several places: what is shared, packed or refilled on the way changes no number."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from bedside.export import agreement
from bedside.export.agreement import Item, Text, continuations, in_groups, in_transformers
from bedside.export.convert import write_gguf
from bedside.runtime.libllama import File, common_length
from bedside.runtime.tokenizer import encode

QUESTIONS = [
    "The heart",
    "The heart of the patient",
    "The heart beats",
    "a",
    "Is aspirin given?",
    "123",
    "The answer is",
]


@pytest.fixture
def base(tiny_llama: Path, save_llama: Any) -> Path:
    return Path(save_llama(AutoTokenizer.from_pretrained(tiny_llama), "base"))


@pytest.fixture
def prompts(tiny_llama: Path) -> list[tuple[int, ...]]:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    return [tuple(encode(tokenizer, f"<|im_start|>user\n{question}")) for question in QUESTIONS]


@pytest.fixture
def texts(prompts: list[tuple[int, ...]]) -> list[Text | Item]:
    said = [Text(prompt, other[-3:]) for prompt, other in zip(prompts, reversed(prompts), strict=True)]
    return [*said, Item(prompts[2], (5, 7))]


@pytest.mark.parametrize("with_adapter", [False, True])
def test_packs_tell_what_one_text_after_another_does(
    base: Path, texts: list[Text | Item], with_adapter: bool, save_adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bedside.fused.packs.WORTH", 2)  # however many cores share the texts
    adapter = save_adapter(base) if with_adapter else None
    packed = in_transformers(base, adapter)(texts)
    monkeypatch.setattr(agreement, "why_not", lambda model: "not now")
    alone = in_transformers(base, adapter)(texts)
    assert [len(told_TV) for told_TV in packed] == [len(text.completion) for text in texts]
    for one_TV, other_TV in zip(packed, alone, strict=True):
        np.testing.assert_allclose(one_TV, other_TV, atol=1e-4)


def test_each_prompt_is_continued_once_as_if_it_were_alone(
    base: Path, prompts: list[tuple[int, ...]], tmp_path: Path
) -> None:
    write_gguf(base, tmp_path / "model.gguf", "f32", "tiny")
    with closing(File(tmp_path / "model.gguf", 128, 3)) as file:
        found = list(continuations(file, prompts, 9))
        assert all(len(one.said) == 9 or file.ends(one.said[-1]) for one in found)
    assert sorted(one.place for one in found) == list(range(len(prompts)))
    with closing(File(tmp_path / "model.gguf", 128)) as file:
        for one, told_TV in zip(found, agreement.in_llama_cpp(file)([one.text for one in found]), strict=True):
            assert one.prompt == prompts[one.place]
            assert one.said == [int(row_V.argmax()) for row_V in one.rows]
            np.testing.assert_allclose(np.stack(one.rows), told_TV, atol=0.05)  # keys and values in 16 bits


def test_what_goes_on_lies_side_by_side_and_a_common_beginning_is_read_once(
    base: Path, prompts: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """llama.cpp computes sequences at once only where no number is left out between them."""
    calls: list[list[tuple[int, int]]] = []

    class Watched(File):
        def extend(self, parts: Any) -> Any:
            calls.append([(sequence, len(ids)) for sequence, ids, _ in parts])
            return super().extend(parts)

        def ends(self, token: int) -> bool:
            return token % 3 == 0

    write_gguf(base, tmp_path / "model.gguf", "f32", "tiny")
    with closing(Watched(tmp_path / "model.gguf", 128, 3)) as file:
        found = list(continuations(file, prompts, 9))
    assert len({len(one.said) for one in found}) > 2
    joint = [[sequence for sequence, _ in call] for call in calls if len(call) > 1]
    assert joint
    assert all(sequences == list(range(len(sequences))) for sequences in joint)
    prompts = sorted(prompts)
    new = [len(prompt) - common_length(before, prompt[:-1]) for before, prompt in pairwise([(), *prompts])]
    assert sum(count for call in calls for _, count in call) == sum(new) + sum(len(one.said) - 1 for one in found)


def test_a_group_holds_no_more_than_is_read_at_a_time_and_neighbours_begin_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agreement, "READ_AT_ONCE", 6)
    texts = [Text((2, 1), (1,)), Text((1, 1), (9,)), Text((3,), (1,)), Text((4,) * 9, (1,)), Text((1,), (2,))]
    groups = list(in_groups(texts, lambda text: text))
    assert groups == [[texts[1], texts[0]], [texts[2]], [texts[3]], [texts[4]]]
    assert list(in_groups([], lambda text: text)) == []
