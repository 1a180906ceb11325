"""What the tests of the math share; each file in golden/ states its source and tolerance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from chord.weightings import TokenStats, Weighting, token_stats

GOLDEN = Path(__file__).parent / "golden"


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


def f64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def lengths(*counts: int, width: int) -> torch.Tensor:
    """A mask (rows, width), True on the first `count` positions of each row."""
    return torch.arange(width) < torch.tensor(counts).unsqueeze(-1)


# How the recorded sources name an aggregation, and what they divide by: all rows, empty ones too.
MODES = {
    "token-mean": ("token", lambda mask: mask.sum()),
    "seq-mean-token-mean": ("sequence", len),
    "seq-mean-token-sum": ("token", len),
    "seq-mean-token-sum-norm": ("constant", lambda mask: mask.shape[-1]),
}


def stats_of(*probabilities: float, top_k: int | None = None) -> TokenStats:
    """Statistics of one row whose tokens have these probabilities, out of two."""
    p = f64([probabilities])
    logits = torch.stack([p.log(), (1 - p).log()], dim=-1)
    return token_stats(logits, torch.zeros(p.shape, dtype=torch.int64), top_k=top_k)


def weight(rule: Weighting, stats: TokenStats, **given: Any) -> float:
    """The weight of the only token of `stats`."""
    mask = torch.ones(stats.logprobs.shape, dtype=torch.bool)
    return rule(stats, mask, **given).item()
