"""The training step of the Llama family without what transformers and peft compute in vain.

    model = Fused(peft_model)           # Llama, SmolLM2, TinyLlama, R1-Distill-Llama with LoRA on any of the 7 layers
    loss = model.summed_loss(packed)    # differentiable; gradients land in peft's own parameters

What makes it fast: documents lie one after another without padding, what they begin alike with once; q, k, v and gate,
up are one product each; logits are made for trained tokens only, a chunk at a time, their gradient on the way; the last
layer computes trained tokens alone, the first passes no gradient on; norms and activations are computed again rather
than kept. The stacked weights share their memory with the peft model, which stays whole: it is what is saved, merged
and evaluated.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from bedside.fused.allocator import let_go_of_file
from bedside.fused.attention import Heads, attend
from bedside.fused.packs import Layout, Packed
from bedside.fused.project import RmsNorm
from bedside.fused.room import CHUNK, logits_of
from bedside.fused.stack import Layer, causal_of, stacked


class Fused:
    """The frozen decoder of a model with stacked weights, and its update if it has one.

    Built only if `stack.why_not` returns None.
    """

    def __init__(self, model: PeftModel | PreTrainedModel, *, recompute: bool = False) -> None:
        causal = causal_of(model)
        let_go_of_file(causal)
        decoder = causal.model
        config = causal.config
        self.heads = Heads(config.num_attention_heads, config.num_key_value_heads, decoder.layers[0].self_attn.head_dim)
        self.layers = [stacked(layer, config.rms_norm_eps, blocks=not recompute) for layer in decoder.layers]
        self.embedding = decoder.embed_tokens.weight
        self.norm = RmsNorm(decoder.norm.weight, config.rms_norm_eps)
        self.head = causal.lm_head.weight
        self.rotary = decoder.rotary_emb
        self.recompute = recompute

    def summed_loss(self, batch: Packed) -> Tensor:
        """Cross-entropy in nats, summed over the trained tokens."""
        return _summed_loss(self._before(batch), self.head, batch.trained_N.to(self.embedding.device))

    @torch.no_grad()
    def following(self, batch: Packed) -> Tensor:
        """The natural log-probability of every token where a trained one stands, [trained, vocabulary]."""
        return F.linear(self._before(batch, torch.float32), self.head).float().log_softmax(-1)

    @torch.no_grad()
    def logprobs(self, batch: Packed) -> Tensor:
        """The natural log-probability of each trained token after those before it, [trained]."""
        parts = self._before(batch, torch.float32).split(CHUNK), batch.trained_N.to(self.embedding.device).split(CHUNK)
        found = []
        for x_NE, labels_N in zip(*parts, strict=True):
            logits, _ = logits_of(x_NE, self.head)
            found.append(logits.gather(1, labels_N[:, None])[:, 0] - logits.logsumexp(-1))
        return torch.cat(found)

    def _before(self, batch: Packed, stream: torch.dtype | None = None) -> Tensor:
        """What the head reads before each trained token, [trained, width].

        Layers add to x in the type `stream`. In bf16, where rounding x anew in each layer makes most of the error, fp32
        takes a twentieth more time, and is worth it where a likelihood decides.
        """
        batch = batch.to(self.embedding.device)
        x_TE = F.embedding(batch.ids_T, self.embedding).to(stream or self.embedding.dtype)
        cos_TD, sin_TD = self._angles(batch.positions_T)
        run = partial(checkpoint, use_reentrant=False) if self.recompute else _call
        for layer in self.layers[:-1]:
            x_TE = run(self._layer, layer, x_TE, cos_TD, sin_TD, batch.layout, None)
        x_NE = run(self._layer, self.layers[-1], x_TE, cos_TD, sin_TD, batch.layout, batch.before_N)
        return _normed(x_NE, self.norm)

    def _layer(
        self, layer: Layer, x_TE: Tensor, cos_TD: Tensor, sin_TD: Tensor, layout: Layout, only: Tensor | None
    ) -> Tensor:
        """A decoder layer; with `only`, of these positions: the last layer's others are read by nobody."""
        attended_TE = attend(layer.qkv(x_TE), cos_TD, sin_TD, layout, self.heads, layer.rotated)
        if only is not None:
            x_TE, attended_TE = x_TE[only], attended_TE[only]
        x_TE = x_TE + layer.out(attended_TE)
        return x_TE + layer.down(layer.gate_up(x_TE))

    def _angles(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [tokens, width / 2] of the model's own rotary embedding; their second half repeats them."""
        cos, sin = self.rotary(self.norm.weight.new_empty(0, dtype=torch.float32), positions_T[None])
        half = self.heads.width // 2
        return cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()


def _call(function: Any, *values: Any) -> Any:
    return function(*values)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: RmsNorm) -> Tensor:
        ctx.save_for_backward(x)
        ctx.norm = norm
        return norm.forward(x)

    @staticmethod
    def backward(ctx: Any, d_n: Tensor) -> tuple[Tensor, None]:
        return ctx.norm.backward(*ctx.saved_tensors, d_n), None


class _SummedLoss(torch.autograd.Function):
    """Softmax and cross-entropy over the vocabulary, of which no more than a chunk is ever in memory."""

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, head_VE: Tensor, labels_N: Tensor) -> Tensor:
        d_x_NE = torch.empty_like(x_NE)
        loss = x_NE.new_zeros((), dtype=torch.float64)
        for start in range(0, len(x_NE), CHUNK):
            part = slice(start, start + CHUNK)
            labels = labels_N[part, None]
            logits, made = logits_of(x_NE[part], head_VE)
            largest, at = logits.max(-1, keepdim=True)
            chosen = logits.gather(1, labels)
            p = torch.softmax(logits, -1, out=logits)
            loss += (largest - p.gather(1, at).log_() - chosen).sum(dtype=torch.float64)
            p.scatter_add_(1, labels, p.new_full(labels.shape, -1))
            torch.mm(made.copy_(p), head_VE, out=d_x_NE[part])
        ctx.save_for_backward(d_x_NE)
        return loss.float()

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor, None, None]:
        (d_x_NE,) = ctx.saved_tensors
        return (d_x_NE.float() * d_loss).to(d_x_NE.dtype), None, None


def _normed(x: Tensor, norm: RmsNorm) -> Tensor:
    normed: Tensor = _Norm.apply(x, norm)  # type: ignore[no-untyped-call]
    return normed


def _summed_loss(x_NE: Tensor, head_VE: Tensor, labels_N: Tensor) -> Tensor:
    loss: Tensor = _SummedLoss.apply(x_NE, head_VE, labels_N)  # type: ignore[no-untyped-call]
    return loss
