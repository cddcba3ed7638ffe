"""How closely two models that should be one agree: over greedy continuations, and over texts that were not trained on.

In: what each makes of the same token ids, as log-probabilities of the whole vocabulary. Out: `Agreement`: the share of
equal first choices, the mean Kullback-Leibler divergence, the ratio of perplexities, the items answered otherwise.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache

from bedside.fused.lanes import each
from bedside.fused.packs import Row, pack
from bedside.fused.stack import why_not
from bedside.fused.step import Fused
from bedside.runtime.device import choose
from bedside.runtime.hf import load_model, quiet_peft
from bedside.runtime.libllama import File, common_length

TIE = 0.1
"""Nats between the two likeliest tokens below which either may come first: sums in another order, and weights and
activations that llama.cpp holds in 16 bits, move a probability by less."""
AT_ONCE = 64
"""Places whose probabilities are computed at a time."""
READ_AT_ONCE = 2048
"""Tokens of texts that are read at a time, and of which every place's log-probabilities are held."""
Logprobs = NDArray[np.float32]
Value = TypeVar("Value")


LARGEST = 700.0
"""Nats, of which the exponential is still a number."""


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids of a prompt and of what follows it."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A question with a few possible first tokens of its answer, such as letters."""

    prompt: tuple[int, ...]
    candidates: tuple[int, ...]

    @property
    def completion(self) -> tuple[int, ...]:
        """One token, since only the place before it is looked at."""
        return self.candidates[:1]


Follow = Callable[[Sequence[Text | Item]], list[Logprobs]]
"""Texts → log-probabilities [completion, vocabulary] of every token where one of the completion stands."""


@dataclass(slots=True)
class Agreement:
    """Sums over places at which a `reference` model and another have told what may follow.

    A first choice that differs counts as a tie where the reference prefers its own by less than `TIE` nats. Places at
    which one of them told no finite number, as after an overflow, are `broken` and in no sum.
    """

    places: int = 0
    broken: int = 0
    same: int = 0
    ties: int = 0
    divergence: float = 0.0
    surprise: tuple[float, float] = (0.0, 0.0)
    items: int = 0
    flips: int = 0
    parted: list[dict[str, Any]] = field(default_factory=list)

    def add(self, reference_TV: Logprobs, other_TV: Logprobs, said: Sequence[int], where: str = "") -> None:
        """Adds a text's places, one of `said` each."""
        for start in range(0, len(said), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            self._add(reference_TV[rows], other_TV[rows], said[rows], start, where)

    def _add(self, reference_TV: Logprobs, other_TV: Logprobs, said: Sequence[int], start: int, where: str) -> None:
        reference, other, chosen = torch.from_numpy(reference_TV), torch.from_numpy(other_TV), torch.tensor(said)
        apart_TV = reference - other  # finite where both are
        whole_T = apart_TV.isfinite().all(-1)
        kept = whole_T.nonzero()[:, 0]
        self.broken += len(said) - len(kept)
        if len(kept) < len(said):
            reference, other, apart_TV, chosen = (it[kept] for it in (reference, other, apart_TV, chosen))
        ours, theirs = reference.argmax(-1), other.argmax(-1)
        lines = torch.arange(len(ours))
        margins_T = reference[lines, ours] - reference[lines, theirs]
        differs_T = ours != theirs
        tied_T = differs_T & (margins_T < TIE)
        self.places += len(ours)
        self.same += int((~differs_T).sum())
        self.ties += int(tied_T.sum())
        self.divergence += float(reference.exp().mul_(apart_TV).sum(dtype=torch.float64))
        self.surprise = (
            self.surprise[0] - float(reference[lines, chosen].sum()),
            self.surprise[1] - float(other[lines, chosen].sum()),
        )
        for at in (differs_T & ~tied_T).nonzero()[:1, 0].tolist():
            told = {"position": start + int(kept[at]), "reference": int(ours[at]), "other": int(theirs[at])}
            self.parted.append({"where": where, **told, "margin": round(float(margins_T[at]), 6)})

    def add_item(self, reference_V: Logprobs, other_V: Logprobs, candidates: Sequence[int]) -> None:
        """Adds a question that both have answered by the likeliest of its candidates."""
        at = list(candidates)
        self.items += 1
        self.broken += int(not (np.isfinite(reference_V[at]).all() and np.isfinite(other_V[at]).all()))
        self.flips += int(reference_V[at].argmax() != other_V[at].argmax())

    def to_json(self) -> dict[str, Any]:
        """Means; `perplexity_ratio` is the other over the reference, `flips` are answers of `items` that changed."""
        places = max(1, self.places)
        ratio = math.exp(min(LARGEST, (self.surprise[1] - self.surprise[0]) / places))
        return {
            "places": self.places,
            "broken": self.broken,
            "kl_mean": max(0.0, self.divergence / places),
            "top1_agreement": self.same / places,
            "top1_ties": self.ties,
            "perplexity_ratio": ratio,
            "items": self.items,
            "flips": self.flips,
            "first_difference": self.parted[0] if self.parted else None,
        }


def in_groups(values: Iterable[Value], text: Callable[[Value], Text | Item]) -> Iterator[list[Value]]:
    """As many as are read at a time, by the text of each; within a group, texts that begin alike follow one another."""
    group: list[Value] = []
    filled = 0
    for value in values:
        size = len(ids_of(text(value)))
        if group and filled + size > READ_AT_ONCE:
            yield sorted(group, key=lambda one: ids_of(text(one)))
            group, filled = [], 0
        group.append(value)
        filled += size
    if group:
        yield sorted(group, key=lambda one: ids_of(text(one)))


def in_transformers(folder: Path, adapter: Path | None = None, nf4_precision: str | None = None) -> Follow:
    """A model folder in fp32, with a LoRA adapter on top if one is given; `nf4_precision` is that of `merge`."""
    model: Any = load_model(folder, choose("fp32"))
    if nf4_precision:
        _round_as_trained(model, folder, getattr(torch, nf4_precision))
    if adapter is not None:
        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    packed = model.device.type == "cpu" and why_not(model) is None  # a card's attention does not share a beginning
    return _in_packs(Fused(model)) if packed else _one_by_one(model)


def _round_as_trained(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Gives each layer that training had in 4 bits what they stand for there, in fp32: bitsandbytes rounds otherwise
    in a layer that computes in fp32."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    packed = load_model(folder, replace(choose("fp32"), dtype=dtype), "nf4")
    for name, layer in packed.named_modules():
        if isinstance(layer, Linear4bit):
            weight: Any = layer.weight
            model.get_submodule(name).weight.data = dequantize_4bit(weight.data, weight.quant_state).float()


def _in_packs(step: Fused) -> Follow:
    """By the fused step, a pack for each core; what some of a pack begin alike with is computed once."""

    def read(rows: Sequence[Row]) -> Sequence[Tensor]:
        told_TV = step.following(pack(rows, share=True))
        return list(torch.split(told_TV, [row.trained for row in rows]))

    def follow(texts: Sequence[Text | Item]) -> list[Logprobs]:
        rows = [Row("", ids_of(text), len(text.prompt)) for text in texts]
        lanes = min(len(rows), torch.get_num_threads())
        cuts = [len(rows) * lane // lanes for lane in range(lanes + 1)]
        parts = [rows[start:stop] for start, stop in pairwise(cuts)]
        return [told_TV.numpy() for part in each(read, parts) for told_TV in part]

    return follow


def _one_by_one(model: Any) -> Follow:
    """By transformers. What a text begins with like the one before it is not computed again, unless a layer looks back
    over a window only."""
    held: tuple[int, ...] = ()
    cache = DynamicCache(config=model.config)

    @torch.inference_mode()
    def read(text: Text | Item) -> Logprobs:
        nonlocal cache, held
        ids = ids_of(text)[:-1]
        kept = min(common_length(held, ids), len(text.prompt) - 1)
        if kept == 0 or any(cache.is_sliding):
            kept, cache = 0, DynamicCache(config=model.config)
        elif kept < len(held):
            cache.crop(kept - len(held))
        held = ids
        tokens = torch.tensor([ids[kept:]], device=model.device)
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=len(text.completion))
        return np.asarray(out.logits[0].float().log_softmax(-1).cpu().numpy())

    return lambda texts: [read(text) for text in texts]


def in_llama_cpp(file: File) -> Follow:
    """A GGUF file."""
    return lambda texts: file.logprobs([(ids_of(text)[:-1], len(text.prompt) - 1) for text in texts])


def ids_of(text: Text | Item) -> tuple[int, ...]:
    """All of a text, as it is read."""
    return (*text.prompt, *text.completion)


@dataclass(slots=True)
class Continued:
    """A prompt's greedy continuation, the end token included, and the log-probabilities [said, vocabulary] there."""

    place: int
    prompt: tuple[int, ...]
    said: list[int] = field(default_factory=list)
    rows: list[Logprobs] = field(default_factory=list)
    over: bool = False

    @property
    def text(self) -> Text:
        """For others to read."""
        return Text(self.prompt, tuple(self.said))


def continuations(file: File, prompts: Sequence[tuple[int, ...]], most: int) -> Iterator[Continued]:
    """Greedy continuations of at most so many tokens, side by side, as they end.

    Prompts are read one by one, alike ones after each other: what one has read the next need not. Those that run are
    the file's first sequences, without a gap: llama.cpp computes only neighbours at once.
    """
    waiting = sorted((Continued(i, prompt) for i, prompt in enumerate(prompts)), key=lambda one: one.prompt)
    running: list[Continued] = []
    while waiting or running:
        while waiting and len(running) < file.sequences:
            running.append(waiting.pop(0))
            _say(file, len(running) - 1, running[-1:], most)
        for at in reversed(range(len(running))):
            if running[at].over:
                yield running[at]
                last = running.pop()
                if at < len(running):
                    running[at] = last
                    file.copy(len(running), at)
        if running:
            _say(file, 0, running, most)


def _say(file: File, first: int, running: Sequence[Continued], most: int) -> None:
    """One token more of each, from sequence `first` on, after what it has not read yet of its prompt."""
    places = list(enumerate(running, first))
    unread = [(at, one.said[-1:] or one.prompt[file.keep(at, one.prompt[:-1]) :]) for at, one in places]
    told = file.extend([(at, ids, len(ids) - 1) for at, ids in unread])
    for one, row_TV in zip(running, told, strict=True):
        one.rows.append(row_TV[0])
        one.said.append(int(row_TV[0].argmax()))
        one.over = len(one.said) == most or file.ends(one.said[-1])
