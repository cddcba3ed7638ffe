from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import pytest

from bedside.errors import ModelError
from bedside.models import gguf, locate
from bedside.recipe import PromptSection


def write(path: Path, **changes: Any) -> Path:
    """A small GGUF file with the fields of a real one."""
    writer = library.GGUFWriter(path, "llama")
    writer.add_name(changes.get("name", "Small"))
    writer.add_context_length(512)
    writer.add_tokenizer_model(changes.get("model", "gpt2"))
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<s>", "</s>", "a", "é", "<|user|>", "<h1>"])
    writer.add_token_types([3, 3, 1, 1, 4, 4])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if "template" in changes:
        writer.add_chat_template(changes["template"])
    if "adds_bos" in changes:
        writer.add_add_bos_token(changes["adds_bos"])
    if "prompt" in changes:
        writer.add_string(gguf.PROMPT_KEY, changes["prompt"])
    writer.add_tensor("token_embd.weight", np.zeros((6, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small.gguf", template="{{ bos_token }}")


def test_a_file_says_what_asking_needs(small: Path) -> None:
    found = gguf.metadata(small)
    about = ("Small", "{{ bos_token }}", "<s>", "</s>", False, "smollm", 512, None, "")
    assert found == gguf.GgufMetadata(*about, controls=("<s>", "</s>", "<|user|>"), eos_id=1)
    assert found == gguf.metadata(small)  # and so it does from the cache


@pytest.mark.parametrize(
    ("model", "changes", "adds_bos"),
    [
        ("llama", {}, True),
        ("gpt2", {}, False),
        ("gpt2", {"adds_bos": True}, True),
        ("llama", {"adds_bos": False}, False),
    ],
)
def test_the_begin_token_is_added_by_llama_cpps_own_rule(
    tmp_path: Path, model: str, changes: dict[str, bool], adds_bos: bool
) -> None:
    assert gguf.metadata(write(tmp_path / "a.gguf", model=model, **changes)).adds_bos is adds_bos


def test_a_file_of_ours_says_how_it_was_trained(tmp_path: Path) -> None:
    section = PromptSection(style="alpaca-think", system="Be “brief”.")
    path = write(tmp_path / "a.gguf", prompt=section.model_dump_json())
    assert gguf.metadata(path).prompt == section


@pytest.mark.parametrize("prompt", ['{"style": "haiku"}', '{"verse": 5}', "not json", "[]"])
def test_a_prompt_of_another_version_is_told_in_one_line(tmp_path: Path, prompt: str) -> None:
    path = write(tmp_path / "a.gguf", prompt=prompt)
    with pytest.raises(ModelError) as caught:
        gguf.metadata(path)
    assert str(caught.value).startswith(f"{path}: bedside.prompt ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGUF" + b"\0" * 64, b"not a model", b"PK\x03\x04" * 50, b"GGUF" + b"\xff" * 64]
)
def test_a_file_that_is_no_gguf_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        gguf.metadata(path)
    assert str(caught.value).startswith(f"{path}: not a whole GGUF file (")
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_told_in_one_line(small: Path) -> None:
    whole = small.read_bytes()
    for size in range(0, len(whole) - 1, 23):
        small.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="not a whole GGUF file"):
            gguf.metadata(small)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.gguf", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            gguf.metadata(path)


@pytest.mark.slow
def test_the_embedded_file_is_smollm2_with_its_chatml_template() -> None:
    found = gguf.metadata(locate.embedded_gguf())
    assert (found.bos, found.eos, found.adds_bos) == ("<|im_start|>", "<|im_end|>", False)
    assert (found.pre_tokenizer, found.context_length) == ("smollm", 8192)
    assert "<|im_start|>" in found.template
    assert found.prompt is None
