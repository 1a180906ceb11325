"""One optimizer step has one gradient, however it is cut into micro-batches and spread over ranks.

Covers the RL branch, the SFT branch, their mix, and every statistic that is taken over a batch: the
mean weight, the min-max signal and the reward baseline.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from vectors import lengths

from chord.losses import Grpo, aggregate, denominator, mix, sft_loss
from chord.losses.advantages import Advantage
from chord.weightings import (
    Adaptive,
    Phi,
    TokenStats,
    Uniform,
    Weighting,
    minmax_signal,
    token_stats,
)

ROWS, WIDTH, GROUP, VOCABULARY = 8, 12, 4, 6
WEIGHTINGS = {
    "uniform": Uniform(),
    "phi mean1": Phi(normalize="mean1"),
    "adaptive mean1": Adaptive(expert="one_hot", normalize="mean1"),
}
CUTS = {
    "4+4": [slice(0, 4), slice(4, 8)],
    "3+1+4": [slice(0, 3), slice(3, 4), slice(4, 8)],
    "singles": [slice(row, row + 1) for row in range(8)],
}
WHOLE = [slice(0, ROWS)]


class Alone:
    """A world of one process."""

    def reduce(self, value: Tensor, how: str) -> Tensor:
        return value

    def gather(self, value: Tensor) -> Tensor:
        return value


class Gloo:
    """The processes of the default group."""

    def reduce(self, value: Tensor, how: str) -> Tensor:
        result = value.clone()
        dist.all_reduce(result, op=getattr(dist.ReduceOp, how))
        return result

    def gather(self, value: Tensor) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, value)
        return torch.cat(parts)


class Data:
    """Both streams of a step, under a policy whose only parameter maps a token to the next."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.weight = normal(VOCABULARY, VOCABULARY).requires_grad_()
        shape = (2, ROWS, WIDTH + 1)
        self.own, self.expert = torch.randint(VOCABULARY, shape, generator=generator)
        self.own_mask = lengths(12, 1, 7, 2, 0, 11, 3, 5, width=WIDTH)
        self.expert_mask = lengths(1, 9, 2, 2, 12, 0, 4, 1, width=WIDTH)
        self.old = self.stats(self.own).logprobs.detach() + 0.3 * normal(ROWS, WIDTH)
        self.rewards = normal(ROWS // GROUP, GROUP)
        self.scores = normal(ROWS)

    def stats(self, tokens: Tensor) -> TokenStats:
        return token_stats(self.weight[tokens[:, :-1]], tokens[:, 1:])


def step_weights(
    data: Data, rows: slice, signal: Tensor, weighting: Weighting, world: Alone | Gloo
) -> Tensor:
    """Weights of our rows, from the statistics of the rows of all processes."""
    own = data.stats(data.expert[rows])
    stats = TokenStats(
        logprobs=world.gather(own.logprobs.detach()),
        entropy=world.gather(own.entropy),
        max_prob=world.gather(own.max_prob),
        vocab_size=own.vocab_size,
    )
    mask = world.gather(data.expert_mask[rows].long()).bool()
    start = rows.start if len(mask) > rows.stop - rows.start else 0
    weights = weighting(stats, mask, signal=world.gather(signal))
    return weights[start : start + rows.stop - rows.start]


def gradient(
    pieces: list[slice],
    world: Alone | Gloo,
    *,
    weighting: Weighting,
    aggregation: str = "token",
    baseline: str = "group",
    alpha: float = 0.3,
) -> Tensor:
    """The step's gradient when this process holds the consecutive rows of `pieces`."""
    data, rows = Data(), slice(pieces[0].start, pieces[-1].stop)
    rewards = world.gather(data.rewards[rows.start // GROUP : rows.stop // GROUP])
    advantages = Advantage(baseline=baseline, scale=baseline)(rewards).flatten()

    magnitude = data.scores[rows].abs()
    low, high = world.reduce(magnitude.min(), "MIN"), world.reduce(magnitude.max(), "MAX")
    signals = [minmax_signal(data.scores[piece], low=low, high=high) for piece in pieces]
    own = [
        denominator(data.own_mask[piece], aggregation=aggregation, max_length=WIDTH)
        for piece in pieces
    ]
    expert = [denominator(data.expert_mask[piece]) for piece in pieces]
    own_total = world.reduce(torch.stack(own).sum(), "SUM")
    expert_total = world.reduce(torch.stack(expert).sum(), "SUM")
    weights = step_weights(data, rows, torch.cat(signals), weighting, world)

    for piece in pieces:
        stats, mask = data.stats(data.expert[piece]), data.expert_mask[piece]
        own_weights = weights[piece.start - rows.start : piece.stop - rows.start]
        sft = sft_loss(stats.logprobs, own_weights, mask, total=expert_total)
        logprobs, mask = data.stats(data.own[piece]).logprobs, data.own_mask[piece]
        values, _ = Grpo().token_losses(logprobs, data.old[piece], advantages[piece], mask)
        rl = aggregate(values, mask, aggregation=aggregation, total=own_total)
        mix(alpha, sft, rl).backward()
    assert data.weight.grad is not None
    return world.reduce(data.weight.grad, "SUM")


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0], ids=["rl", "mix", "sft"])
@pytest.mark.parametrize("weighting", WEIGHTINGS.values(), ids=WEIGHTINGS)
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_any_cut_into_micro_batches_gives_the_same_gradient(cut, weighting, alpha):
    whole = gradient(WHOLE, Alone(), weighting=weighting, alpha=alpha)
    parts = gradient(cut, Alone(), weighting=weighting, alpha=alpha)
    assert whole.abs().max() > 1e-2
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_every_aggregation_is_over_the_whole_step(cut, aggregation):
    given = {"weighting": Uniform(), "aggregation": aggregation, "alpha": 0.0}
    whole = gradient(WHOLE, Alone(), **given)
    torch.testing.assert_close(gradient(cut, Alone(), **given), whole, rtol=0, atol=1e-14)


def test_the_statistics_of_a_piece_are_not_those_of_the_step():
    # Without the step's mean each piece would be normalised by its own.
    data, weighting = Data(), Phi(normalize="mean1")
    own = [
        weighting(data.stats(data.expert[piece]), data.expert_mask[piece]) for piece in CUTS["4+4"]
    ]
    step = weighting(data.stats(data.expert), data.expert_mask)
    assert (torch.cat(own) - step).abs().max() > 1e-2


def rank_gradients(store: Path, rank: int) -> list[Tensor]:
    """What rank `rank` of two computes; each holds one group of rows, cut into two pieces."""
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(str(store), 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=300),
    )
    try:
        start = 4 * rank
        pieces = [slice(start, start + 1), slice(start + 1, start + 4)]
        return [
            gradient(pieces, Gloo(), weighting=weighting, aggregation=aggregation, baseline="batch")
            for weighting in WEIGHTINGS.values()
            for aggregation in ("token", "sequence", "constant")
        ]
    finally:
        dist.destroy_process_group()


def test_two_ranks_give_the_gradient_of_one(tmp_path):
    store = tmp_path / "store"
    # It imports what this process can import.
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, __file__, str(store)], env=paths) as other:
        try:
            ranks = rank_gradients(store, 0)
            assert other.wait(timeout=300) == 0
        finally:
            other.kill()
    alone = [
        gradient(WHOLE, Alone(), weighting=weighting, aggregation=aggregation, baseline="batch")
        for weighting in WEIGHTINGS.values()
        for aggregation in ("token", "sequence", "constant")
    ]
    for spread, whole in zip(ranks, alone, strict=True):
        torch.testing.assert_close(spread, whole, rtol=0, atol=1e-14)


if __name__ == "__main__":
    rank_gradients(Path(sys.argv[1]), 1)
