"""The expert's tokens inside groups against plain loops: what they add, and what they stay out of.

Rows of 10, 2, 3, 1 and 7 tokens: row 0 is the expert's, rows 2 and 4 start with 2 and 3 tokens of
the expert's, rows 1 and 3 are the policy's own. p of the expert's tokens is at temperature 1, of
the policy's own at .9, the sampling temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from steps import gradient, loss_gradient, on_two_ranks, row_tokens
from test_gradients import models, rollouts
from torch import Tensor

from chord.losses import Cispo, Grpo, Gspo, Kl, Objective, Reinforce
from chord.models.models import Models
from chord.rollout.rows import RolloutRows
from chord.step.rl import add_rl_gradient
from chord.step.rows import OffPolicy, TokenLog
from chord.weightings import Luffy, Phi, RlPlus, TopEntropy, Uniform, Weighting

TEMPERATURE, LONGEST = 0.9, 16
GIVEN = (10, 0, 2, 0, 3)
Term = Callable[[Tensor], Tensor]


def rows_with_experts(given: tuple[int, ...] = GIVEN) -> RolloutRows:
    """Of each row's response the first `given` tokens are the expert's."""
    rows = rollouts([10, 2, 3, 1, 7])
    mask = rows.tokens.mask
    # Near the policy's own, so that some ratios are clipped and some are not.
    old = torch.zeros_like(rows.old_logprobs)
    policy = models().policy
    for row in range(5):
        for place, logprob, _ in row_tokens(policy, rows.tokens, row, temperature=TEMPERATURE):
            old[row, place] = logprob.detach() + 0.6 * math.sin(7 * row + 3 * place)
    expert = mask & (mask.cumsum(dim=1) <= torch.tensor(given)[:, None])
    return replace(rows, old_logprobs=old, expert=expert)


def step(
    rows: RolloutRows,
    off_policy: OffPolicy,
    objective: Objective | None = None,
    weighting: Weighting | None = None,
    micro_batch: int = 0,
) -> tuple[Tensor, TokenLog]:
    these = models()
    seen = add_rl_gradient(
        these,
        rows,
        objective or Grpo(),
        weighting or Uniform(),
        share=0.3,
        temperature=TEMPERATURE,
        max_length=LONGEST,
        off_policy=off_policy,
        micro_batch=micro_batch,
    )
    return gradient(these.policy), seen


def surrogate(logprob: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    ratio = (logprob - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


def by_hand(
    these: Models, rows: RolloutRows, kind: str, term: Term, aggregation: str, coef: float = 1.0
) -> Tensor:
    """The loss; `term` is what an expert's token of probability p has in the place of log p."""
    own, given = [], []
    for row in range(5):
        own.append([])
        given.append([])
        cold = row_tokens(these.policy, rows.tokens, row, temperature=TEMPERATURE)
        warm = row_tokens(these.policy, rows.tokens, row)
        for (place, logprob, _), (_, at_one, _) in zip(cold, warm, strict=True):
            share = 1.0 if rows.share is None else rows.share[row]
            if rows.expert is not None and rows.expert[row, place]:
                given[row].append(-share * term(at_one.exp()))
            else:
                old = rows.old_logprobs[row, place]
                own[row].append(share * surrogate(logprob, old, rows.advantages[row]))
    zero = torch.zeros((), dtype=torch.float64)
    if kind == "advantage":
        losses = [
            [rows.advantages[row] * loss for loss in given[row]] + own[row] for row in range(5)
        ]
        extra = zero
    else:
        losses = own
        extra = coef * sum(sum(g, zero) for g in given) / sum(len(g) for g in given)
        extra = extra if kind == "nll" else zero
    filled = [row for row in losses if row]
    if aggregation == "token":
        return sum(sum(row, zero) for row in filled) / sum(len(row) for row in filled) + extra
    if aggregation == "constant":
        return sum(sum(row, zero) for row in filled) / (5 * LONGEST) + extra
    return sum(sum(row, zero) / len(row) for row in filled) / len(filled) + extra


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize("kind", ["advantage", "nll", "none"])
def test_the_gradient_is_that_of_a_loop_over_the_tokens(kind: str, aggregation: str) -> None:
    rows = replace(
        rows_with_experts(), share=torch.tensor([1, 0.5, 0.25, 1, 0.75], dtype=torch.float64)
    )
    found, seen = step(
        rows,
        OffPolicy(loss=kind, coef=0.4, weighting=Phi()),
        Grpo(aggregation=aggregation),
    )
    these = models()
    loss = by_hand(
        these,
        rows,
        kind,
        lambda p: (p * (1 - p)).detach() * p.log(),
        aggregation,
        coef=0.4,
    )
    assert seen.loss == pytest.approx(float(loss.detach()), abs=1e-12)
    hand = loss_gradient(these.policy, 0.3 * loss)
    assert hand.norm() > 1e-3
    torch.testing.assert_close(found, hand, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("weighting", "term"),
    [
        # LUFFY: f(p) = p / (p + .1), with its whole gradient.
        (Luffy(), lambda p: p / (p + 0.1)),
        # RL-PLUS: 2 p / (p_old + (p_old + 1) / 2) at p_old = p, times the constant sqrt(1 - p).
        (
            RlPlus(),
            lambda p: 2 * p / (p.detach() + (p.detach() + 1) / 2) * (1 - p.detach()).sqrt(),
        ),
    ],
    ids=["luffy", "rlplus"],
)
@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_the_weights_give_the_gradient_of_the_published_losses(
    weighting: Weighting, term: Term, aggregation: str
) -> None:
    rows = rows_with_experts()
    found, _ = step(rows, OffPolicy(weighting=weighting), Grpo(aggregation=aggregation))
    these = models()
    loss = by_hand(these, rows, "advantage", term, aggregation)
    hand = loss_gradient(these.policy, 0.3 * loss)
    torch.testing.assert_close(found, hand, atol=1e-12, rtol=0)


OBJECTIVES = [
    Grpo(),
    Gspo(clip_low=0.1, clip_high=0.1),
    Cispo(),
    Reinforce(),
    Grpo(entropy_coef=0.2),
    Grpo(kl=Kl(coef=0.3)),
    Grpo(kl=Kl(coef=0.3, to="teacher", estimator="exact", direction="to_policy")),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_expert_tokens_enter_no_term_of_the_objective(objective: Objective) -> None:
    # Taken apart: the own tokens alone as `none` has them, over the count of own tokens, and the
    # expert's as imitation with weights -A. Nothing of the objective may depend on the latter.
    rows = rows_with_experts()
    assert rows.expert is not None
    mixed, seen = step(rows, OffPolicy(), objective)
    own, alone = step(rows, OffPolicy(loss="none"), objective)
    assert seen.sums == pytest.approx(alone.sums, abs=1e-12)
    for name in ("logprobs", "entropy", "kl"):
        one, other = getattr(seen, name), getattr(alone, name)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    assert sum(part.numel() for part in seen.logprobs) == 23 - sum(GIVEN)
    assert sum(part.numel() for part in seen.off_logprobs) == sum(GIVEN)
    these, total = models(), torch.zeros((), dtype=torch.float64)
    for row in range(5):
        for place, logprob, _ in row_tokens(these.policy, rows.tokens, row):
            if rows.expert[row, place]:
                total = total - rows.advantages[row] * logprob
    if objective.aggregation == "token":
        hand = own * (23 - sum(GIVEN)) / 23 + loss_gradient(these.policy, 0.3 * total / 23)
        torch.testing.assert_close(mixed, hand, atol=1e-12, rtol=0)


@pytest.mark.parametrize("objective", OBJECTIVES[:4], ids=repr)
@pytest.mark.parametrize("kind", ["advantage", "nll", "none"])
def test_there_are_no_old_log_probabilities_of_expert_tokens(
    objective: Objective, kind: str
) -> None:
    rows = rows_with_experts()
    assert rows.expert is not None
    junk = replace(rows, old_logprobs=rows.old_logprobs.masked_fill(rows.expert, math.nan))
    found, seen = step(junk, OffPolicy(loss=kind), objective)
    expected, _ = step(rows, OffPolicy(loss=kind), objective)
    assert torch.isfinite(found).all()
    assert torch.equal(found, expected)
    assert all(math.isfinite(value) for value in seen.sums.values())


def test_neither_weights_nor_advantages_carry_a_gradient() -> None:
    # The gradient with respect to each log p is -A w / N, whatever the weight is made of.
    rows = rows_with_experts((10, 2, 3, 1, 7))
    for weighting in (Phi(), Phi(normalize="mean1"), Luffy()):
        found, seen = step(rows, OffPolicy(weighting=weighting))
        weights = torch.cat(seen.off_weights)
        these, total, at = models(), torch.zeros((), dtype=torch.float64), 0
        # Micro-batches take the shortest rows first.
        for row in rows.tokens.attention_mask.sum(dim=1).argsort(stable=True).tolist():
            for _, logprob, _ in row_tokens(these.policy, rows.tokens, row):
                total = total - rows.advantages[row] * weights[at] * logprob
                at += 1
        hand = loss_gradient(these.policy, 0.3 * total / 23)
        torch.testing.assert_close(found, hand, atol=1e-12, rtol=0)


CUTS = [
    (OffPolicy(loss=kind, coef=0.4, weighting=weighting), objective)
    for kind in ("advantage", "nll", "none")
    for weighting in (Uniform(), Luffy(normalize="mean1"), TopEntropy(rho=0.3))
    for objective in (Grpo(), Grpo(aggregation="sequence"), Grpo(aggregation="constant"))
]


def test_micro_batches_leave_the_gradient_alone() -> None:
    rows = rows_with_experts()
    for off_policy, objective in CUTS:
        for both in (Uniform(), TopEntropy(rho=0.4, apply_to="both")):
            whole, _ = step(rows, off_policy, objective, both)
            assert float(whole.norm()) > 0
            for size in (1, 2, 3):
                cut, _ = step(rows, off_policy, objective, both, size)
                torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("given", [GIVEN, (10, 0, 2, 0, 0)], ids=["both", "one"])
def test_two_ranks_give_the_gradient_of_one_also_where_one_has_no_expert_token(
    tmp_path: Path, given: tuple[int, ...]
) -> None:
    # 13 tokens on rank 0 and 10 on rank 1, which in the second case are all its own.
    rows = rows_with_experts(given)
    both = TopEntropy(rho=0.4, apply_to="both")

    def work(rank: int) -> list[Tensor]:
        part = rows.select(torch.tensor([[0, 2], [1, 3, 4]][rank]))
        return [step(part, off, objective, both, 2)[0] for off, objective in CUTS]

    found = on_two_ranks(tmp_path, work)
    for (off_policy, objective), cut in zip(CUTS, found, strict=True):
        whole, _ = step(rows, off_policy, objective, both)
        torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)
