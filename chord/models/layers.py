"""The layers of a Llama-like decoder, computed token by token except for attention.

Pre-norm RMSNorm (1910.07467), rotary positions (2104.09864), a gated SiLU MLP (2002.05202), no
dropout. All tokens are rows of one matrix (N, width), so nothing is computed for padding. Only
attention has to know which tokens belong together: it is passed in as a function.

Each function has its own backward pass, which computes again what is cheap and writes into the
memory that it has. Elementwise work takes half of a small model's step if it is left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries (N, heads, d), keys and values (N, key heads, d) to (N, heads * d)."""


@dataclass
class Layer:
    """The weights of a layer, and how its heads are divided. `qkv` is in the order of its name.

    Rotary pairs are neighbouring channels, so a rotation is one complex product, which on a CPU is
    several times faster than the split-halves form.
    """

    heads: int
    key_heads: int
    eps: float
    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor
    qkv_bias: Tensor | None = None
    out_bias: Tensor | None = None
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None

    def __call__(self, x: Tensor, rotation: Tensor, attend: Attend) -> Tensor:
        """The layer's output (N, width) from x (N, width) and the tokens' rotations (N, d / 2)."""
        turned = self.heads + self.key_heads
        qkv = F.linear(rms_norm(x, self.attention_norm, self.eps), self.qkv, self.qkv_bias)
        qkv = qkv.unflatten(-1, (turned + self.key_heads, -1))
        if self.query_norm is not None and self.key_norm is not None:
            query, key, value = qkv.split((self.heads, self.key_heads, self.key_heads), dim=1)
            query = rms_norm(query, self.query_norm, self.eps)
            key = rms_norm(key, self.key_norm, self.eps)
            qkv = torch.cat((query, key, value), dim=1)
        qkv = rotate(qkv, rotation, turned)
        mixed = attend(*qkv.split((self.heads, self.key_heads, self.key_heads), dim=1))
        x = add_linear(x, mixed, self.out, self.out_bias)
        hidden = swiglu(F.linear(rms_norm(x, self.mlp_norm, self.eps), self.gate_up))
        return add_linear(x, hidden, self.down, None)


def add_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x + y W^T + b, in one operation unless half precision is mixed in."""
    if torch.is_autocast_enabled(x.device.type):
        return x + F.linear(y, weight, bias)
    out = torch.addmm(x, y, weight.t())
    return out if bias is None else out + bias


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (1910.07467).

    For x (3, 4), weight 1, and eps 0 it is (3, 4) / sqrt(12.5) = (.8485, 1.1314).
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        return (rms_norm(x.float(), torch.ones_like(weight).float(), eps).to(x.dtype)) * weight
    return _apply(_RMSNorm, x, weight, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, of the two halves of (..., 2 n), (..., n) (2002.05202).

    For (1, 2) it is 2 / (1 + exp(-1)) = 1.4621.
    """
    return _apply(_SwiGLU, gate_up)


def rotate(x: Tensor, rotation: Tensor, heads: int) -> Tensor:
    """Rotate each pair of neighbouring channels in the first `heads` heads of x (N, all heads, d).

    `rotation` (N, d / 2) or (1, d / 2) are complex numbers of length 1. For the pair (1, 0) and the
    rotation i it is (0, 1). Computed in the precision of the rotation, because half precision has
    no complex numbers.
    """
    return _apply(_Rotate, x, rotation[:, None], heads)


def _apply(function: Any, *arguments: Any) -> Tensor:
    """`function.apply`, without its cost where nothing has a gradient, as in sampling."""
    if torch.is_grad_enabled():
        return cast(Tensor, function.apply(*arguments))
    return cast(Tensor, function.forward(_Nothing(), *arguments))


class _Nothing:
    """A context in which nothing is saved."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Let them go."""


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = scale.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normal: Tensor = x * scale
        return normal.mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        (grad,) = grads
        normal = x * scale
        for_weight = (grad * normal).flatten(0, -2).sum(dim=0)
        for_x = grad * weight
        along = (for_x * normal).mean(dim=-1, keepdim=True)
        return for_x.sub_(normal.mul_(along)).mul_(scale), for_weight, None


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (gate_up,) = ctx.saved_tensors
        (grad,) = grads
        gate, up = gate_up.chunk(2, dim=-1)
        out = torch.empty_like(gate_up)
        for_gate, for_up = out.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=for_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=for_gate)
        return out


class _Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rotation: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(rotation)
        ctx.heads = heads
        return _turned(x, rotation, heads)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (rotation,) = ctx.saved_tensors
        return _turned(grads[0], rotation.conj(), ctx.heads), None, None


def _turned(x: Tensor, rotation: Tensor, heads: int) -> Tensor:
    real = rotation.real.dtype
    if x.dtype == real:
        out = x.clone(memory_format=torch.contiguous_format)
        torch.view_as_complex(out.unflatten(-1, (-1, 2)))[:, :heads].mul_(rotation)
        return out
    pairs = torch.view_as_complex(x[:, :heads].to(real).unflatten(-1, (-1, 2)))
    turned = torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)
    return torch.cat((turned, x[:, heads:]), dim=1)
