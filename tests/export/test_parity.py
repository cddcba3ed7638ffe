"""What is served is compared with what was trained, and each of twelve planted faults is found by its name."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from bedside.errors import UsageError
from bedside.export.agreement import Agreement
from bedside.export.conversations import conversations
from bedside.export.convert import write_gguf
from bedside.export.merge import Merged, merge
from bedside.export.ollama import modelfile
from bedside.export.parity import Parity, Release, check
from bedside.export.readings import Place
from bedside.files import read_json, write_json
from bedside.models.gguf import metadata
from bedside.recipe import ParitySection, PromptSection
from bedside.records import Example
from bedside.text.chat import renderer_of
from bedside.verbs.parity import chat_endpoint

SECTION = PromptSection(style="alpaca-think", system="Answer yes or no.")
LIMITS = ParitySection(tokens=6, texts=3, items=3, max_kl=1.0, min_top1=0.0, max_perplexity_ratio=9.0, max_flips=1.0)
ROWS = [
    Example("1", "Which drug lowers the pressure?", "Aspirin.", "The heart of the patient beats."),
    Example("2", "Is aspirin given?", "Yes, it is given.", "It thins the blood.", label="yes"),
    Example("3", "Which beats?", "B, the heart.", "It is a muscle.", options=("the drug", "the heart"), label="B"),
]


@dataclass
class Bench:
    """A release that can be spoilt and made anew."""

    release: Release
    name: str = "tiny"

    def write(self, *, of: Path | None = None) -> None:
        """GGUF files and Modelfile of the merged folder, or of another."""
        folder = of or self.release.merged
        for quantisation, path in {"f16": self.release.plain, **self.release.files}.items():
            write_gguf(folder, path, quantisation, self.name)  # type: ignore[arg-type]
        about = metadata(self.release.plain)
        served = next(iter(self.release.files.values())).name
        text = modelfile(served, self.release.section, renderer_of(about), about.adds_bos, [about.eos], 512)
        self.release.modelfile.write_text(text)

    def check(self) -> Parity:
        return check(self.release, ROWS, LIMITS, silent)

    def faults(self) -> set[str]:
        return {finding.fault for finding in self.check().findings}


@contextmanager
def silent(path: Path) -> Iterator[Place]:
    """Stands for the chat endpoint where it is not what is tested: it reads as the file does."""
    from bedside.export import readings
    from bedside.runtime.libllama import File

    file = File(path, 16)
    yield readings.of_file(path, file)
    file.close()


@pytest.fixture
def bench(tiny_llama: Path, save_llama: Any, save_adapter: Any, tmp_path: Path) -> Bench:
    return made(save_llama(AutoTokenizer.from_pretrained(tiny_llama), "base"), save_adapter, tmp_path)


@pytest.fixture
def sentencepiece_bench(sentencepiece_tokenizer: Any, save_llama: Any, save_adapter: Any, tmp_path: Path) -> Bench:
    return made(save_llama(sentencepiece_tokenizer, "base"), save_adapter, tmp_path)


def made(
    base: Path, save_adapter: Any, folder: Path, section: PromptSection = SECTION, nf4_precision: str | None = None
) -> Bench:
    release = Release(
        base=base,
        adapter=save_adapter(base),
        merged=folder / "merged",
        plain=folder / "f16.gguf",
        files={"q8_0": folder / "q8_0.gguf"},
        modelfile=folder / "Modelfile",
        section=section,
        nf4_precision=nf4_precision,
    )
    merge(release.base, release.adapter, release.merged, section, nf4_precision)
    bench = Bench(release)
    bench.write()
    return bench


def test_a_release_as_it_should_be_has_no_fault(bench: Bench) -> None:
    found = check(bench.release, ROWS, LIMITS, chat_endpoint)
    assert found.findings == []
    told = found.to_json()
    assert (told["ok"], told["tokens_equal"], told["greedy_equal"]) == (True, True, True)
    assert told["compared"] + told["left_out"] == 64
    assert told["compared"] > 50
    assert told["measured"]["plain"]["kl_mean"] < 1e-3
    assert told["measured"]["q8_0"]["items"] == 2
    assert told["kl_mean"] == told["measured"]["q8_0"]["kl_mean"] > 0


def test_a_sentencepiece_release_as_it_should_be_has_no_fault(sentencepiece_bench: Bench) -> None:
    assert check(sentencepiece_bench.release, ROWS, LIMITS, chat_endpoint).findings == []


@pytest.mark.parametrize(
    ("kind", "tokenizer", "style"),
    [
        ("llama", "llama_3_tokenizer", "chat"),
        ("llama", "sentencepiece_tokenizer", "chat"),
        ("qwen2", "qwen_2_tokenizer", "alpaca-think"),
        ("qwen2", "r1_qwen_tokenizer", "chat"),
        ("qwen3", "qwen_2_tokenizer", "chat"),
        ("gemma3_text", "gemma_tokenizer", "alpaca-think"),
    ],
)
def test_no_kind_of_model_raises_a_false_alarm(
    kind: str, tokenizer: str, style: str, save_model: Any, save_adapter: Any, tmp_path: Path, request: Any
) -> None:
    base = save_model(request.getfixturevalue(tokenizer), kind, "base")
    bench = made(base, save_adapter, tmp_path, PromptSection.model_validate({"style": style}))
    assert bench.check().findings == []


# The twelve planted faults.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_base_in_4_bits_raises_no_false_alarm_whatever_it_was_trained_in(
    precision: str, tiny_llama: Path, save_llama: Any, save_adapter: Any, tmp_path: Path
) -> None:
    base = save_llama(AutoTokenizer.from_pretrained(tiny_llama), "base")
    found = made(base, save_adapter, tmp_path, nf4_precision=precision).check()
    assert found.findings == []
    assert found.adapter.to_json()["kl_mean"] < 1e-6


def test_a_doubled_begin_token_is_found(sentencepiece_bench: Bench) -> None:
    """The template prints one, and so does llama.cpp; the runner is not told to leave one out."""
    bench = sentencepiece_bench
    set_template(bench.release.files["q8_0"], lambda text: text.replace("bos_token + ", "bos_token + bos_token + "))
    assert bench.faults() == {"begin-doubled"}


def test_a_missing_end_token_is_found(bench: Bench) -> None:
    set_template(bench.release.files["q8_0"], lambda text: text.replace(" + eos_token", ""))
    assert bench.faults() == {"end-missing"}


def test_an_end_token_that_llama_cpp_does_not_end_at_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bedside.runtime.libllama.File.ends", lambda file, token: False)
    assert bench.faults() == {"end-missing"}


def test_other_white_space_after_the_opening_tag_is_found(bench: Bench) -> None:
    set_template(bench.release.files["q8_0"], lambda text: text.replace("<think>\\n", "<think>"))
    assert bench.faults() == {"think-whitespace"}


def test_reasoning_that_the_template_removes_is_found(bench: Bench) -> None:
    removed = "message['content'].split('</think>')[-1] + eos_token"
    set_template(bench.release.files["q8_0"], lambda text: text.replace("message['content'] + eos_token", removed))
    assert bench.faults() == {"reasoning-removed"}


def test_a_dropped_system_prompt_is_found(bench: Bench) -> None:
    set_template(bench.release.files["q8_0"], lambda text: text.replace("+ instruction +", "+"))
    assert bench.faults() == {"system-dropped"}


def test_a_tokenizer_that_does_not_split_digits_is_found(
    tiny_llama: Path, save_llama: Any, save_adapter: Any, tmp_path: Path
) -> None:
    """The vocabulary has "12", which only a tokenizer that leaves digits together makes."""
    told = json.loads(AutoTokenizer.from_pretrained(tiny_llama).backend_tokenizer.to_str())
    told["model"]["vocab"]["12"] = len(told["model"]["vocab"])
    told["model"]["merges"].append(["1", "2"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(told))
    bench = made(save_llama(tokenizer, "base"), save_adapter, tmp_path)
    assert bench.faults() == set()
    set_field(bench.release.files["q8_0"], "tokenizer.ggml.pre", "gpt-2\0")
    assert bench.faults() == {"digits-joined"}


def test_queries_and_keys_in_transformers_order_are_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bedside.export.architecture.Architecture.arrange", lambda self, name, values: values)
        bench.write()
    assert "rotary-order" in bench.faults()


def test_an_adapter_that_is_merged_twice_is_found(bench: Bench) -> None:
    config = bench.release.adapter / "adapter_config.json"
    told = read_json(config)
    write_json(config, {**told, "lora_alpha": 2 * told["lora_alpha"]})
    merge(bench.release.base, bench.release.adapter, bench.release.merged, SECTION)
    write_json(config, told)
    bench.write()
    assert bench.faults() == {"adapter-scaled-twice", "weights-differ"}


def test_an_adapter_that_is_not_merged_is_found(bench: Bench) -> None:
    shutil.copy(bench.release.base / "model.safetensors", bench.release.merged / "model.safetensors")
    bench.write()
    assert bench.faults() == {"adapter-not-merged", "weights-differ"}


def test_a_wrong_rotary_base_is_found(bench: Bench) -> None:
    config = bench.release.merged / "config.json"
    told = read_json(config)
    write_json(config, {**told, "rope_parameters": {"rope_type": "default", "rope_theta": 20.0}})
    bench.write()
    write_json(config, told)
    assert {"rope-base"} <= bench.faults()


def test_control_tokens_that_are_parsed_in_a_users_text_are_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The served side renders a user's text as it is."""
    from bedside.runtime import llamacpp

    monkeypatch.setattr(llamacpp, "renderer_of", lambda file: replace(renderer_of(file), controls=()))
    assert bench.faults() == {"control-token-parsed"}


def test_a_stop_token_that_the_modelfile_lacks_is_found(bench: Bench) -> None:
    lines = bench.release.modelfile.read_text().splitlines()
    bench.release.modelfile.write_text("\n".join(line for line in lines if not line.startswith("PARAMETER stop")))
    assert bench.faults() == {"stop-missing"}


@pytest.mark.parametrize(
    ("wrong", "line"), [("FROM ./q8_0.gguf", "FROM llama3"), ("TEMPLATE", "ADAPTER ./a.gguf\nTEMPLATE")]
)
def test_a_modelfile_of_other_weights_is_found(bench: Bench, wrong: str, line: str) -> None:
    text = bench.release.modelfile.read_text()
    assert wrong in text
    bench.release.modelfile.write_text(text.replace(wrong, line, 1))
    assert bench.faults() == {"modelfile-differs"}


# And what else may be wrong.


def test_other_weights_are_found(bench: Bench, save_llama: Any) -> None:
    other = save_llama(AutoTokenizer.from_pretrained(bench.release.merged), "other", initializer_range=0.5)
    shutil.copy(other / "model.safetensors", bench.release.merged / "model.safetensors")
    assert "weights-differ" in bench.faults()


def widened(bench: Bench, folder: Path, norm: float) -> Parity:
    """What is found where a file has another last norm than its model."""
    shutil.copytree(bench.release.merged, folder / "wide")
    weights = load_file(folder / "wide/model.safetensors")
    weights["model.norm.weight"].fill_(norm)
    save_file(weights, folder / "wide/model.safetensors", metadata={"format": "pt"})
    bench.write(of=folder / "wide")
    return bench.check()


def test_a_file_whose_numbers_are_large_beyond_measure_is_found(bench: Bench, tmp_path: Path) -> None:
    found = widened(bench, tmp_path, 1e6)
    assert {"weights-differ", "quantisation-broke"} <= {finding.fault for finding in found.findings}
    assert found.to_json()["measured"]["q8_0"]["perplexity_ratio"] > 1e300
    json.dumps(found.to_json(), allow_nan=False)


def test_a_context_that_the_modelfile_lacks_is_found(bench: Bench) -> None:
    bench.release = replace(bench.release, context=300)
    (finding,) = bench.check().findings
    assert (finding.fault, finding.detail) == ("modelfile-differs", "PARAMETER num_ctx is 512, wanted 300")


def test_further_questions_are_items_where_rows_have_no_options(bench: Bench) -> None:
    plain = [Example(str(i), f"What is {i}?", "It is a number.") for i in range(3)]
    general = [Example("g", "Which one?", "B. two", label="B", options=("one", "two"))]
    assert check(bench.release, plain, LIMITS, silent).to_json()["measured"]["q8_0"]["items"] == 0
    found = check(bench.release, plain, LIMITS, silent, questions=general)
    assert found.to_json()["measured"]["q8_0"]["items"] == 1


def test_a_file_whose_numbers_overflow_is_found(bench: Bench, tmp_path: Path) -> None:
    found = widened(bench, tmp_path, 3e38)
    told = {finding.where: finding.detail for finding in found.findings}
    assert "no number at" in told["16-bit file"]
    assert "places without a number" in told["q8_0"]
    json.dumps(found.to_json(), allow_nan=False)


def test_an_unquantised_file_is_held_to_what_the_16_bit_file_is_held_to(bench: Bench) -> None:
    bench.release = replace(bench.release, files={"f16": bench.release.plain})
    bench.write()
    assert bench.check().ok
    found = check(bench.release, ROWS, LIMITS.model_copy(update={"max_kl_exact": 1e-12}), silent)
    assert "f16" in {finding.where for finding in found.findings}


def test_a_quantisation_beyond_the_recipes_limits_is_found(bench: Bench) -> None:
    found = check(bench.release, ROWS, LIMITS.model_copy(update={"max_kl": 1e-9}), silent)
    assert [finding.fault for finding in found.findings] == ["quantisation-broke"]
    assert "KL" in found.findings[0].detail
    assert not found.to_json()["ok"]


def test_each_released_file_is_measured_by_itself(bench: Bench) -> None:
    files = {**bench.release.files, "q4_0": bench.release.merged.parent / "q4_0.gguf"}
    bench.release = replace(bench.release, files=files)
    bench.write()
    measured = bench.check().to_json()["measured"]
    assert measured["q4_0"]["places"] == measured["q8_0"]["places"]
    assert measured["q4_0"]["kl_mean"] > 2 * measured["q8_0"]["kl_mean"] > 0


def test_conversations_that_the_template_refuses_are_left_out(
    tiny_llama: Path, save_llama: Any, save_adapter: Any, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuses + tokenizer.chat_template
    section = PromptSection(style="chat", system="", reasoning="none")
    found = made(save_llama(tokenizer, "base"), save_adapter, tmp_path, section).check()
    assert found.findings == []
    assert found.left_out >= 6


def test_where_memory_lacks_what_needs_none_is_compared_all_the_same(bench: Bench) -> None:
    def found() -> Parity:
        return check(bench.release, ROWS, LIMITS, silent, "it needs 90 GiB")

    whole = found()
    told = whole.to_json()
    assert (whole.ok, told["tokens_equal"], told["greedy_equal"], told["measured"]) == (None, True, None, {})
    assert told["skipped"] == "it needs 90 GiB"
    shutil.copy(bench.release.base / "model.safetensors", bench.release.merged / "model.safetensors")
    assert {finding.fault for finding in found().findings} == {"adapter-not-merged"}
    assert found().ok is False


def test_a_window_that_holds_no_conversation_is_told(bench: Bench) -> None:
    config, limits = bench.release.merged / "config.json", LIMITS.model_copy(update={"tokens": 256})
    write_json(config, {**read_json(config), "max_position_embeddings": 260})
    with pytest.raises(UsageError, match=r"the model can read none with parity\.tokens = 256"):
        check(bench.release, [Example("1", "x", "y")], limits, silent)


def test_an_update_that_rounding_swallows_is_no_alarm(tmp_path: Path) -> None:
    """In bf16 a small update is rounded away where it is below half a step; what is left of it is held once."""
    from safetensors.torch import save_file

    from bedside.export.scales import factors
    from bedside.export.tensors import Tensors

    values = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).mul(0.02).bfloat16()
    delta = torch.randn(64, 64, generator=torch.Generator().manual_seed(1)).mul(2e-5)
    for name, held in (("base", values), ("once", (values.float() + delta).bfloat16())):
        (tmp_path / name).mkdir()
        save_file({"w": held}, tmp_path / name / "model.safetensors")
    change = SimpleNamespace(delta=lambda: lambda rows: delta.numpy()[rows])
    base = Merged(Tensors.of_model(tmp_path / "base"), {}, frozenset(), "float32")
    held = {name: factors(base, {"w": change}, Tensors.of_model(tmp_path / name)) for name in ("once", "base")}  # type: ignore[dict-item]
    assert held["once"]["w"] == pytest.approx(1)
    assert held["base"]["w"] == 0


def test_without_a_row_that_fits_there_is_nothing_to_compare_on(bench: Bench) -> None:
    with pytest.raises(UsageError, match="nothing to compare on"):
        check(bench.release, [Example("1", "x " * 2000, "y", "z")], LIMITS, silent)


def test_there_are_64_conversations_of_every_kind() -> None:
    found = conversations(("<|im_end|>",))
    assert len({one.turns for one in found}) == len(found) == 64
    kinds = {one.kind for one in found}
    assert kinds >= {"system", "turns", "reasoning", "unicode", "numbers", "long", "empty system", "braces"}
    assert all("<|im_end|>" in one.question for one in found if one.kind == "control tokens")


# The arithmetic.


def test_divergence_and_perplexity_are_those_of_the_textbook() -> None:
    # By hand: p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): KL = 1/2 ln 2 + 1/4 ln 1/2 = ln(2) / 4; token 0: ratio 2.
    p, q = (np.log(np.array([[a, 0.25, b]], np.float32)) for a, b in ((0.5, 0.25), (0.25, 0.5)))
    found = Agreement()
    found.add(p, q, [0])
    told = found.to_json()
    assert told["kl_mean"] == pytest.approx(np.log(2) / 4, rel=1e-5)
    assert told["perplexity_ratio"] == pytest.approx(2, rel=1e-5)
    assert (told["top1_agreement"], told["top1_ties"]) == (0.0, 0)
    assert told["first_difference"] == {
        "where": "", "position": 0, "reference": 0, "other": 2, "margin": pytest.approx(np.log(2), abs=1e-5),
    }  # fmt: skip


def test_a_place_without_a_number_is_counted_and_in_no_sum() -> None:
    p = np.log(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    q = np.array([[np.nan, np.nan], [np.log(0.9), np.log(0.1)]], np.float32)
    found = Agreement()
    found.add(p, q, [0, 1])
    told = found.to_json()
    assert (told["broken"], told["places"], told["top1_agreement"]) == (1, 1, 1.0)
    assert told["kl_mean"] == pytest.approx(0, abs=1e-6)


def test_a_tie_may_go_either_way() -> None:
    p, q = (np.log(np.array([row], np.float32)) for row in ([0.51, 0.49], [0.49, 0.51]))
    found = Agreement()
    found.add(p, q, [0])
    assert (found.ties, found.parted) == (1, [])


def test_an_item_that_is_answered_otherwise_is_counted() -> None:
    found = Agreement()
    for other in ([0.1, 0.6, 0.3], [0.1, 0.3, 0.6]):
        found.add_item(np.array([0.5, 0.4, 0.1], np.float32), np.array(other, np.float32), (1, 2))
    assert (found.items, found.flips) == (2, 1)


def set_template(path: Path, change: Callable[[str], str]) -> None:
    """Writes a GGUF file anew with another chat template."""
    before = metadata(path).template
    assert change(before) != before
    set_field(path, "tokenizer.chat_template", change(before))


def set_field(path: Path, key: str, value: str) -> None:
    """Writes a GGUF file anew with another text in a field."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path.with_suffix(".new"), arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, sub = field.types[0], field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, value.rstrip("\0") if field.name == key else field.contents(), kind, sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".new").replace(path)
