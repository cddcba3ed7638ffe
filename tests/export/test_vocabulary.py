import json
import random
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from gguf import TokenType

from bedside.errors import ModelError
from bedside.export import vocabulary
from bedside.export.convert import write_gguf
from bedside.records import Message
from bedside.runtime.hf import encode
from bedside.runtime.libllama import File
from bedside.runtime.llamacpp import LlamaCpp

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


def _random(count: int) -> list[str]:
    """Texts of letters of many scripts, digits, signs, spaces and lines; the same ones each time."""
    chance = random.Random(0)
    kinds = [
        "abcdefgh 12",
        " \t\n\r",
        "äßéñçøœ",
        "αβγδ",
        "кирилл",
        "漢字かなカナ",
        "اب ٣٤",
        "🙂👍½²Ⅷ",
        ".,;:!?()'\"-/<>|",
        "'s 've",
    ]
    return ["".join(chance.choice(chance.choice(kinds)) for _ in range(chance.randrange(1, 60))) for _ in range(count)]


@contextmanager
def _probe(folder: Path) -> Iterator[File]:
    write_gguf(folder, folder / "model.gguf", "f32", "tiny")
    with closing(File(folder / "model.gguf", 512)) as probe:
        yield probe


@pytest.mark.parametrize(
    ("fixture", "named"),
    [
        ("gpt_2_tokenizer", "gpt-2"),
        ("llama_3_tokenizer", "llama-bpe"),
        ("qwen_2_tokenizer", "qwen2"),
        ("r1_qwen_tokenizer", "deepseek-r1-qwen"),
    ],
)
def test_llama_cpp_splits_byte_level_text_alike(
    fixture: str, named: str, save_llama: Any, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(fixture)
    assert vocabulary.read(tokenizer, len(tokenizer)).pre == named
    with _probe(save_llama(tokenizer)) as probe:
        for text in (*ODD, *_random(200)):
            text = unicodedata.normalize("NFC", text)
            assert probe.tokens(text) == encode(tokenizer, text), text


def test_decomposed_characters_are_composed_for_llama_cpp(qwen_2_tokenizer: Any, save_llama: Any) -> None:
    """llama.cpp has no normaliser: the file says that it wants one, and who asks through Bedside gets it."""
    folder = save_llama(qwen_2_tokenizer)
    decomposed = "cafe\u0301 au lait"
    with _probe(folder) as probe:
        assert probe.tokens(decomposed) != encode(qwen_2_tokenizer, decomposed)
        with closing(LlamaCpp(folder / "model.gguf", 512)) as model:
            text = model.prompt_text([Message("user", decomposed)])
        assert "caf\u00e9" in text
        assert probe.tokens(text) == encode(qwen_2_tokenizer, text.replace("\u00e9", "e\u0301"))


def test_llama_cpp_splits_digits_as_smollm2_does(tiny_llama: Path, tmp_path: Path, own_cache: Path) -> None:
    from transformers import AutoTokenizer

    write_gguf(tiny_llama, tmp_path / "model.gguf", "f32", "tiny")
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    with closing(File(tmp_path / "model.gguf", 512)) as probe:
        for text in ODD:
            assert probe.tokens(text) == encode(tokenizer, text), text


def test_llama_cpp_splits_gemmas_text_alike(gemma_tokenizer: Any, save_llama: Any) -> None:
    runs = [f"a{character * n}b" for n in (1, 2, 3, 5, 11, 31, 32, 40, 70) for character in (" ", "\n", "\t")]
    turn = "<start_of_turn>user\n the  patient<end_of_turn>\n"
    with _probe(save_llama(gemma_tokenizer)) as probe:
        for text in (*ODD, *_random(200), *runs, turn):
            assert probe.tokens(f"<bos>{text}") == encode(gemma_tokenizer, f"<bos>{text}"), text


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
    assert "▁term" not in sentencepiece_tokenizer.tokenize("a term")  # so llama.cpp must not find it there either
    read = vocabulary.read(sentencepiece_tokenizer, len(sentencepiece_tokenizer) + 1)
    kinds = dict(zip(read.tokens, read.types, strict=True))
    assert kinds["<unk>"] == TokenType.UNKNOWN
    assert kinds["</s>"] == TokenType.CONTROL
    assert kinds["<0x0A>"] == TokenType.BYTE
    assert kinds["▁"] == TokenType.NORMAL
    assert kinds["▁term"] == TokenType.USER_DEFINED
    assert read.tokens[-1].startswith("[PAD")
    assert read.types[-1] == TokenType.UNUSED


@pytest.mark.parametrize(("normalized", "stored"), [(True, "  now"), (False, "▁▁now")])
def test_an_added_token_with_spaces_is_found_where_transformers_finds_it(
    gemma_tokenizer: Any, save_llama: Any, normalized: bool, stored: str
) -> None:
    from tokenizers import AddedToken

    gemma_tokenizer.add_tokens([AddedToken("▁▁now", normalized=normalized)])
    text = "the heart  now beats"
    assert ("▁▁now" in gemma_tokenizer.tokenize(text)) == normalized
    assert stored in vocabulary.read(gemma_tokenizer, len(gemma_tokenizer)).tokens
    with _probe(save_llama(gemma_tokenizer)) as probe:
        assert probe.tokens(f"<bos>{text}") == encode(gemma_tokenizer, f"<bos>{text}")


def test_runs_of_spaces_that_merges_make_are_printed_as_spaces(gemma_tokenizer: Any) -> None:
    read = vocabulary.read(gemma_tokenizer, len(gemma_tokenizer))
    kinds = dict(zip(read.tokens, read.types, strict=True))
    assert (kinds["▁▁▁"], kinds["\n\n"]) == (TokenType.NORMAL, TokenType.USER_DEFINED)


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
