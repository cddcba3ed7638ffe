"""How closely two models that should be one agree: over greedy continuations, and over texts that were not trained on.

In: what each makes of the same token ids, as log-probabilities of the whole vocabulary. Out: `Agreement`: the share of
equal first choices, the mean Kullback-Leibler divergence, the ratio of perplexities, the items answered otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import DynamicCache

from bedside.runtime.device import choose
from bedside.runtime.hf import load_model, quiet_peft
from bedside.runtime.libllama import File, common_length

TIE = 0.1
"""Nats between the two likeliest tokens below which either may come first: sums in another order, and weights and
activations that llama.cpp holds in 16 bits, move a probability by less."""
AT_ONCE = 64
"""Places whose probabilities are held twice in fp64."""
Logprobs = NDArray[np.float32]
Follow = Callable[[Sequence[int], int], Logprobs]
"""(ids, start) → log-probabilities [len(ids) - start, vocabulary] of what follows ids[start], ids[start + 1], …."""


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


@dataclass(slots=True)
class Agreement:
    """Sums over places at which a `reference` model and another have told what may follow.

    A first choice that differs counts as a tie where the reference prefers its own by less than `TIE` nats.
    """

    places: int = 0
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
        ours, theirs = reference_TV.argmax(-1), other_TV.argmax(-1)
        lines = np.arange(len(ours))
        margins_T = reference_TV[lines, ours] - reference_TV[lines, theirs]
        tied_T = (ours != theirs) & (margins_T < TIE)
        p_TV = np.exp(reference_TV.astype(np.float64))
        self.places += len(ours)
        self.same += int((ours == theirs).sum())
        self.ties += int(tied_T.sum())
        self.divergence += float((p_TV * (reference_TV - other_TV)).sum())
        chosen = np.asarray(said, int)
        self.surprise = (
            self.surprise[0] - float(reference_TV[lines, chosen].sum()),
            self.surprise[1] - float(other_TV[lines, chosen].sum()),
        )
        for at in np.flatnonzero((ours != theirs) & ~tied_T)[:1]:
            told = {"position": start + int(at), "reference": int(ours[at]), "other": int(theirs[at])}
            self.parted.append({"where": where, **told, "margin": round(float(margins_T[at]), 6)})

    def add_item(self, reference_V: Logprobs, other_V: Logprobs, candidates: Sequence[int]) -> None:
        """Adds a question that both have answered by the likeliest of its candidates."""
        at = list(candidates)
        self.items += 1
        self.flips += int(reference_V[at].argmax() != other_V[at].argmax())

    def to_json(self) -> dict[str, Any]:
        """Means; `perplexity_ratio` is the other over the reference, `flips` are answers of `items` that changed."""
        places = self.places
        ratio = float(np.exp((self.surprise[1] - self.surprise[0]) / places))
        return {
            "places": self.places,
            "kl_mean": max(0.0, self.divergence / places),
            "top1_agreement": self.same / places,
            "top1_ties": self.ties,
            "perplexity_ratio": ratio,
            "items": self.items,
            "flips": self.flips,
            "first_difference": self.parted[0] if self.parted else None,
        }


def in_transformers(folder: Path, adapter: Path | None, quantise: Literal["none", "nf4"]) -> Follow:
    """A model folder in fp32, with a LoRA adapter on top if one is given.

    What a text begins with like the one before it is not computed again, unless a layer looks back over a window only.
    """
    model: Any = load_model(folder, choose("fp32"), quantise)
    if adapter is not None:
        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    held: list[int] = []
    cache = DynamicCache(config=model.config)

    @torch.inference_mode()
    def follow(ids: Sequence[int], start: int) -> Logprobs:
        nonlocal cache
        kept = min(common_length(held, ids), start)
        if kept == 0 or any(cache.is_sliding):
            kept, cache = 0, DynamicCache(config=model.config)
        elif kept < len(held):
            cache.crop(kept - len(held))
        held[:] = ids
        tokens = torch.tensor([list(ids[kept:])], device=model.device)
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=len(ids) - start)
        return np.asarray(out.logits[0].float().log_softmax(-1).cpu().numpy())

    return follow


def in_llama_cpp(file: File) -> Follow:
    """A GGUF file."""
    return lambda ids, start: file.logprobs([(ids, start)])[0]


def continuations(file: File, prompts: Sequence[Sequence[int]], most: int) -> Iterator[tuple[int, list[int], Logprobs]]:
    """(place of a prompt, its greedy continuation with its end token, log-probabilities at each of these tokens)."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), file.sequences):
        chosen = order[start : start + file.sequences]
        yield from _together(file, {i: prompts[i] for i in chosen}, most)


def _together(file: File, prompts: dict[int, Sequence[int]], most: int) -> Iterator[tuple[int, list[int], Logprobs]]:
    """Some prompts side by side, each in a sequence of its own."""
    places = {i: sequence for sequence, i in enumerate(prompts)}
    said: dict[int, list[int]] = {i: [] for i in prompts}
    rows: dict[int, list[Logprobs]] = {i: [] for i in prompts}
    kept = {i: file.keep(places[i], prompt[:-1]) for i, prompt in prompts.items()}
    parts = {i: (places[i], prompt[kept[i] :], len(prompt) - kept[i] - 1) for i, prompt in prompts.items()}
    while parts:
        for i, told in zip(parts, file.extend(list(parts.values())), strict=True):
            rows[i].append(told[-1])
            said[i].append(int(told[-1].argmax()))
        going = [i for i in parts if len(said[i]) < most and not file.ends(said[i][-1])]
        parts = {i: (places[i], said[i][-1:], 0) for i in going}
    for i in prompts:
        yield i, said[i], np.stack(rows[i])
