import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gguf import TokenType

from bedside.errors import ModelError
from bedside.export import vocabulary
from bedside.export.convert import write_gguf
from bedside.runtime.libllama import File
from bedside.runtime.hf import encode

ODD = (
    "Aspirin 300 mg is given at once",
    "  two  spaces,\n\n\tlines and tabs \r\n and more   ",
    "I'll WE'VE don't 'S 're",
    "3.14159 and 1,000,000 at 12:30",
    "naïve β-blocker µg/L ≥ x² ½ Ⅷ ٣٤ ०१",
    "漢字とかな 🙂👩‍⚕️ e\u0301 \u00a0 \u200b",
    "<|im_start|>user\nhello<|im_end|>\n",
    "!!! ?? ((a)) [b] {c} C:\\x http://a.b/c?d=e",
    "x",
    " ",
)


@contextmanager
def _probe(folder: Path) -> Iterator[File]:
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    with closing(File(folder / "model.gguf", 512)) as probe:
        yield probe


@pytest.mark.parametrize("fixture", ["gpt_2_tokenizer", "llama_3_tokenizer"])
def test_llama_cpp_splits_byte_level_text_alike(fixture: str, save_llama: Any, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(fixture)
    with _probe(save_llama(tokenizer)) as probe:
        for text in ODD:
            assert probe.tokens(text) == encode(tokenizer, text), text


def test_llama_cpp_splits_digits_as_smollm2_does(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    from transformers import AutoTokenizer

    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    with closing(File(tmp_path / "model.gguf", 512)) as probe:
        for text in ODD:
            assert probe.tokens(text) == encode(tokenizer, text), text


def test_llama_cpp_splits_sentencepiece_text_alike(sentencepiece_tokenizer: Any, save_llama: Any) -> None:
    with _probe(save_llama(sentencepiece_tokenizer)) as probe:
        for text in (*ODD, "the patient beats the heart", "yes</s>\n<|user|>\nno</s>", "<s>the answer"):
            # The space before the very first text is the template's part.
            lead = "" if text.startswith(("<s>", " ")) else " "
            assert probe.tokens(lead + text) == encode(sentencepiece_tokenizer, text), text


def test_a_legacy_normaliser_puts_a_space_after_every_special_token(sentencepiece_tokenizer: Any) -> None:
    from tokenizers import normalizers

    backend = sentencepiece_tokenizer.backend_tokenizer
    backend.pre_tokenizer = None
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    assert vocabulary.read(sentencepiece_tokenizer, len(sentencepiece_tokenizer)).prefix == "always"


def test_token_types_tell_what_a_token_is(sentencepiece_tokenizer: Any) -> None:
    sentencepiece_tokenizer.add_tokens(["▁term"])
    read = vocabulary.read(sentencepiece_tokenizer, len(sentencepiece_tokenizer) + 1)
    kinds = dict(zip(read.tokens, read.types, strict=True))
    assert kinds["<unk>"] == TokenType.UNKNOWN
    assert kinds["</s>"] == TokenType.CONTROL
    assert kinds["<0x0A>"] == TokenType.BYTE
    assert kinds["▁"] == TokenType.NORMAL
    assert kinds[" term"] == TokenType.USER_DEFINED
    assert read.tokens[-1].startswith("[PAD")
    assert read.types[-1] == TokenType.UNUSED


def test_a_vocabulary_larger_than_the_embedding_is_refused(sentencepiece_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="resize its embeddings"):
        vocabulary.read(sentencepiece_tokenizer, 300)


def _spec(tokenizer: Any) -> dict[str, Any]:
    return dict(json.loads(tokenizer.backend_tokenizer.to_str()))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s["model"].update(type="WordPiece"), "a WordPiece model"),
        (lambda s: s["model"].update(ignore_merges=True), "Digits \\+ ByteLevel"),
        (lambda s: s["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "Digits \\+ ByteLevel"),
        (lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False), "Digits \\+ ByteLevel"),
        (lambda s: s.update(normalizer={"type": "NFC"}), "NFC \\+ Digits \\+ ByteLevel"),
        (lambda s: s["added_tokens"][0].update(lstrip=True), "'<|endoftext|>', which takes in the spaces"),
    ],
    ids=["model", "merges", "prefix", "digits", "normaliser", "strips"],
)
def test_a_tokenizer_that_llama_cpp_has_not_is_refused_by_name(tiny_llama: Path, change: Any, named: str) -> None:
    from transformers import AutoTokenizer

    spec = _spec(AutoTokenizer.from_pretrained(tiny_llama))
    change(spec)
    with pytest.raises(ModelError, match=named.replace("|", r"\|")):
        vocabulary.read(_Stub(spec), 1000)


class _Stub:
    """A tokenizer of any specification, also of one that the tokenizers library would not build."""

    unk_token = "<unk>"

    def __init__(self, spec: dict[str, Any]) -> None:
        self.backend_tokenizer = self
        self._spec = spec

    def to_str(self) -> str:
        return json.dumps(self._spec)
