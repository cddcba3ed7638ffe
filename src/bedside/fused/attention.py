"""Rotary embedding (arXiv:2104.09864) and causal attention of packed documents, each document by itself.

    qkv_TC ─ rotate ─► q_KRD, k_KTD, v_KTD ─ a document at a time, a block of queries at a time ─► out_TC

Documents that begin alike share the tokens of that beginning, which each of them reads as its own past: they are the
branches of a tree, of which each piece is there once. K key heads,
each read by G query heads; a document's T tokens make R = T·G query rows, token by token, so that one matrix product
serves a whole group. On a CPU the products run in fp32 at the speed of its GEMM: torch's own CPU attention runs its
backward pass at a fraction of that. Weights of a block are computed again in the backward pass (arXiv:2205.14135), so
memory grows with T, not T². On a card torch's attention does the same and is used.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bedside.fused.packs import Layout
from bedside.fused.room import Block, rows_of

ROWS = 256
"""Query rows of a block: enough for the GEMM, few enough that little above the diagonal is computed."""


class Heads(NamedTuple):
    """Query heads, key heads and their width D."""

    query: int
    key: int
    width: int

    @property
    def group(self) -> int:
        """Query heads that read one key head."""
        return self.query // self.key

    @property
    def sizes(self) -> list[int]:
        """Columns of q, k and v in a stacked projection."""
        return [self.query * self.width, self.key * self.width, self.key * self.width]


def attend(
    qkv_TC: Tensor, cos_TD: Tensor, sin_TD: Tensor, layout: Layout, heads: Heads, kept: Block | None = None
) -> Tensor:
    """Attention of each document's tokens to its own past, [tokens, query heads · width].

    The rotated queries, keys and values, which the backward pass reads, lie in `kept` if it is given.

    On a card no tokens are shared: torch's attention there knows no such mask.
    """
    if qkv_TC.device.type == "cpu":
        out_TC: Tensor = _CpuAttention.apply(qkv_TC, cos_TD, sin_TD, layout, heads, kept)  # type: ignore[no-untyped-call]
        return out_TC
    return _card_attention(qkv_TC, cos_TD, sin_TD, layout, heads)


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        qkv_TC: Tensor,
        cos_TD: Tensor,
        sin_TD: Tensor,
        layout: Layout,
        heads: Heads,
        kept: Block | None,
    ) -> Tensor:
        K, G, D = heads.key, heads.group, heads.width
        q_TC, k_TC, v_TC = qkv_TC.split(heads.sizes, 1)
        T = len(qkv_TC)
        made = rows_of(kept if ctx.needs_input_grad[0] else None, qkv_TC, qkv_TC.shape[1], torch.float32)
        q, k, v = made.view(-1).split([T * size for size in heads.sizes])
        q_KTGD, k_KTD, v_KTD = q.view(K, T, G, D), k.view(K, T, D), v.view(K, T, D)
        rotate(q_TC.view(T, K, G, D).transpose(0, 1), cos_TD[:, None], sin_TD[:, None], q_KTGD)
        rotate(k_TC.view(T, K, D).transpose(0, 1), cos_TD, sin_TD, k_KTD)
        v_KTD.copy_(v_TC.view(T, K, D).transpose(0, 1))
        q_KRD = q_KTGD.view(K, T * G, D).mul_(1 / math.sqrt(D))
        out_KRD = torch.empty_like(q_KRD)
        for own, whole in _pieces(layout):
            keys, values = _joined(k_KTD, whole), _joined(v_KTD, whole)
            for block in _blocks(own, keys.shape[1], G):
                out_KRD[:, block.rows] = _weights(q_KRD, keys, block, G) @ values[:, : block.past]
        out_TC = out_KRD.view(K, T, G, D).transpose(0, 1).reshape(T, K * G * D).to(qkv_TC.dtype)
        ctx.save_for_backward(q_KRD, k_KTD, v_KTD, out_TC, cos_TD, sin_TD)
        ctx.layout, ctx.heads = layout, heads
        return out_TC

    @staticmethod
    def backward(ctx: Any, d_out_TC: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        q_KRD, k_KTD, v_KTD, out_TC, cos_TD, sin_TD = ctx.saved_tensors
        heads: Heads = ctx.heads
        layout: Layout = ctx.layout
        K, G, D = heads.key, heads.group, heads.width
        T = len(out_TC)
        d_out_KTGD = d_out_TC.view(T, K, G, D).transpose(0, 1).to(torch.float32)
        d_out_KRD = d_out_KTGD.reshape(K, T * G, D)
        out_KTGD = out_TC.view(T, K, G, D).transpose(0, 1)
        drift_KR1 = (d_out_KTGD * out_KTGD).sum(-1).reshape(K, T * G, 1)  # of each row, Σ weight · its gradient
        dq_KRD, dk_KTD, dv_KTD = torch.empty_like(q_KRD), torch.zeros_like(k_KTD), torch.zeros_like(v_KTD)
        for own, whole in _pieces(layout):
            keys, values = _joined(k_KTD, whole), _joined(v_KTD, whole)
            d_keys, d_values = torch.zeros_like(keys), torch.zeros_like(values)
            for block in _blocks(own, keys.shape[1], G):
                rows, past = block.rows, slice(block.past)
                weights = _weights(q_KRD, keys, block, G)
                d_values[:, past].baddbmm_(weights.transpose(1, 2), d_out_KRD[:, rows])
                d_weights = d_out_KRD[:, rows] @ values[:, past].transpose(1, 2)
                d_scores = d_weights.sub_(drift_KR1[:, rows]).mul_(weights)
                dq_KRD[:, rows] = d_scores @ keys[:, past]
                d_keys[:, past].baddbmm_(d_scores.transpose(1, 2), q_KRD[:, rows])
            _add(dk_KTD, d_keys, whole)
            _add(dv_KTD, d_values, whole)
        dq_KRD.mul_(1 / math.sqrt(D))
        d_qkv_TC = d_out_TC.new_empty(T, sum(heads.sizes))
        dq_TC, dk_TC, dv_TC = d_qkv_TC.split(heads.sizes, 1)
        rotate(dq_KRD.view(K, T, G, D), cos_TD[:, None], -sin_TD[:, None], dq_TC.view(T, K, G, D).transpose(0, 1))
        rotate(dk_KTD, cos_TD, -sin_TD, dk_TC.view(T, K, D).transpose(0, 1))
        dv_TC.view(T, K, D).copy_(dv_KTD.transpose(0, 1))
        return d_qkv_TC, None, None, None, None, None


def _pieces(layout: Layout) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Of each piece its own tokens, and where its document's lie up to its end: parts that do not touch each other."""
    found: list[tuple[slice, ...]] = []
    start = 0
    for length, after in zip(layout.lengths, layout.after, strict=True):
        own = slice(start, start + length)
        before = found[after] if after >= 0 else ()
        if before and before[-1].stop == start:
            whole = (*before[:-1], slice(before[-1].start, own.stop))
        else:
            whole = (*before, own)
        yield own, whole
        found.append(whole)
        start += length


def _joined(x_KTD: Tensor, parts: Sequence[slice]) -> Tensor:
    """The keys or values of a document."""
    return x_KTD[:, parts[0]] if len(parts) == 1 else torch.cat([x_KTD[:, part] for part in parts], 1)


def _add(into_KTD: Tensor, document_KTD: Tensor, parts: Sequence[slice]) -> None:
    """Adds the gradient of a document's keys or values to those of all tokens."""
    for part, own_KTD in zip(parts, document_KTD.split([part.stop - part.start for part in parts], 1), strict=True):
        into_KTD[:, part] += own_KTD


class _Block(NamedTuple):
    """Query rows of some tokens, the length of the document up to the last of them, and how many tokens they are."""

    rows: slice
    past: int
    tokens: int


def _blocks(own: slice, whole: int, group: int) -> Iterator[_Block]:
    """Of a piece that ends a document of `whole` tokens."""
    size = max(1, ROWS // group)
    before = whole - (own.stop - own.start)
    for start in range(own.start, own.stop, size):
        stop = min(start + size, own.stop)
        yield _Block(slice(start * group, stop * group), before + stop - own.start, stop - start)


def _weights(q_KRD: Tensor, keys_KTD: Tensor, block: _Block, group: int) -> Tensor:
    """Attention weights [K, rows, past] of a block; what comes after a query's own token has none."""
    scores = q_KRD[:, block.rows] @ keys_KTD[:, : block.past].transpose(1, 2)
    future = torch.ones(block.tokens, block.tokens, dtype=torch.bool).triu_(1).repeat_interleave(group, 0)
    scores[..., -block.tokens :].masked_fill_(future, -math.inf)
    return scores.softmax(-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """Turns the pairs (i, i + D/2) of the last axis by their angles; `cos`, `sin` hold D/2 of them a position."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    out[..., :half] = (first * cos).addcmul_(second, sin, value=-1)
    out[..., half:] = (second * cos).addcmul_(first, sin)


def _card_attention(qkv_TC: Tensor, cos_TD: Tensor, sin_TD: Tensor, layout: Layout, heads: Heads) -> Tensor:
    q_TC, k_TC, v_TC = qkv_TC.split(heads.sizes, 1)
    q_THD, k_THD = _turned(q_TC, heads, cos_TD, sin_TD), _turned(k_TC, heads, cos_TD, sin_TD)
    v_THD = v_TC.unflatten(1, (-1, heads.width))
    outs = []
    documents = (x_THD.transpose(0, 1)[None].split(list(layout.lengths), 2) for x_THD in (q_THD, k_THD, v_THD))
    for q, k, v in zip(*documents, strict=True):
        outs.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads.group > 1))
    return torch.cat(outs, 2)[0].transpose(0, 1).flatten(1)


def _turned(x_TC: Tensor, heads: Heads, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    first, second = x_TC.unflatten(1, (-1, heads.width)).chunk(2, -1)
    cos, sin = cos_TD[:, None].to(x_TC.dtype), sin_TD[:, None].to(x_TC.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
