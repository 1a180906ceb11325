"""What controllers are shown: numbers by hand, over all ranks, and as the log has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_module import fitted, module_of
from torch import Tensor

import chord.step.feedback
from chord.config.root import TrainConfig
from chord.schedules import EntropyTarget, Feedback, Gac, GradientRatio, RewardGap
from chord.step.feedback import (
    ExpertScores,
    gradient_norm,
    mean_squared_gap,
    measure,
    score_experts,
    trimmed_variance,
)

Build = Callable[..., TrainConfig]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_variance_leaves_out_a_share_at_each_end() -> None:
    values = double(9, 1, 3, 5, -20)
    # Without -20 and 9: mean 3, deviations -2, 0, 2.
    assert trimmed_variance(values, trim=0.2) == pytest.approx(8 / 3, abs=1e-14)
    # floor(.19 * 5) = 0: all, with mean -.4 and sum of squares 516.
    assert trimmed_variance(values, trim=0.19) == pytest.approx(516 / 5 - 0.16, abs=1e-12)
    # .3 * 10 is 2.9999999999999996 in binary and still means three: 4, 5, 6, 7 are left.
    ten = torch.arange(1, 11).double()
    assert trimmed_variance(ten, trim=0.3) == pytest.approx(1.25, abs=1e-14)
    assert trimmed_variance(double(7.0)) == 0.0
    assert trimmed_variance(double()) == 0.0


def test_the_gap_is_over_all_pairs() -> None:
    weights, advantages = double(0, 1), double(1, 1, 4)
    pairs = [(w - a) ** 2 for w in (0, 1) for a in (1, 1, 4)]
    assert sum(pairs) / 6 == 4.5
    assert mean_squared_gap(weights, advantages) == pytest.approx(4.5, abs=1e-14)
    assert mean_squared_gap(double(), advantages) == 0.0


def test_the_norm_of_a_gradient_is_over_all_parameters() -> None:
    assert gradient_norm([double(3), torch.tensor([[4.0]])]) == pytest.approx(5, abs=1e-15)


def test_every_statistic_is_taken_over_the_rows_of_all_ranks(
    small_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(small_config("trainer.precision=64-true", "rollout.problems=3"))
    rollouts = module.collect(0)
    observed = rollouts.observed
    observed.rewards = torch.arange(6).double().reshape(3, 2)
    observed.advantages = double(1, -1, 0.5, 0, 2, -2).reshape(3, 2)
    experts = ExpertScores(double(1, 4, 2), double(0.2, 0.9, 0.4, 0.4))
    schedules = (
        RewardGap(),
        EntropyTarget(),
        Gac(trim=0.34, total_steps=9),
        GradientRatio(warmup=1, total_steps=9),
    )

    def seen() -> list[Feedback]:
        return [
            measure(
                schedule,
                0 if schedule.needs_rollouts else 1,
                rollouts=rollouts,
                experts=experts,
                sft_grad_norm=3.0,
            )
            for schedule in schedules
        ]

    alone = seen()
    assert alone[0] == Feedback(reward=2.5)
    assert alone[1] == Feedback(entropy=float(observed.entropies.mean()))
    # Advantages 1, -1, .5, 0, 2, -2: mean 1/12, squares 10.25. Of 1, 2, 4 the middle is left.
    assert alone[2].advantage_variance == pytest.approx(10.25 / 6 - 1 / 144, abs=1e-14)
    assert alone[2].nll_variance == 0
    mask = rollouts.rows.tokens.mask
    advantages = observed.advantages.flatten()
    each = torch.cat([a.repeat(int(n)) for a, n in zip(advantages, mask.sum(1), strict=True)])
    gap = (experts.weights[:, None] - each[None, :]).square().mean()
    assert alone[2].gap == pytest.approx(float(gap), abs=1e-12)
    assert alone[3] == Feedback(sft_grad_norm=3.0)

    # A second rank that holds the same rows and one more value of its own, 9.
    gathered: list[Tensor] = []

    def with_another(values: Tensor) -> tuple[Tensor, int]:
        gathered.append(values)
        return torch.cat([values, values, values.new_tensor([9.0])]), 0

    monkeypatch.setattr(chord.step.feedback, "all_rows", with_another)
    both = seen()
    assert both[0].reward == pytest.approx((15 + 15 + 9) / 13, abs=1e-14)
    # 1, 1, 2, 2, 4, 4, 9 without floor(.34 * 7) = 2 at each end: 2, 2, 4.
    assert both[2].nll_variance == pytest.approx(24 / 3 - 64 / 9, abs=1e-12)
    assert both[2].advantage_variance == pytest.approx(101.5 / 13 - (10 / 13) ** 2, abs=1e-12)
    nine = torch.tensor([9.0], dtype=torch.float64)
    weights = torch.cat([experts.weights, experts.weights, nine])
    tokens = torch.cat([each, each, nine])
    gap = (weights[:, None] - tokens[None, :]).square().mean()
    assert both[2].gap == pytest.approx(float(gap), abs=1e-12)
    # Rewards, entropies, and of gac: advantages, nll, weights, advantages of tokens.
    assert [len(values) for values in gathered] == [6, len(observed.entropies), 6, 3, 4, len(each)]


def test_expert_rows_are_scored_row_by_row_and_as_the_branch_will_see_them(
    small_config: Build,
) -> None:
    module = module_of(small_config("trainer.precision=64-true", "weighting=phi"))
    rows = module.imitation.stream(0)
    whole = score_experts(module.models, rows, module.config.weighting)
    with torch.no_grad():
        logprobs = module.policy(rows.tokens.input_ids)[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(-1, rows.tokens.targets.unsqueeze(-1)).squeeze(-1)
    mask = rows.tokens.mask
    expected = torch.stack([-chosen[i][mask[i]].mean() for i in range(len(mask))])
    assert whole.nll.sort().values.tolist() == pytest.approx(expected.sort().values.tolist())
    p = chosen[mask].exp()
    weights = (p * (1 - p)).sort().values
    assert whole.weights.sort().values.tolist() == pytest.approx(weights.tolist())
    assert all(parameter.grad is None for parameter in module.policy.parameters())
    # Cut into micro-batches, they are the same.
    for size in (1, 2):
        cut = score_experts(module.models, rows, module.config.weighting, micro_batch=size)
        assert cut.nll.sort().values.tolist() == pytest.approx(whole.nll.sort().values.tolist())


def test_the_norm_shown_is_that_of_the_unscaled_sft_branch(small_config: Build) -> None:
    # alpha = P = 1 / (1 + 3) at the last of two steps, after one of warm-up.
    module = module_of(
        small_config(
            "schedule=gradient_ratio",
            "schedule.warmup=1",
            "schedule.gamma=3",
            "schedule.draw=false",
            "trainer.precision=64-true",
        )
    )
    fitted(module)
    assert module.metrics["alpha"] == pytest.approx(0.25, abs=1e-15)
    assert module.sft_grad_norm == pytest.approx(module.metrics["grad/sft_norm"] / 0.25)


def test_rollouts_are_drawn_once_a_step_also_where_alpha_waits_for_them(
    small_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for schedule, expected in (("reward_gap", [0, 1]), ("sft_only", []), ("periodic", [0, 1])):
        module, steps = module_of(small_config(f"schedule={schedule}")), list[int]()
        collect = module.collect

        def counted(step: int, collect: Callable = collect, steps: list[int] = steps) -> object:
            steps.append(step)
            return collect(step)

        monkeypatch.setattr(module, "collect", counted)
        fitted(module)
        assert steps == expected
