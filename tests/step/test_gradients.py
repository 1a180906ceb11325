"""The branch gradients do not depend on how a step is cut: micro-batches, ranks, empty branches."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rows.weightings import RULES
from steps import gradient, on_two_ranks
from torch import Tensor

from chord.data.batch import TokenBatch, collate
from chord.losses import Grpo, Kl, Objective, Reinforce
from chord.models.config import TransformerConfig
from chord.models.models import Models
from chord.models.transformer import Transformer
from chord.rollout.rows import RolloutRows
from chord.step.rl import add_rl_gradient
from chord.step.rows import ExpertRows
from chord.step.sft import add_sft_gradient
from chord.weightings import Adaptive, Iw, Phi, Threshold, TopEntropy, Uniform, Weighting

PAD, EOS, VOCAB = 0, 1, 9
# An untrained model has p of about 1 / 9 everywhere, below the default bound.
WEIGHTINGS: list[Weighting] = [
    replace(rule, normalize=normalize)
    for rule in [*(rule for rule in RULES if rule != Threshold()), Threshold(bound=0.1)]
    for normalize in ("none", "mean1")
]
OBJECTIVES: list[Objective] = [
    make(aggregation=aggregation, kl=kl)
    for make in (Grpo, Reinforce)
    for aggregation in ("token", "sequence", "constant")
    for kl in (Kl(), Kl(coef=0.3, to="teacher", estimator="exact", direction="to_policy"))
]


def models() -> Models:
    config = TransformerConfig(vocab_size=VOCAB, width=16, layers=1, heads=2, context=32)
    torch.manual_seed(0)
    policy = Transformer(config).double()
    teacher = Transformer(config).double().requires_grad_(False)
    reference = Transformer(config).double().requires_grad_(False)
    return Models(policy, teacher, reference)


def tokens(lengths: list[int], seed: int) -> TokenBatch:
    """Responses of the given lengths behind prompts of 1 to 3 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def some(n: int) -> list[int]:
        return torch.randint(2, VOCAB, (n,), generator=generator).tolist()

    return collate([some(1 + n % 3) for n in lengths], [some(n) for n in lengths], pad_id=PAD)


def experts(lengths: list[int]) -> ExpertRows:
    return ExpertRows(tokens(lengths, 1), torch.linspace(0, 1, len(lengths)).double())


def rollouts(lengths: list[int]) -> RolloutRows:
    batch = tokens(lengths, 2)
    generator = torch.Generator().manual_seed(3)
    old = -3 * torch.rand(batch.mask.shape, generator=generator).double()
    advantages = torch.randn(len(lengths), generator=generator).double()
    return RolloutRows(batch, old, advantages, torch.linspace(0, 1, len(lengths)).double())


def sft_gradient(rows: ExpertRows, weighting: Weighting, micro_batch: int) -> Tensor:
    these = models()
    add_sft_gradient(these, rows, weighting, share=0.7, micro_batch=micro_batch)
    return gradient(these.policy)


def rl_gradient(
    rows: RolloutRows, objective: Objective, weighting: Weighting, micro_batch: int
) -> Tensor:
    these = models()
    add_rl_gradient(
        these,
        rows,
        objective,
        weighting,
        share=0.3,
        temperature=0.9,
        max_length=16,
        micro_batch=micro_batch,
    )
    return gradient(these.policy)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=repr)
def test_micro_batches_leave_the_sft_gradient_alone(weighting: Weighting) -> None:
    rows = experts([10, 2, 3, 1, 7])
    whole = sft_gradient(rows, weighting, 0)
    assert float(whole.norm()) > 0, (
        f"{weighting}: all weights are 0 at p = 1/9, which is all that an untrained model has; "
        "list other settings for it in WEIGHTINGS"
    )
    for size in (1, 2, 3):
        torch.testing.assert_close(sft_gradient(rows, weighting, size), whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize(
    "weighting",
    [Uniform(), Phi(normalize="mean1", apply_to="both"), TopEntropy(apply_to="both")],
    ids=repr,
)
def test_micro_batches_leave_the_rl_gradient_alone(
    objective: Objective, weighting: Weighting
) -> None:
    rows = rollouts([10, 2, 3, 1, 7])
    whole = rl_gradient(rows, objective, weighting, 0)
    assert float(whole.norm()) > 0
    for size in (1, 2, 3):
        cut = rl_gradient(rows, objective, weighting, size)
        torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)


class Undecided(torch.nn.Module):
    """A policy that gives every token the same probability: all entropies are exactly ln V."""

    def __init__(self) -> None:
        super().__init__()
        self.vocab_size, self.shares_prompts, self.packs = VOCAB, False, False
        self.table = torch.nn.Parameter(torch.zeros(VOCAB, VOCAB).double())

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return input_ids

    def head(self, features: Tensor) -> Tensor:
        return self.table[features]


@pytest.mark.parametrize("micro_batch", [0, 1, 2, 3])
def test_ties_go_to_the_earlier_row_however_the_step_is_cut(micro_batch: int) -> None:
    # Rows of 3, 1 and 2 tokens; micro-batches take the shortest first. Two of the six tokens get a
    # weight: the first two of row 0.
    rows = experts([3, 1, 2])
    policy = Undecided()
    rule = TopEntropy(rho=1 / 3)
    seen = add_sft_gradient(
        Models(policy),  # type: ignore[arg-type]
        rows,
        rule,
        share=1.0,
        micro_batch=micro_batch,
    )
    assert float(torch.cat(seen.weights).sum()) == 2
    expected = torch.zeros(VOCAB, VOCAB).double()
    batch = rows.tokens
    start = int(batch.mask[0].nonzero()[0])
    for position in (start, start + 1):
        before, target = batch.input_ids[0, position], batch.targets[0, position]
        expected[before] += 1 / VOCAB / 6
        expected[before, target] -= 1 / 6
    torch.testing.assert_close(policy.table.grad, expected, atol=1e-15, rtol=0)


def test_the_gradient_is_that_of_the_plain_formula() -> None:
    # The same step written out with full-width logits and no helper: a token mean over the
    # response tokens of the whole step, -w log p with w = p (1 - p) held constant.
    rows, these = experts([4, 2]), models()
    batch = rows.tokens
    logprobs = these.policy(batch.input_ids)[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)[batch.mask]
    p = chosen.detach().exp()
    (0.7 * (-(p * (1 - p)) * chosen).sum() / 6).backward()
    torch.testing.assert_close(
        gradient(these.policy), sft_gradient(rows, Phi(), 0), atol=1e-12, rtol=0
    )


def test_advantages_of_zero_give_zero_gradients_that_are_there() -> None:
    rows = rollouts([3, 2])
    rows = replace(rows, advantages=torch.zeros(2).double())
    these = models()
    seen = add_rl_gradient(
        these, rows, Grpo(), Uniform(), share=1.0, temperature=1.0, max_length=16
    )
    assert seen.loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in these.policy.parameters())


def test_a_sampled_batch_of_unchanged_policy_has_ratio_one_and_reinforce_gradient() -> None:
    # With one update per batch r = 1, and grad(-r A) = -A grad(log p).
    rows, these = rollouts([5, 2, 3]), models()
    batch = rows.tokens
    with torch.no_grad():
        logprobs = (these.policy(batch.input_ids)[:, :-1] / 0.9).log_softmax(-1)
        old = logprobs.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1) * batch.mask
    rows = replace(rows, old_logprobs=old)
    grpo = rl_gradient(rows, Grpo(), Uniform(), 0)
    torch.testing.assert_close(grpo, rl_gradient(rows, Reinforce(), Uniform(), 0))


def cases() -> list[tuple[Weighting, Objective]]:
    rules = [
        Phi(normalize="mean1", apply_to="both"),
        Uniform(),
        Adaptive(normalize="mean1"),
        TopEntropy(apply_to="both"),
        TopEntropy(rho=0.6, normalize="mean1"),
        Iw(level="sequence", normalize="mean1", apply_to="both"),
    ]
    return list(itertools.product(rules, OBJECTIVES[:6:2]))


def test_two_ranks_with_unequal_rows_give_the_gradient_of_one_process(tmp_path: Path) -> None:
    everything_sft, everything_rl = experts([10, 2, 3, 1, 7]), rollouts([10, 2, 3, 1, 7])

    def work(rank: int) -> list[Tensor]:
        # 10 tokens in one piece here, 13 in two pieces and a narrower table there.
        index = torch.tensor([[0], [1, 2, 3, 4]][rank])
        sft = ExpertRows(everything_sft.tokens.select(index), everything_sft.signal[index])
        batch = everything_rl.tokens.select(index)
        rl = RolloutRows(
            batch,
            everything_rl.old_logprobs[index, : batch.mask.shape[1]],
            everything_rl.advantages[index],
            everything_rl.signal[index],
        )
        return [
            sft_gradient(sft, weighting, 2) + rl_gradient(rl, objective, weighting, 2)
            for weighting, objective in cases()
        ]

    found = on_two_ranks(tmp_path, work)
    for (weighting, objective), cut in zip(cases(), found, strict=True):
        whole = sft_gradient(everything_sft, weighting, 0)
        whole = whole + rl_gradient(everything_rl, objective, weighting, 0)
        torch.testing.assert_close(cut, whole, atol=1e-10, rtol=0)
