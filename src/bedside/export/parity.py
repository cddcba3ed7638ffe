"""Proof that what is served is what was trained: the GGUF file in llama.cpp against the merged model in transformers.

In: a merged folder, a GGUF file, questions. Out: whether both make the same prompt tokens of the same conversation
(template and tokenizer), whether they continue it greedily with the same tokens (weights), and how far apart their
next-token distributions are along the merged model's text (what the quantisation cost).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bedside.errors import UsageError
from bedside.export.probe import Probe
from bedside.export.tensors import Tensors
from bedside.recipe import PromptSection
from bedside.runtime.device import Precision, choose
from bedside.runtime.hf import load_model
from bedside.runtime.llamacpp import LlamaCpp
from bedside.runtime.tokenizer import encode, load_tokenizer, renderer_of
from bedside.text.chat import conversation

CONTEXT = 4096
TOP = 256
"""Tokens whose probabilities are compared one by one; all the others are compared as one."""
TIE = 0.01
"""Nats between two tokens below which either may come first: the order of a sum in fp32 moves a probability by less."""
MEASURED = 32
"""Positions of each question at which distributions are compared; each costs llama.cpp one step."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What was found over `compared` questions.

    `agreed_tokens` of `total_tokens` greedy tokens stand before the first difference of their question. `kl_mean` is
    the mean Kullback-Leibler divergence from merged to GGUF in nats a token, `top1_agreement` the share of positions
    with the same likeliest token. `first_difference` tells question, stage ("tokens", "greedy"), position, both ids
    and, of greedy tokens, the `margin`: by how many nats the merged model prefers its own.
    """

    ok: bool
    tokens_equal: bool
    greedy_equal: bool
    kl_mean: float
    top1_agreement: float
    compared: int
    agreed_tokens: int
    total_tokens: int
    first_difference: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The `parity` object of `bedside export --json`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Seen:
    """One question: prompt and greedy continuation of either side, and the divergence at each measured position."""

    question: str
    merged_prompt: list[int]
    gguf_prompt: list[int]
    merged_greedy: list[int]
    gguf_greedy: list[int]
    margin: float
    divergences: list[float]
    same_top: list[bool]


def check(merged: Path, gguf: Path, section: PromptSection, questions: Sequence[str], max_tokens: int = 64) -> Parity:
    """Compares both on each question. Raises UsageError if there is none.

    A file that stores every weight exactly must continue with the very tokens of the merged model, which is then
    computed in fp32, up to the first tie (see `TIE`). Any other file need not: there, equal prompt tokens suffice for
    `ok`, and the rest is measured.
    """
    if not questions:
        raise UsageError("parity: no question to compare on; give at least one")
    with closing(LlamaCpp(gguf, CONTEXT)) as served, closing(Probe(gguf, CONTEXT)) as probe:
        exact = probe.stored_as == "F32" or {probe.stored_as} == _types(merged)
        trained = _Merged(merged, section, "fp32" if exact else "auto")
        seen = [_see(question, trained, served, probe, max_tokens) for question in questions]
    return summary(seen, exact)


def _types(folder: Path) -> set[str]:
    """The types in which a folder stores its matrices; vectors are F32 in every GGUF file."""
    return {entry.dtype for entry in Tensors.of_model(folder).entries.values() if len(entry.shape) > 1}


class _Merged:
    """The merged model in transformers."""

    def __init__(self, folder: Path, section: PromptSection, precision: Precision) -> None:
        self.section = section
        self.tokenizer = load_tokenizer(folder, section)
        self.renderer = renderer_of(self.tokenizer)
        self.model = load_model(folder, choose(precision)).eval()

    def prompt(self, question: str) -> list[int]:
        messages = conversation(question, self.section)
        return encode(self.tokenizer, self.renderer.render(messages, generation=True))

    @torch.inference_mode()
    def greedy(self, prompt: list[int], max_tokens: int) -> tuple[list[int], NDArray[np.float64]]:
        """Token ids up to the end token, and log-probabilities [tokens, vocabulary] at each of them and at the end."""
        ids = torch.tensor([prompt], device=self.model.device)
        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = out.sequences[0, len(prompt) :].tolist()
        logprobs_TV = torch.cat(out.logits).double().log_softmax(-1).cpu().numpy()
        ended = new[-1] == self.tokenizer.eos_token_id
        return new[:-1] if ended else new, logprobs_TV


def _see(question: str, trained: _Merged, served: LlamaCpp, probe: Probe, max_tokens: int) -> Seen:
    prompt = trained.prompt(question)
    greedy, logprobs_TV = trained.greedy(prompt, max_tokens)
    divergences, same_top = [], []
    for position, merged_V in enumerate(logprobs_TV[:MEASURED]):
        theirs = probe.next_logprobs([*prompt, *greedy[:position]], min(TOP, len(merged_V)))
        divergences.append(divergence(merged_V, theirs))
        same_top.append(max(theirs, key=theirs.__getitem__) == int(merged_V.argmax()))
    spoken = served.generate_ids(prompt, max_tokens)
    said = _until_end(greedy, spoken, trained.tokenizer.all_special_ids)
    return Seen(
        question=question,
        merged_prompt=prompt,
        gguf_prompt=probe.tokens(served.prompt_text(conversation(question, served.prompt))),
        merged_greedy=said,
        gguf_greedy=spoken,
        margin=margin(said, spoken, logprobs_TV, int(trained.tokenizer.eos_token_id)),
        divergences=divergences,
        same_top=same_top,
    )


def _until_end(ours: list[int], theirs: list[int], special: Sequence[int]) -> list[int]:
    """Our tokens up to where llama.cpp ended: it stops at any end token of the vocabulary, not only at the model's."""
    end = len(theirs)
    ended = theirs == ours[:end] and end < len(ours) and ours[end] in special
    return ours[:end] if ended else ours


def margin(ours: list[int], theirs: list[int], logprobs_TV: NDArray[np.float64], end: int) -> float:
    """Nats by which our first token that differs is likelier to us than theirs; 0 where none differs."""
    if ours == theirs:
        return 0.0
    at = _agreed(ours, theirs)
    our, their = ([*said, end][at] for said in (ours, theirs))
    return float(logprobs_TV[at, our] - logprobs_TV[at, their])


def divergence(merged_V: NDArray[np.float64], theirs: dict[int, float]) -> float:
    """Kullback-Leibler divergence in nats, over the tokens in `theirs` and all others as one (so a lower bound)."""
    ids = np.fromiter(theirs, int)
    log_p, log_q = merged_V[ids], np.fromiter(theirs.values(), float)
    p, q = np.exp(log_p), np.exp(log_q)
    rest_p, rest_q = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
    return max(0.0, float((p * (log_p - log_q)).sum() + rest_p * np.log(rest_p / rest_q)))


def summary(seen: Sequence[Seen], exact: bool) -> Parity:
    """What the questions show together; an `exact` file must agree on all of them."""
    tokens_equal = all(one.merged_prompt == one.gguf_prompt for one in seen)
    greedy_equal = all(one.merged_greedy == one.gguf_greedy for one in seen)
    return Parity(
        ok=tokens_equal and (not exact or all(one.margin < TIE for one in seen)),
        tokens_equal=tokens_equal,
        greedy_equal=greedy_equal,
        kl_mean=float(np.mean([value for one in seen for value in one.divergences])),
        top1_agreement=float(np.mean([same for one in seen for same in one.same_top])),
        compared=len(seen),
        agreed_tokens=sum(_agreed(one.merged_greedy, one.gguf_greedy) for one in seen),
        total_tokens=sum(max(len(one.merged_greedy), len(one.gguf_greedy)) for one in seen),
        first_difference=next(filter(None, map(_difference, seen)), None),
    )


def _agreed(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def _difference(one: Seen) -> dict[str, Any] | None:
    pairs = {
        "tokens": (one.merged_prompt, one.gguf_prompt),
        "greedy": (one.merged_greedy, one.gguf_greedy),
    }
    for stage, (ours, theirs) in pairs.items():
        if ours != theirs:
            at = _agreed(ours, theirs)
            found: dict[str, Any] = {"merged": ours[at : at + 1], "gguf": theirs[at : at + 1]}
            if stage == "greedy":
                found["margin"] = round(one.margin, 6)
            return {"question": one.question, "stage": stage, "position": at, **found}
    return None
