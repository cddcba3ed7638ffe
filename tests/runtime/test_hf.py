import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from tokenizers import processors
from transformers import AutoTokenizer

from bedside.errors import ContextTooLong, ModelError
from bedside.fused import packs
from bedside.recipe import PromptSection
from bedside.records import Delta, Generation, GenerationOptions, Message
from bedside.runtime import hf
from bedside.runtime.backend import Likelihood
from bedside.runtime.device import Device
from bedside.runtime.tokenizer import adds_bos

SECTION = PromptSection(system="")
FP32 = Device("cpu", torch.float32, "exact")
PROMPT = "<|im_start|>user\nWhich drug?<|im_end|>\n<|im_start|>assistant\n"
CONTINUATIONS = [" Aspirin 300 mg", " B", " the heart, then the lungs", "\nyes"]
TWELVE = GenerationOptions(max_tokens=12)
CONVERSATIONS = [
    [Message("user", text)]
    for text in ("Which drug?", "Why is the pressure of the patient raised, and what lowers it?", "B?", "120 or 80?")
]


def prompts(backend: hf.HfBackend) -> list[str]:
    return [backend.prompt_text(messages) for messages in CONVERSATIONS]


@pytest.fixture(scope="module")
def backend(tiny_llama: Path) -> hf.HfBackend:
    return hf.HfBackend(hf.load_model(tiny_llama, FP32), hf.load_tokenizer(tiny_llama, SECTION), SECTION, "tiny")


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "copy"))


def scored(backend: hf.HfBackend, continuations: Sequence[str]) -> list[Likelihood]:
    [found] = backend.likelihoods([(PROMPT, continuations)])
    return found


def direct(backend: hf.HfBackend, prompt: str, continuation: str) -> tuple[float, int]:
    """Log-likelihood by one forward pass over the whole text, without cache or batch."""
    prompt_ids, ids = hf.encode_completion(backend.tokenizer, prompt, continuation)
    with torch.inference_mode():
        logits = backend.model(torch.tensor([prompt_ids + ids]), use_cache=False).logits[0].double().log_softmax(-1)
    return float(sum(logits[len(prompt_ids) - 1 + i, token] for i, token in enumerate(ids))), len(ids)


def greedy(backend: hf.HfBackend, messages: list[Message], tokens: int) -> list[int]:
    """Greedy decoding by its definition."""
    ids = hf.encode(backend.tokenizer, backend.prompt_text(messages))
    new: list[int] = []
    while len(new) < tokens and new[-1:] != [backend.tokenizer.eos_token_id]:
        with torch.inference_mode():
            new.append(int(backend.model(torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax()))
    return new


def test_likelihoods_are_those_of_a_direct_forward_pass(backend: hf.HfBackend) -> None:
    for found, text in zip(scored(backend, CONTINUATIONS), CONTINUATIONS, strict=True):
        logprob, tokens = direct(backend, PROMPT, text)
        assert found.logprob == pytest.approx(logprob, abs=1e-3)
        assert (found.tokens, found.characters) == (tokens, len(text))


def test_continuations_in_one_batch_score_as_one_by_one(backend: hf.HfBackend) -> None:
    together = scored(backend, CONTINUATIONS)
    for text, found in zip(CONTINUATIONS, together, strict=True):
        [alone] = scored(backend, [text])
        assert found.logprob == pytest.approx(alone.logprob, abs=1e-3)
    assert [found.logprob for found in scored(backend, CONTINUATIONS[::-1])] == pytest.approx(
        [found.logprob for found in together[::-1]], abs=1e-3
    )


def test_single_tokens_are_scored_too(backend: hf.HfBackend) -> None:
    found = scored(backend, ["A", "B", "C"])
    assert [one.tokens for one in found] == [1, 1, 1]
    assert found[1].logprob == pytest.approx(direct(backend, PROMPT, "B")[0], abs=1e-3)


def test_a_batch_generates_what_each_conversation_generates_alone(backend: hf.HfBackend) -> None:
    progress: list[int] = []
    together = backend.generate(prompts(backend), TWELVE, progress.append)
    assert sum(progress) == len(CONVERSATIONS)
    for messages, found in zip(CONVERSATIONS, together, strict=True):
        ids = greedy(backend, messages, 12)
        assert found.answer == backend.tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert found.completion_tokens == len(ids)
        assert found.prompt_tokens == len(hf.encode(backend.tokenizer, backend.prompt_text(messages)))
        assert found.finish == ("stop" if ids[-1] == backend.tokenizer.eos_token_id else "length")


def test_more_conversations_than_a_batch_holds_keep_their_order(
    backend: hf.HfBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backend.generate(prompts(backend), TWELVE)
    monkeypatch.setattr(hf, "BATCH", 2)
    assert backend.generate(prompts(backend), TWELVE) == whole


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=lambda messages: messages[0].content)
def test_a_stream_says_what_generate_says(backend: hf.HfBackend, messages: list[Message]) -> None:
    *deltas, last = backend.stream(messages, TWELVE)
    assert last == backend.generate([backend.prompt_text(messages)], TWELVE)[0]
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert "".join(delta.answer for delta in deltas if isinstance(delta, Delta)).strip() == last.answer


def test_a_prompt_that_opens_the_reasoning_streams_reasoning(backend: hf.HfBackend, tiny_llama: Path) -> None:
    section = PromptSection(style="alpaca-think")
    thinking = hf.HfBackend(backend.model, hf.load_tokenizer(tiny_llama, section), section, "tiny")
    *deltas, last = thinking.stream(CONVERSATIONS[0], TWELVE)
    assert isinstance(last, Generation)
    assert last.answer == ""
    assert last.reasoning == "".join(delta.reasoning for delta in deltas if isinstance(delta, Delta)).strip() != ""


@pytest.fixture
def slowed(backend: hf.HfBackend) -> Iterator[list[int]]:
    """Counts the forward passes, each a little slower, so that the reader is faster than the model."""
    passes: list[int] = []

    def count(*_: Any) -> None:
        passes.append(1)
        time.sleep(0.005)

    hook = backend.model.register_forward_hook(count)
    yield passes
    hook.remove()


def test_closing_the_stream_stops_the_model(backend: hf.HfBackend, slowed: list[int]) -> None:
    options = GenerationOptions(max_tokens=300)
    stream = backend.stream(CONVERSATIONS[0], options)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    stopped = len(slowed)
    time.sleep(0.05)
    assert len(slowed) == stopped < backend.generate(prompts(backend)[:1], options)[0].completion_tokens


def test_sampling_depends_on_its_seed(backend: hf.HfBackend) -> None:
    def sample(seed: int) -> Generation:
        return backend.generate(prompts(backend)[:1], GenerationOptions(max_tokens=12, temperature=1.0, seed=seed))[0]

    assert sample(1) == sample(1)
    assert len({sample(seed).answer for seed in range(4)}) > 1


def test_a_failure_of_the_model_reaches_the_reader(backend: hf.HfBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(backend.model, "generate", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(backend.stream(CONVERSATIONS[0], TWELVE))


def test_an_adapter_changes_what_is_said(backend: hf.HfBackend, tiny_llama: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(), hf.quiet_peft():
        torch.manual_seed(1)
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(hf.load_model(tiny_llama, FP32), config).save_pretrained(str(tmp_path))
    tuned = hf.load_backend(tiny_llama, SECTION, adapter=tmp_path)
    assert tuned.name == "tiny-llama"
    assert scored(tuned, [" B"])[0].logprob != pytest.approx(scored(backend, [" B"])[0].logprob, abs=1e-2)


@pytest.mark.parametrize("quantise", ["none", "nf4"])
def test_a_model_loads_whole_in_either_form(tiny_llama: Path, quantise: Literal["none", "nf4"]) -> None:
    model = hf.load_model(tiny_llama, FP32, quantise)
    with torch.inference_mode():
        assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


@pytest.mark.parametrize("text", ["", "Which", " drug?", "é😀", "120", "\n\n  x"])
def test_a_completion_keeps_the_prompts_tokens_as_serving_makes_them(backend: hf.HfBackend, text: str) -> None:
    for prompt in (PROMPT, "Whi", "a ", "é"):
        prompt_ids, ids = hf.encode_completion(backend.tokenizer, prompt, text)
        assert prompt_ids == hf.encode(backend.tokenizer, prompt)
        assert backend.tokenizer.decode(prompt_ids + ids) == prompt + text


def test_the_begin_token_stands_once_for_a_tokenizer_that_adds_one(copy: Path) -> None:
    plain = AutoTokenizer.from_pretrained(str(copy))
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", plain.bos_token_id)]
    )
    plain.save_pretrained(copy)
    tokenizer = hf.load_tokenizer(copy, PromptSection(style="alpaca-think"))
    assert adds_bos(tokenizer)
    text = hf.renderer_of(tokenizer).render(CONVERSATIONS[0], generation=True)
    assert hf.encode(tokenizer, text).count(tokenizer.bos_token_id) == 1
    assert tokenizer(text, add_special_tokens=False).input_ids == tokenizer.apply_chat_template(
        [{"role": "user", "content": "Which drug?"}], add_generation_prompt=True, return_dict=False
    )


def test_padding_falls_back_to_the_end_token(copy: Path) -> None:
    plain = AutoTokenizer.from_pretrained(str(copy))
    plain.pad_token = None
    plain.save_pretrained(copy)
    assert hf.load_tokenizer(copy, SECTION).pad_token == "<|im_end|>"


def test_a_tokenizer_without_end_token_is_refused(copy: Path) -> None:
    plain = AutoTokenizer.from_pretrained(str(copy))
    plain.eos_token = None
    plain.save_pretrained(copy)
    with pytest.raises(ModelError, match="the tokenizer has no end token"):
        hf.load_tokenizer(copy, SECTION)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"model": {"type": "Unheard"}}'])
def test_a_damaged_tokenizer_is_told_in_one_line(copy: Path, content: bytes) -> None:
    (copy / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        hf.load_tokenizer(copy, SECTION)
    assert str(caught.value).startswith(f"{copy}: no usable tokenizer (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("model.safetensors", b"not weights at all"),
        ("config.json", b"{broken"),
        ("config.json", b'{"model_type": "unheard-of"}'),
        ("config.json", b"{}"),
    ],
)
def test_a_damaged_model_is_told_in_one_line(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        hf.load_model(copy, FP32)
    assert str(caught.value).startswith((f"{copy}: cannot be loaded (", f"{copy}/config.json line 1: not JSON"))
    assert "\n" not in str(caught.value)


def test_weights_that_were_cut_short_are_told_in_one_line(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        hf.load_model(copy, FP32)


def test_code_that_comes_with_a_model_is_never_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "it ran"
    (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n", encoding="utf-8")
    (copy / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}',
        encoding="utf-8",
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelError, match=r"names Python code of the model's own \(auto_map\), which is never run"):
        hf.load_model(copy, FP32)
    assert not mark.exists()


def test_what_does_not_fit_into_the_window_is_counted_and_refused(backend: hf.HfBackend) -> None:
    long = "word " * 600
    with pytest.raises(ContextTooLong, match=r"1 of 3 texts need more than its window of 512 tokens, the longest \d+"):
        backend.likelihoods([(PROMPT, ["yes", "no", long])])
    with pytest.raises(ContextTooLong, match="2 of 2 texts need more"):
        backend.generate(["Why?", "What?"], GenerationOptions(max_tokens=512))


def test_prompts_of_many_lengths_and_continuations_keep_their_places(
    backend: hf.HfBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several prompts share a pack, and what they begin with; single tokens are read at their prompts' ends."""
    monkeypatch.setattr(hf, "AT_ONCE", 60)
    monkeypatch.setattr(packs, "WORTH", 2)
    start = "<|im_start|>user\nWhich of these is right? "
    asked = [(f"{start}{'word ' * n}<|im_end|>\n", ["A", "B", "C"][: 2 + n % 2]) for n in (1, 9, 4, 30, 2)]
    asked.insert(2, (PROMPT, CONTINUATIONS))
    asked += [(f"{start}{'word ' * n}<|im_end|>\n", CONTINUATIONS) for n in (3, 7)]
    progress: list[int] = []
    found = backend.likelihoods(asked, progress.append)
    assert sum(progress) == len(asked)
    for (prompt, texts), ours in zip(asked, found, strict=True):
        assert [one.logprob for one in ours] == pytest.approx([direct(backend, prompt, t)[0] for t in texts], abs=1e-3)
