"""The parts of a layer: worked values, and gradients against finite differences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chord.models.layers import Layer, add_linear, rms_norm, rotate, swiglu


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def turns(count: int, pairs: int) -> Tensor:
    angles = numbers(count, pairs, seed=5).detach()
    return torch.polar(torch.ones_like(angles), angles)


def test_a_norm_divides_by_the_root_of_the_mean_square() -> None:
    found = rms_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 0.0)
    # sqrt((9 + 16) / 2) = 3.53553
    torch.testing.assert_close(found, torch.tensor([[0.848528, 2.262742]]))


def test_a_gate_multiplies_by_its_silu() -> None:
    # 1 / (1 + e^-1) = .731059
    torch.testing.assert_close(swiglu(torch.tensor([[1.0, 2.0]])), torch.tensor([[1.462117]]))


def test_only_the_first_heads_are_rotated() -> None:
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    found = rotate(x, torch.tensor([[1j]], dtype=torch.complex64), 1)
    assert found.tolist() == [[[0, 1], [1, 0]]]
    assert x.tolist() == [[[1, 0], [1, 0]]]


def test_gradients_are_those_of_the_formulas() -> None:
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-3), (numbers(5, 4), numbers(4)))
    assert torch.autograd.gradcheck(
        lambda x, w: rms_norm(x, w, 1e-3), (numbers(2, 3, 4), numbers(4, seed=1))
    )
    assert torch.autograd.gradcheck(swiglu, (numbers(3, 6),))
    assert torch.autograd.gradcheck(lambda x: rotate(x, turns(3, 2), 2), (numbers(3, 4, 4),))


def test_without_a_gradient_the_values_are_the_same() -> None:
    x, weight, rotation = numbers(3, 4, 4), numbers(4, seed=1), turns(3, 2)

    def each() -> list[Tensor]:
        return [rms_norm(x, weight, 1e-6), swiglu(x), rotate(x, rotation, 2)]

    with torch.no_grad():
        found = each()
    assert not any(value.requires_grad for value in found)
    assert all(value.requires_grad for value in each())
    for without, with_gradient in zip(found, each(), strict=True):
        assert torch.equal(without, with_gradient)


def test_half_precision_is_normalised_in_float32() -> None:
    x = torch.full((1, 512), 300.0, dtype=torch.bfloat16)
    weight = torch.full((512,), 0.5, dtype=torch.bfloat16)
    found = rms_norm(x, weight, 0.0)
    assert found.dtype == torch.bfloat16
    assert found.tolist() == [[0.5] * 512]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = add_linear(torch.ones(1, 2), torch.ones(1, 2), torch.eye(2), None)
    assert mixed.dtype == torch.float32
    assert mixed.tolist() == [[2, 2]]


def test_a_layer_is_its_formula() -> None:
    """Two query heads to one key head, biases and norms of heads, written out token by token."""
    width, d, heads = 6, 2, 2
    shapes = {"qkv": ((heads + 2) * d, width), "out": (width, heads * d)}
    shapes |= {"gate_up": (2 * 5, width), "down": (width, 5)}
    weights = {name: numbers(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    vectors = {"attention_norm": width, "mlp_norm": width, "query_norm": d, "key_norm": d}
    vectors |= {"qkv_bias": (heads + 2) * d, "out_bias": width}
    weights |= {name: numbers(n, seed=9 + i) for i, (name, n) in enumerate(vectors.items())}
    layer = Layer(heads=heads, key_heads=1, eps=1e-3, **weights)
    x, rotation = numbers(3, width, seed=30), turns(3, 1)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows = []
        for token in range(len(query)):
            scores = query[token] @ key[: token + 1, 0].T / math.sqrt(d)
            rows.append((scores.softmax(-1) @ value[: token + 1, 0]).flatten())
        return torch.stack(rows)

    def normed(v: Tensor, weight: Tensor) -> Tensor:
        return v / (v.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * weight

    def turned(v: Tensor) -> Tensor:
        c, s = rotation.real, rotation.imag
        a, b = v[..., 0], v[..., 1]
        return torch.stack((a * c - b * s, a * s + b * c), dim=-1)

    w = weights
    qkv = normed(x, w["attention_norm"]) @ w["qkv"].T + w["qkv_bias"]
    query, key, value = qkv.unflatten(-1, (4, d)).split((2, 1, 1), dim=1)
    query, key = turned(normed(query, w["query_norm"])), turned(normed(key, w["key_norm"]))
    y = x + attend(query, key, value) @ w["out"].T + w["out_bias"]
    gate, up = (normed(y, w["mlp_norm"]) @ w["gate_up"].T).chunk(2, -1)
    expected = y + (gate * gate.sigmoid() * up) @ w["down"].T
    torch.testing.assert_close(layer(x, rotation, attend), expected, rtol=1e-12, atol=1e-12)
