"""What every objective of the registry has to satisfy, whatever its formula.

Each has its row in `tests/rows/objectives.py`; one without fails the first test.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from rows.objectives import ROWS, loop, name_of
from steps import gradient, on_two_ranks, response_logits
from test_gradients import models, rollouts
from torch import Tensor
from vectors import f64, lengths

from chord.config.registry import SCHEMAS
from chord.losses import Kl, Objective, Reinforce, aggregate, denominator
from chord.rollout.rows import RolloutRows
from chord.step.metrics import branch_metrics
from chord.step.rl import add_rl_gradient
from chord.step.rows import TokenLog
from chord.weightings import Uniform

AGGREGATIONS = ("token", "sequence", "constant")
ALL = [
    pytest.param(objective, id=f"{name}-{index}")
    for name, row in ROWS.items()
    for index, objective in enumerate(row.variants)
]
EVERY_AGGREGATION = [
    pytest.param(replace(objective, aggregation=aggregation), id=f"{name}-{index}-{aggregation}")
    for name, row in ROWS.items()
    for index, objective in enumerate(row.variants)
    for aggregation in AGGREGATIONS
]


def sample() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities, old ones, advantages, mask; one answer is empty.

    Log-ratios up to .8, on both sides of every clip and further than 1e-4 from all of them.
    """
    generator = torch.Generator().manual_seed(5)
    mask = lengths(6, 3, 0, 1, 5, width=6)
    logprobs = -0.1 - 3 * torch.rand(mask.shape, generator=generator).double()
    gaps = 0.4 * torch.randn(mask.shape, generator=generator).double()
    return logprobs, logprobs - gaps, f64([1.3, -0.7, 2.0, -1.6, 0.4]), mask


def test_every_registered_objective_is_tried_here() -> None:
    assert ROWS.keys() == SCHEMAS["objective"].keys(), "add a row to tests/rows/objectives.py"
    assert all(name_of(each) == name for name, row in ROWS.items() for each in row.variants)


@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize("wide", [False, True], ids=["rows", "tokens"])
def test_losses_are_those_of_a_plain_loop(objective: Objective, wide: bool) -> None:
    logprobs, old, advantages, mask = sample()
    per_token = advantages[:, None] * torch.linspace(-1, 2, 6).double() if wide else advantages
    values, _ = objective.token_losses(logprobs, old, per_token, mask)
    assert (values[~mask] == 0).all()
    scale = per_token if wide else advantages[:, None].expand(mask.shape)
    for row in range(len(mask)):
        seen = mask[row]
        expected = loop(objective, *(x[row][seen].tolist() for x in (logprobs, old, scale)))
        torch.testing.assert_close(values[row][seen], f64(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_gradients_are_those_of_finite_differences(objective: Objective) -> None:
    at, old, advantages, mask = sample()
    total = denominator(mask, aggregation=objective.aggregation, max_length=8)

    def averaged(values: Tensor) -> Tensor:
        return aggregate(values, mask, aggregation=objective.aggregation, total=total)

    def attached(logprobs: Tensor) -> Tensor:
        return averaged(objective.token_losses(logprobs, old, advantages, mask)[0])

    freeze = ROWS[name_of(objective)].frozen
    constant = freeze(objective, at, old, advantages) if freeze else None
    smooth = attached if constant is None else (lambda logprobs: averaged(constant(logprobs)))
    here = at.clone().requires_grad_()
    assert torch.autograd.gradcheck(smooth, (here,), eps=1e-6, atol=1e-8, rtol=1e-6)
    (ours,) = torch.autograd.grad(attached(here), here)
    (frozen,) = torch.autograd.grad(smooth(here), here)
    torch.testing.assert_close(ours, frozen, rtol=0, atol=1e-15)
    assert (ours[~mask] == 0).all()


@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_at_the_first_update_every_gradient_is_that_of_reinforce(objective: Objective) -> None:
    logprobs, _, advantages, mask = sample()
    total = denominator(mask, aggregation=objective.aggregation, max_length=8)
    gradients = []
    for each in (objective, Reinforce(aggregation=objective.aggregation)):
        own = logprobs.clone().requires_grad_()
        values, metrics = each.token_losses(own, logprobs, advantages, mask)
        aggregate(values, mask, aggregation=each.aggregation, total=total).backward()
        assert own.grad is not None
        gradients.append(own.grad)
        assert metrics["ratio"].item() == mask.sum().item()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-15, atol=1e-17)
    assert gradients[0].abs().max() > 0


def with_terms(objective: Objective) -> Objective:
    """The objective with an entropy bonus and a KL term."""
    return replace(
        objective,
        entropy_coef=0.2,
        kl=Kl(coef=0.3, to="teacher", estimator="exact", direction="to_policy"),
    )


def rl_gradient(
    rows: RolloutRows, objective: Objective, micro_batch: int = 0, temperature: float = 0.9
) -> tuple[Tensor, TokenLog]:
    these = models()
    seen = add_rl_gradient(
        these,
        rows,
        objective,
        Uniform(),
        share=0.3,
        temperature=temperature,
        max_length=16,
        micro_batch=micro_batch,
    )
    return gradient(these.policy), seen


def near_policy(counts: list[int]) -> RolloutRows:
    """Rollouts whose ratios lie on both sides of the clips."""
    rows, these = rollouts(counts), models()
    with torch.no_grad():
        logits = these.policy(rows.tokens.input_ids)[:, :-1] / 0.9
        logprobs = logits.log_softmax(-1).gather(-1, rows.tokens.targets.unsqueeze(-1)).squeeze(-1)
    noise = torch.randn(logprobs.shape, generator=torch.Generator().manual_seed(8)).double()
    return replace(rows, old_logprobs=(logprobs + 0.3 * noise) * rows.tokens.mask)


@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_the_whole_loss_is_that_of_a_plain_loop(objective: Objective) -> None:
    # The objective, less entropy_coef H, plus coef KL(teacher || policy), all at the temperature
    # .9 of the rollouts, averaged as a whole.
    objective, rows, these = with_terms(objective), near_policy([4, 2, 1, 3]), models()
    batch = rows.tokens
    assert these.teacher is not None
    with torch.no_grad():
        policy = (response_logits(these.policy, batch) / 0.9).log_softmax(-1).tolist()
        teacher = (response_logits(these.teacher, batch) / 0.9).log_softmax(-1).tolist()
    targets, start, sums, means = batch.targets[batch.mask].tolist(), 0, 0.0, 0.0
    for row, length in enumerate([4, 2, 1, 3]):
        ours = policy[start : start + length]
        theirs = teacher[start : start + length]
        chosen = [p[t] for p, t in zip(ours, targets[start : start + length], strict=True)]
        old = rows.old_logprobs[row][batch.mask[row]].tolist()
        losses = loop(objective, chosen, old, [float(rows.advantages[row])] * length)
        for t in range(length):
            entropy = -sum(math.exp(x) * x for x in ours[t])
            kl = sum(math.exp(q) * (q - p) for q, p in zip(theirs[t], ours[t], strict=True))
            losses[t] += 0.3 * kl - 0.2 * entropy
        start, sums, means = start + length, sums + sum(losses), means + sum(losses) / length
    expected = {"token": sums / 10, "sequence": means / 4, "constant": sums / (4 * 16)}
    _, seen = rl_gradient(rows, objective)
    assert seen.loss == pytest.approx(expected[objective.aggregation], rel=1e-12)


def test_the_entropy_bonus_has_the_gradient_of_the_entropy_that_is_sampled_from() -> None:
    # With A = 0 only the bonus is left: .3 share * -.5 * the mean entropy at the temperature .9.
    rows = near_policy([4, 2, 1, 3])
    rows = replace(rows, advantages=torch.zeros(4).double())
    found, seen = rl_gradient(rows, Reinforce(entropy_coef=0.5))
    direct = {}
    for temperature in (0.9, 1.0):
        these = models()
        logits = these.policy(rows.tokens.input_ids)[:, :-1][rows.tokens.mask] / temperature
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        (0.3 * -0.5 * entropy.mean()).backward()
        direct[temperature] = gradient(these.policy)
        if temperature == 0.9:
            assert seen.sums["entropy"] == pytest.approx(float(entropy.detach().sum()), rel=1e-12)
    torch.testing.assert_close(found, direct[0.9], rtol=0, atol=1e-12)
    assert (found - direct[1.0]).abs().max() > 1e-4


@pytest.mark.parametrize("terms", [False, True], ids=["plain", "terms"])
@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_any_cut_into_micro_batches_gives_the_same_gradient(
    objective: Objective, terms: bool
) -> None:
    objective = with_terms(objective) if terms else objective
    rows = near_policy([10, 2, 3, 1, 7])
    whole, seen = rl_gradient(rows, objective)
    assert float(whole.norm()) > 1e-3
    for size in (1, 2, 3):
        cut, parts = rl_gradient(rows, objective, size)
        torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)
        assert parts.sums == pytest.approx(seen.sums, rel=1e-10)


def cases() -> list[Objective]:
    last = [row.variants[-1] for row in ROWS.values()]
    return [
        with_terms(replace(objective, aggregation=aggregation))
        for objective, aggregation in product(last, AGGREGATIONS)
    ]


def test_two_ranks_with_unequal_tokens_give_the_gradient_of_one(tmp_path: Path) -> None:
    rows = near_policy([10, 2, 3, 1, 7])

    def work(rank: int) -> list[Tensor]:
        # 12 tokens in two rows on one rank, 11 in three on the other.
        part = rows.select(torch.tensor([[0, 1], [2, 3, 4]][rank]))
        return [rl_gradient(part, objective, 2)[0] for objective in cases()]

    found = on_two_ranks(tmp_path, work)
    for objective, spread in zip(cases(), found, strict=True):
        whole, _ = rl_gradient(rows, objective)
        torch.testing.assert_close(spread, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("micro_batch", [0, 1])
@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_equal_rewards_give_a_gradient_of_zero_that_is_there(
    objective: Objective, micro_batch: int
) -> None:
    rows = near_policy([3, 2])
    these = models()
    seen = add_rl_gradient(
        these,
        replace(rows, advantages=torch.zeros(2).double()),
        objective,
        Uniform(),
        share=1.0,
        temperature=0.9,
        max_length=16,
        micro_batch=micro_batch,
    )
    assert seen.loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in these.policy.parameters())


@pytest.mark.parametrize("micro_batch", [0, 1])
@pytest.mark.parametrize("terms", [False, True], ids=["plain", "terms"])
@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_answers_that_are_all_cut_off_leave_a_gradient_of_zero(
    objective: Objective, terms: bool, micro_batch: int
) -> None:
    objective = replace(with_terms(objective) if terms else objective, overlong="mask")
    rows = replace(near_policy([3, 2]), finished=torch.tensor([False, False]))
    these = models()
    seen = add_rl_gradient(
        these,
        rows,
        objective,
        Uniform(),
        share=1.0,
        temperature=1.0,
        max_length=16,
        micro_batch=micro_batch,
    )
    assert seen.loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in these.policy.parameters())
    metrics = branch_metrics((0.0, 1.0), None, seen)
    assert metrics["tokens/rl"] == 0
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("objective", EVERY_AGGREGATION)
def test_masked_answers_are_as_if_they_had_not_been_sampled(objective: Objective) -> None:
    rows = near_policy([4, 9, 2, 3])
    finished = torch.tensor([True, False, True, True])
    masked, _ = rl_gradient(
        replace(rows, finished=finished), replace(with_terms(objective), overlong="mask")
    )
    without, _ = rl_gradient(rows.select(torch.tensor([0, 2, 3])), with_terms(objective))
    torch.testing.assert_close(masked, without, rtol=0, atol=1e-14)
    kept, _ = rl_gradient(replace(rows, finished=finished), with_terms(objective))
    assert (kept - without).abs().max() > 1e-3
