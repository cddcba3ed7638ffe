"""transformers as a backend: likelihoods, batched greedy generation and streaming, of a base, a merged model or a
base with an adapter."""

import importlib.util
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)
from transformers.quantizers.auto import AutoHfQuantizer

from bedside.errors import ContextTooLong, MissingExtra, ModelError, UsageError, first_line
from bedside.fused.allocator import let_go_of_file
from bedside.fused.lanes import each
from bedside.fused.packs import Row, evenly, pack
from bedside.fused.stack import why_not
from bedside.fused.step import Fused
from bedside.models.folder import check
from bedside.recipe import PromptSection
from bedside.records import Delta, Finish, Generation, GenerationOptions, Message
from bedside.runtime.backend import Likelihood
from bedside.runtime.budget import complete, stream_with_answer, write_with_answer
from bedside.runtime.device import Device, choose, use_all_cores
from bedside.runtime.reading import Piece
from bedside.runtime.tokenizer import adds_bos, encode, encode_completion, end_ids, load_tokenizer, renderer_of
from bedside.text import think

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
BATCH = 16
AT_ONCE = 2048
"""Tokens of a pack of several prompts."""


def load_model(folder: Path, device: Device, quantise: Literal["none", "nf4"] = "none") -> PreTrainedModel:
    """The causal language model of a folder; safetensors only, no remote code. Raises ModelError if it cannot load."""
    check(folder)
    use_all_cores()
    packed = _nf4(device) if quantise == "nf4" else None
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=AutoConfig.from_pretrained(str(folder), trust_remote_code=False),
            dtype=device.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            device_map={"": device.name},
            quantization_config=packed,
            output_loading_info=True,
        )
    except Exception as error:  # what a library meets in a file that is not what it seems has no common name
        raise ModelError(f"{folder}: cannot be loaded ({first_line(error)})") from error
    model: PreTrainedModel = loaded[0]
    found: dict[str, set[str]] = loaded[1]
    if found["missing_keys"]:  # transformers would go on with random numbers in their place
        missing = sorted(found["missing_keys"])
        raise ModelError(f"{folder}: cannot be loaded (its weights lack {len(missing)} tensors, such as {missing[0]})")
    if quantise == "nf4":
        let_go_of_file(model)
        keep_layout(model)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=model.generation_config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    return model


def keep_layout(model: PreTrainedModel) -> None:
    """Keeps bitsandbytes from packing 4-bit weights where no gradient is wanted, as it does on CPUs with AVX-512 bf16.

    That is never undone (0.50), its product passes no gradient on, and it rounds to bf16 whatever the model's type is.
    """
    modules: Iterable[Any] = model.modules()
    for module in modules:
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _nf4(device: Device) -> BitsAndBytesConfig:
    """NF4 with double quantisation (arXiv:2305.14314), multiplied in the device's type."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra.named("model.quantise = 'nf4'", "train")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )


def four_bit_weights(folder: Path) -> frozenset[str]:
    """Names of the weights that `load_model` puts in 4 bits, as transformers chooses them: no head, no embedding."""
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    AutoHfQuantizer.from_config(_nf4(choose("fp32"))).preprocess_model(model, device_map={"": "cpu"})
    layers = (name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit")
    return frozenset(f"{name}.weight" for name in layers)


def load_backend(
    folder: Path,
    section: PromptSection,
    *,
    adapter: Path | None = None,
    name: str = "",
    quantise: Literal["none", "nf4"] = "none",
) -> "HfBackend":
    """A backend from a model folder, with a LoRA adapter on top if one is given."""
    model: PreTrainedModel | PeftModel = load_model(folder, choose(), quantise)
    if adapter is not None:
        if not (adapter / "adapter_model.safetensors").is_file():  # peft would go on to unpickle a .bin
            raise ModelError(f"{adapter}: no adapter_model.safetensors; pickled weights are not loaded")
        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(adapter))
    return HfBackend(model, load_tokenizer(folder, section), section, name or folder.name)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """peft calls transformers' activation checkpointing by its old names; no user can mend that."""
    old = r"`(is_gradient_checkpointing|gradient_checkpointing_\w+)` is deprecated"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=old, category=FutureWarning)
        yield


class HfBackend:
    """Implements `backend.Speaker`, `backend.Scorer` and `backend.Measured`."""

    together = 2 * BATCH
    at_once = 1
    wider = ""
    constrains = False

    def __init__(
        self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, prompt: PromptSection, name: str
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.renderer = renderer_of(tokenizer)
        self.prompt = prompt
        self.name = name
        self.ends = end_ids(tokenizer)
        self.window = int(getattr(model.config, "max_position_embeddings", None) or 0)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """See `Scorer`."""
        return self.renderer.render(messages, generation=True)

    def likelihoods(
        self, asked: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] = lambda n: None
    ) -> list[list[Likelihood]]:
        """See `Scorer`. Raises ContextTooLong if a text does not fit into the model's window."""
        rows = [[self._row(prompt, text) for text in texts] for prompt, texts in asked]
        self._need_room([len(row.ids) for of_one in rows for row in of_one])
        found: dict[int, Sequence[Tensor]] = {}
        for part in self._by_packs(rows) if self._fused else ({i: self._by_cache(one)} for i, one in enumerate(rows)):
            found |= part
            progress(len(part))
        return [
            [_likelihood(logprobs, text) for logprobs, text in zip(found[i], texts, strict=True)]
            for i, (_, texts) in enumerate(asked)
        ]

    def tokens(self, prompt: str, continuation: str = "") -> int:
        """See `Measured`."""
        return len(self._row(prompt, continuation).ids)

    def _need_room(self, lengths: Sequence[int]) -> None:
        """Nothing is cut: beyond its window a model computes nonsense without a word."""
        over = [length for length in lengths if self.window and length > self.window]
        if over:
            raise ContextTooLong(
                f"{self.name}: {len(over)} of {len(lengths)} texts need more than its window of {self.window} tokens,"
                f" the longest {max(over)}; leave those items out, or lower evaluate.max_tokens"
            )

    @cached_property
    def _fused(self) -> Fused | None:
        on_a_cpu = self.model.device.type == "cpu"  # a card's attention does not share a beginning
        return Fused(self.model) if on_a_cpu and why_not(self.model) is None else None

    def _row(self, prompt: str, text: str) -> Row:
        prompt_ids, ids = encode_completion(self.tokenizer, prompt, text)
        return Row("", (*prompt_ids, *ids), len(prompt_ids))

    def _by_packs(self, prompts: Sequence[Sequence[Row]]) -> Iterator[dict[int, Sequence[Tensor]]]:
        """{place of a prompt: log-probabilities of the trained tokens of its rows} by the fused step, a pack a core.

        A pack is several prompts with their continuations: what prompts begin alike with is computed once, and so is a
        prompt. Where continuations are one token each, all of them are read at their prompt's end.
        """
        every = dict(enumerate(prompts))
        at_end = {i: rows for i, rows in every.items() if all(row.trained == 1 for row in rows)}
        yield from each(self._at_ends, _packs(at_end))
        yield from each(self._through, _packs({i: rows for i, rows in every.items() if i not in at_end}))

    def _at_ends(self, prompts: Mapping[int, Sequence[Row]]) -> dict[int, Sequence[Tensor]]:
        assert self._fused is not None
        following_NV = self._fused.following(pack([rows[0] for rows in prompts.values()], share=True))
        return {
            place: [logprobs_V[[row.ids[-1]]] for row in rows]
            for (place, rows), logprobs_V in zip(prompts.items(), following_NV, strict=True)
        }

    def _through(self, prompts: Mapping[int, Sequence[Row]]) -> dict[int, Sequence[Tensor]]:
        assert self._fused is not None
        every = [row for rows in prompts.values() for row in rows]
        found = iter(self._fused.logprobs(pack(every, share=True)).split([row.trained for row in every]))
        return {place: [next(found) for _ in rows] for place, rows in prompts.items()}

    @torch.inference_mode()
    def _by_cache(self, rows: Sequence[Row]) -> Sequence[Tensor]:
        """The same by transformers: the prompt is computed once, and what follows as one batch on its cache."""
        prompt_ids = rows[0].ids[: rows[0].prompt]
        out = self.model(input_ids=self._tensor([prompt_ids]), use_cache=True, logits_to_keep=1)
        first_V = out.logits[0, -1].float().log_softmax(-1)
        longest = max(row.trained for row in rows)
        pad = self.tokenizer.pad_token_id
        rows_BT = self._tensor([[*row.ids[row.prompt :], *[pad] * (longest - row.trained)] for row in rows])
        logprobs_BT = first_V[rows_BT[:, 0]][:, None]
        if longest > 1:
            rest = self._continue(out.past_key_values, len(prompt_ids), rows_BT)
            logprobs_BT = torch.cat([logprobs_BT, rest], 1)
        return [logprobs_T[: row.trained] for logprobs_T, row in zip(logprobs_BT, rows, strict=True)]

    def _continue(self, cache: Any, past: int, rows_BT: Tensor) -> Tensor:
        """Log-probabilities of tokens 1, 2, … of each row, given the prompt's cache and the tokens before."""
        batch, longest = rows_BT.shape
        cache.batch_repeat_interleave(batch)
        mask = torch.ones(batch, past + longest - 1, dtype=torch.long, device=rows_BT.device)
        logits = self.model(
            input_ids=rows_BT[:, :-1], past_key_values=cache, attention_mask=mask, use_cache=True
        ).logits
        chosen: Tensor = logits.float().log_softmax(-1).gather(-1, rows_BT[:, 1:, None])[..., 0]
        return chosen

    def write(
        self,
        conversations: Sequence[Sequence[Message]],
        options: GenerationOptions,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[Generation]:
        """See `Writer`. Raises ContextTooLong if an answer would not fit into the model's window."""
        prompts = list(map(self.prompt_text, conversations))
        most = options.max_tokens + options.answer_tokens
        self._need_room([len(encode(self.tokenizer, prompt)) + most for prompt in prompts])
        return write_with_answer(self.generate, prompts, options, progress)

    def generate(
        self,
        prompts: Sequence[str],
        options: GenerationOptions,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[Generation]:
        """Continuations of the prompts in their order; rows of like length share a batch, so that little is padding."""
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        self._need_room([len(row) + options.max_tokens for row in ids])
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        done: dict[int, Generation] = {}
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            for i, new in zip(chosen, self._generate_batch([ids[i] for i in chosen], options), strict=True):
                done[i] = self._finished(prompts[i], len(ids[i]), new)
            progress(len(chosen))
        return [done[i] for i in range(len(ids))]

    def stream(self, messages: Sequence[Message], options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `Speaker`."""
        reasons = self.prompt.reasoning == "think"
        return stream_with_answer(self._stream_text, self.prompt_text(messages), options, reasons)

    def complete(self, prompt: str, options: GenerationOptions) -> Generator[Delta | Generation]:
        """See `Speaker`. The begin token that a template would print is put in front, as llama.cpp does."""
        begin = str(self.tokenizer.bos_token) if adds_bos(self.tokenizer) else ""
        return complete(self._stream_text, begin + prompt, options)

    def _stream_text(self, prompt: str, options: GenerationOptions) -> Generator[Piece]:
        if options.schema or options.logprobs is not None:
            asked = "a schema" if options.schema else "log-probabilities"
            raise UsageError(f"{self.name}: {asked} can be asked of a GGUF file only; `bedside export` writes one")
        ids = encode(self.tokenizer, prompt)
        room = self.window - len(ids) if self.window else options.max_tokens
        if room < 1:
            raise ContextTooLong(f"the conversation has {len(ids)} tokens, {self.name} reads {self.window}; shorten it")
        within = replace(options, max_tokens=min(options.max_tokens, room))
        words = _Words(self.tokenizer)
        stop = threading.Event()
        result: list[list[int] | BaseException] = []

        def work() -> None:
            try:
                result.extend(self._generate_batch([ids], within, streamer=words, stop=stop))
            except BaseException as error:  # noqa: BLE001 - handed to the consumer below
                result.append(error)
                words.said.put(None)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            for text, tokens in iter(words.said.get, None):
                yield Piece(text, tokens, len(ids))
        finally:
            stop.set()
            worker.join()
        new = result[0]
        if isinstance(new, BaseException):
            raise new
        yield Piece("", len(new), len(ids), self._finish(new))

    def close(self) -> None:
        """See `Speaker`."""
        del self.model

    @torch.inference_mode()
    def _generate_batch(
        self,
        ids: Sequence[Sequence[int]],
        options: GenerationOptions,
        streamer: TextStreamer | None = None,
        stop: threading.Event | None = None,
    ) -> list[list[int]]:
        """New token ids of each row, the end token included where it was reached."""
        longest = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        sampling: dict[str, Any] = {"do_sample": False}
        if options.temperature > 0:
            sampling = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p}
            torch.manual_seed(options.seed)
        out = self.model.generate(
            input_ids=self._tensor([[pad] * (longest - len(row)) + list(row) for row in ids]),
            attention_mask=self._tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids]),
            max_new_tokens=options.max_tokens,
            eos_token_id=self.ends,
            pad_token_id=pad,
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList([_Stopped(stop)] if stop else []),
            **sampling,
        )
        rows = [row[longest:].tolist() for row in out]
        return [self._until_end(row) for row in rows]

    def _until_end(self, row: list[int]) -> list[int]:
        """Up to and including the first end; what follows is padding."""
        return next((row[: i + 1] for i, token in enumerate(row) if token in self.ends), row)

    def _finished(self, prompt: str, prompt_tokens: int, new: Sequence[int]) -> Generation:
        text = str(self.tokenizer.decode(list(new), skip_special_tokens=True))
        reasoning, answer = think.split(text, opened=prompt.endswith(think.OPEN))
        return Generation(reasoning, answer, self._finish(new), prompt_tokens, len(new))

    def _finish(self, new: Sequence[int]) -> Finish:
        return "stop" if new and new[-1] in self.ends else "length"

    def _tensor(self, rows: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(rows, device=self.model.device)


def _packs(prompts: Mapping[int, Sequence[Row]]) -> list[dict[int, Sequence[Row]]]:
    """Prompts that are computed together, about as many tokens in each part, and as many parts for each core.

    A prompt counts once, with all that may follow it.
    """
    if not prompts:
        return []
    whole = [
        Row(str(i), (*rows[0].ids, *(token for row in rows[1:] for token in row.ids[row.prompt :])), rows[0].prompt)
        for i, rows in prompts.items()
    ]
    cores = torch.get_num_threads()
    count = -(-sum(len(row.ids) for row in whole) // (AT_ONCE * cores)) * cores
    return [{int(row.id): prompts[int(row.id)] for row in part} for part in evenly(whole, min(count, len(whole)))]


def _likelihood(logprobs: Tensor, text: str) -> Likelihood:
    return Likelihood(float(logprobs.sum(dtype=torch.float64)), len(logprobs), len(text))


class _Words(TextStreamer):
    """Hands over (text, tokens so far) with every token, and None at the end; a word is told when the next begins."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.said: queue.Queue[tuple[str, int] | None] = queue.Queue()
        self._tokens = 0

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self._tokens += not stream_end
        self.said.put((text, self._tokens))
        if stream_end:
            self.said.put(None)


class _Stopped(StoppingCriteria):
    """Ends a generation when its reader has gone."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), self._stop.is_set(), device=input_ids.device)
