"""llama.cpp's C functions as they are called here, against transformers and against themselves.

llama.cpp holds keys and values in 16 bits, which moves these random models' log-probabilities by a few hundredths.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.errors import ContextTooLong, ModelError
from bedside.export.convert import write_gguf
from bedside.runtime.libllama import File
from bedside.runtime.tokenizer import encode

TEXT = "<|im_start|>user\nThe heart of the patient beats 123 times."


@pytest.fixture
def path(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> Path:
    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    return tmp_path / "model.gguf"


@pytest.fixture
def file(path: Path) -> Iterator[File]:
    with closing(File(path, 128, 3)) as opened:
        yield opened


def test_log_probabilities_are_those_of_transformers(file: File, tiny_llama: Path) -> None:
    ids = encode(AutoTokenizer.from_pretrained(tiny_llama), TEXT)
    assert file.tokens(TEXT) == ids
    model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    with torch.inference_mode():
        wanted_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1).numpy()
    [found_TV] = file.logprobs([(ids, 3)])
    assert found_TV.shape == (len(ids) - 3, file.vocabulary)
    np.testing.assert_allclose(found_TV, wanted_TV[3:], atol=0.05)
    np.testing.assert_allclose(np.exp(found_TV.astype(np.float64)).sum(-1), 1, rtol=1e-5)


def test_sequences_do_not_see_each_other(file: File) -> None:
    one, two = file.tokens("a fever"), file.tokens("the heart of the patient")
    [alone] = file.logprobs([(two, len(two) - 1)])
    file.keep(0, [])
    file.extend([(0, one, len(one) - 1), (2, two[:-1], len(two) - 2)])
    _, beside = file.extend([(0, one[:1], 0), (2, two[-1:], 0)])
    np.testing.assert_allclose(beside, alone, atol=0.05)


def test_what_two_texts_begin_with_is_kept(file: File) -> None:
    ids = file.tokens(TEXT)
    [whole] = file.logprobs([(ids, len(ids) - 2)])
    file.logprobs([(ids[:6] + ids[:3], 8)])
    assert file.keep(0, ids) == 6
    [again] = file.logprobs([(ids, len(ids) - 2)])
    np.testing.assert_allclose(again, whole, atol=0.05)


def test_what_another_sequence_has_read_is_taken_over_from_it(file: File) -> None:
    ids = file.tokens(TEXT)
    [whole] = file.logprobs([(ids, len(ids) - 2)])
    assert file.keep(2, ids[:6]) == 6
    file.extend([(2, ids[:3], 3)])  # goes on by itself
    assert file.keep(1, ids) == len(ids)
    assert file.keep(1, ids[:-2]) == len(ids) - 2
    for sequence in (0, 1):
        assert file.keep(sequence, ids[:-2]) == len(ids) - 2
        [again] = file.extend([(sequence, ids[-2:], 0)])
        np.testing.assert_allclose(again, whole, atol=0.05)


def test_texts_longer_than_a_call_are_read_in_several(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(File(path, 128)) as file:
        ids = file.tokens(TEXT)
        [whole] = file.logprobs([(ids, 0)])
    monkeypatch.setattr("bedside.runtime.libllama.BATCH", 4)
    with closing(File(path, 128)) as file:
        [parts] = file.logprobs([(ids, 0)])
    np.testing.assert_allclose(parts, whole, atol=0.05)


def test_a_text_that_does_not_fit_is_told(path: Path) -> None:
    with (
        closing(File(path, 16)) as file,
        pytest.raises(ContextTooLong, match=r"a text has 20.. tokens, 16 are reserved"),
    ):
        file.logprobs([(file.tokens("x" * 2000), 0)])


def test_ends_and_metadata_are_the_files_own(file: File) -> None:
    ends = [token for token in range(file.vocabulary) if file.ends(token)]
    assert file.tokens("<|im_end|>")[-1] in ends
    assert file.told("general.architecture") == "llama"
    assert file.told("no.such.key") == ""


def test_what_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(ModelError, match=r"m\.gguf: not a whole GGUF file"):
        File(tmp_path / "m.gguf", 16)
