"""A frozen linear layer with its low-rank update, and what stands before it, as one differentiable step.

    y = W n + s B (A n),   n = prologue(x)

Layers that read the same input (q, k, v; gate, up) are stacked into one product. Only `x` is kept for the backward
pass: `n` is cheaper to compute again than to keep. The parameters A and B are peft's own, in fp32 whatever W's type is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from bedside.fused.room import Block, rows_of


class Prologue(Protocol):
    """What stands between a layer's input and its matrix."""

    def forward(self, x: Tensor) -> Tensor:
        """The matrix's input."""
        ...

    def backward(self, x: Tensor, d_n: Tensor) -> Tensor:
        """The gradient of `x`, given that of the matrix's input, which may be written over."""
        ...


class Identity:
    """Nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """See `Prologue`."""
        return x

    def backward(self, x: Tensor, d_n: Tensor) -> Tensor:
        """See `Prologue`."""
        return d_n


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """Root-mean-square norm (arXiv:1910.07467), computed in fp32 as transformers does; `weight` is frozen."""

    weight: Tensor
    eps: float

    def forward(self, x: Tensor) -> Tensor:
        """See `Prologue`."""
        return (x.float() * self._scale(x)).to(self.weight.dtype).mul_(self.weight)

    def backward(self, x: Tensor, d_n: Tensor) -> Tensor:
        """See `Prologue`."""
        scale = self._scale(x)
        unit = x.float() * scale
        d_unit = d_n.float().mul_(self.weight)
        along = (d_unit * unit).mean(-1, keepdim=True)
        return d_unit.addcmul_(unit, along, value=-1).mul_(scale).to(x.dtype)

    def _scale(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        mean_square: Tensor = norm.square_().div_(x.shape[-1])
        return mean_square.add_(self.eps).rsqrt_()


class Swiglu:
    """silu(gate) · up of the stacked [gate, up] (arXiv:2002.05202)."""

    def forward(self, x: Tensor) -> Tensor:
        """See `Prologue`."""
        gate, up = x.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def backward(self, x: Tensor, d_n: Tensor) -> Tensor:
        """See `Prologue`."""
        gate, up = x.chunk(2, -1)
        d_x = torch.empty_like(x)
        d_gate, d_up = d_x.chunk(2, -1)
        torch.mul(d_n, F.silu(gate), out=d_up)
        d_gate.copy_(torch.ops.aten.silu_backward(d_n.mul_(up), gate))
        return d_x


@dataclass(frozen=True, slots=True)
class Update:
    """The low-rank update of the output columns `start` to `stop`: A [rank, in] and B [out, rank]."""

    start: int
    stop: int
    a: Parameter
    b: Parameter


@dataclass(frozen=True, slots=True)
class Projection:
    """Stacked frozen layers: `weight` [out, in], each updated part, scale s = alpha / rank.

    `dropout` before A is peft's own module of the first part, whose mask the others share; it knows whether the model
    is training.
    """

    prologue: Prologue
    weight: Tensor
    updates: tuple[Update, ...]
    scale: float
    dropout: nn.Module | None = None
    block: Block | None = None
    """Where the output lies, if what comes after keeps it until the backward pass."""

    def __call__(self, x: Tensor) -> Tensor:
        """[tokens, in] → [tokens, out]."""
        parameters = [parameter for update in self.updates for parameter in (update.a, update.b)]
        projected: Tensor = _Project.apply(x, self, *parameters)  # type: ignore[no-untyped-call]
        return projected


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Projection, *parameters: Tensor) -> Tensor:
        n = layer.prologue.forward(x)
        block = layer.block if any(ctx.needs_input_grad) else None  # where nothing is kept, none stays
        y = torch.mm(n, layer.weight.t(), out=rows_of(block, n, len(layer.weight), n.dtype))
        ctx.layer = layer
        if not parameters:
            ctx.save_for_backward(x)
            return y
        kept = layer.dropout(torch.ones_like(n)) if layer.dropout and layer.dropout.training else None
        h = F.linear(n if kept is None else n * kept, _stacked(parameters[::2], n))
        for update, b, h_part in zip(layer.updates, parameters[1::2], _parts(h, parameters), strict=True):
            y[:, update.start : update.stop].addmm_(h_part, b.to(y.dtype).t(), alpha=layer.scale)
        ctx.save_for_backward(x, h, kept, *parameters)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        layer: Projection = ctx.layer
        x, *kept_values = ctx.saved_tensors
        d_n = d_y @ layer.weight if ctx.needs_input_grad[0] else None
        gradients = _update_gradients(layer, d_y, d_n, x, *kept_values) if kept_values else []
        d_x = None if d_n is None else layer.prologue.backward(x, d_n)
        return d_x, None, *gradients


def _update_gradients(
    layer: Projection, d_y: Tensor, d_n: Tensor | None, x: Tensor, h: Tensor, kept: Tensor | None, *parameters: Tensor
) -> list[Tensor]:
    """The gradients of A and B of each update, in turn; what flows through the updates is added to `d_n`."""
    d_h = torch.empty_like(h)
    d_b = []
    parts = zip(layer.updates, parameters[1::2], _parts(h, parameters), _parts(d_h, parameters), strict=True)
    for update, b, h_part, d_h_part in parts:
        d_part = d_y[:, update.start : update.stop]
        d_h_part.copy_(d_part @ b.to(d_y.dtype))
        d_b.append((d_part.t() @ h_part).float().mul_(layer.scale))
    d_h.mul_(layer.scale)
    n = layer.prologue.forward(x)
    d_a = (d_h.t() @ (n if kept is None else n * kept)).float().split([len(a) for a in parameters[::2]])
    if d_n is not None:
        stacked = _stacked(parameters[::2], n)
        _ = d_n.addmm_(d_h, stacked) if kept is None else d_n.addcmul_(d_h @ stacked, kept)
    return [gradient for pair in zip(d_a, d_b, strict=True) for gradient in pair]


def _stacked(matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat(list(matrices)).to(like.dtype)


def _parts(h: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The columns of each update in the stacked A n."""
    return tuple(h.split([len(a) for a in parameters[::2]], 1))
