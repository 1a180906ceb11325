"""Steps under a gate: who is imitated, who is reinforced, and what each is divided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from steps import (
    PAIRED,
    count,
    loss_gradient,
    module_of,
    on_two_ranks,
    plan_gradient,
    row_tokens,
    score_as,
    some_of,
)
from torch import Tensor

from chord.config.consistency import ConfigError
from chord.config.root import TrainConfig
from chord.schedules.gates import Gate
from chord.schedules.mixes import Convex, Shares
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule
from chord.step.plan import Plan, gated

Build = Callable[..., TrainConfig]
GATED = (*PAIRED, "gate=solve_rate", "schedule=rl_only", "weighting=phi")


@dataclass(kw_only=True)
class Share(Gate):
    """The same g for every problem."""

    g: float

    def judge(self, scores: Tensor) -> Tensor:
        return scores.new_full(scores.shape[:1], self.g)


def nll(module: ChordModule, plan: Plan, row: int, weight: Callable[[Tensor], Tensor]) -> Tensor:
    """sum of -sg(w) log p over a row that is imitated."""
    assert plan.experts is not None
    total = torch.zeros((), dtype=torch.float64)
    for _, logprob, _ in row_tokens(module.policy, plan.experts.tokens, row):
        total = total - weight(logprob.detach().exp()) * logprob
    return total


def reinforced(module: ChordModule, plan: Plan, row: int) -> Tensor:
    """sum of -A log p over an answer: the gradient of its clipped surrogate at ratio 1."""
    assert plan.rollouts is not None
    total = torch.zeros((), dtype=torch.float64)
    for _, logprob, _ in row_tokens(module.policy, plan.rollouts.rows.tokens, row):
        total = total - plan.rollouts.rows.advantages[row] * logprob
    return total


def phi(p: Tensor) -> Tensor:
    return p * (1 - p)


def expected(module: ChordModule, plan: Plan, sft: list[float], rl: list[float]) -> Tensor:
    """sum_i sft_i (w nll)_i / N_sft + sum_j rl_j rl_j / N_rl over all rows of the plan."""
    assert plan.experts is not None
    assert plan.rollouts is not None
    assert len(sft) == len(plan.experts.tokens.mask)
    assert len(rl) == len(plan.rollouts.rows.tokens.mask)
    imitated = sum(share * nll(module, plan, row, phi) for row, share in enumerate(sft))
    own = sum(share * reinforced(module, plan, row) for row, share in enumerate(rl))
    loss = imitated / count(plan.experts.tokens) + own / count(plan.rollouts.rows.tokens)
    return loss_gradient(module.policy, loss)


def test_a_gate_of_alpha_everywhere_is_the_convex_mix_of_the_same_rows(small_config: Build) -> None:
    alpha = 0.37
    module = module_of(small_config(*GATED, "rollout.problems=3"))
    score_as(module, lambda step: [[1, 0], [0, 0], [0, 1]])
    module.config.gate = Share(g=alpha)
    plan = module.plan(0)
    assert plan.rollouts is not None
    pairs = [module.data.pair_with(problem.key) for problem in plan.rollouts.group_problems]
    plain = Plan(alpha, Convex()(alpha), module.imitation.of(pairs), module.collect(0))
    found = {}
    for each in (plan, plain):
        sft, rl = module.add_gradients(0, each)
        loss = branch_metrics(each.shares, sft, rl)["loss/total"]
        found[id(each)] = (plan_gradient(module, each), loss)
    (gated_gradient, gated_loss), (gradient, loss) = found[id(plan)], found[id(plain)]
    assert gradient.norm() > 1e-3
    torch.testing.assert_close(gated_gradient, gradient, atol=1e-12, rtol=0)
    assert gated_loss == pytest.approx(loss, abs=1e-12)


def test_a_bound_of_one_is_imitation_of_the_problems_alone(small_config: Build) -> None:
    module = module_of(small_config(*GATED, "gate.gamma=1"))
    score_as(module, lambda step: [[1, 0], [1, 1]])
    plan = module.plan(0)
    _, rl = module.add_gradients(0, plan)
    assert rl is not None
    assert rl.loss == 0
    found = plan_gradient(module, plan)
    pairs = [module.data.pair_with(p.key) for p in plan.rollouts.group_problems]  # type: ignore[union-attr]
    only = Plan(1.0, Shares(1.0, 0.0), module.imitation.of(pairs), None)
    assert torch.equal(found, plan_gradient(module, only))
    hand = expected(module, plan, [1, 1], [0] * 4)
    torch.testing.assert_close(found, hand, atol=1e-12, rtol=0)


def test_where_no_problem_is_judged_it_is_rl_alone(small_config: Build) -> None:
    module = module_of(small_config(*GATED))
    score_as(module, lambda step: [[1, 0], [0, 1]])
    plan = module.plan(0)
    assert plan.experts is None
    assert plan.metrics["gate/share"] == 0
    found = plan_gradient(module, plan)
    plain = Plan(0.0, Shares(0.0, 1.0), None, module.collect(0))
    assert found.norm() > 0
    assert torch.equal(found, plan_gradient(module, plain))
    assert "loss/sft" not in branch_metrics(plan.shares, *module.add_gradients(0, plan))


def test_counts_are_of_all_rows_of_a_step_whatever_their_shares(small_config: Build) -> None:
    # Problem 0 is imitated (g = 1), problem 1 reinforced (g = 0): each sum has the terms of one
    # problem, each count the tokens of both.
    module = module_of(small_config(*GATED))
    score_as(module, lambda step: [[0, 0], [1, 0]])
    plan = module.plan(0)
    hand = expected(module, plan, [1, 0], [0, 0, 1, 1])
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)
    assert plan.metrics["gate/share"] == 0.5


@pytest.mark.parametrize(("g", "scores"), [(1, [[0, 0], [1, 0]]), (0, [[0, 1], [1, 0]])])
def test_the_expert_stream_keeps_alpha_beside_a_gate(
    small_config: Build, g: int, scores: list[list[float]]
) -> None:
    # Three rows of the stream with share .25, then the pairs of both problems with their g; all
    # five are counted, also where every g is 0, or the stream's push would jump there.
    module = module_of(small_config(*GATED, "schedule=constant", "schedule.value=.25"))
    score_as(module, lambda step: scores)
    plan = module.plan(0)
    hand = expected(module, plan, [0.25] * 3 + [g, 0], [1 - g, 1 - g, 1, 1])
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)


def test_an_additive_mix_scales_the_imitation_and_leaves_rl_to_the_gate(
    small_config: Build,
) -> None:
    module = module_of(small_config(*GATED, "mix=additive", "mix.coef=.3"))
    score_as(module, lambda step: [[0, 0], [1, 0]])
    plan = module.plan(0)
    hand = expected(module, plan, [0.3, 0], [0, 0, 1, 1])
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)
    module.config.mix.coef = 0.0  # type: ignore[attr-defined]
    assert module.plan(0).experts is None


def test_a_problem_drawn_twice_is_judged_twice(small_config: Build) -> None:
    # Its pair makes two rows, one with each g; both are counted.
    module = module_of(small_config(*GATED))
    problem = module.data.expert_pairs[5].problem
    module.data.problems = lambda *args, **kwargs: [problem, problem]  # type: ignore[method-assign]
    score_as(module, lambda step: [[0, 0], [0, 1]])
    plan = module.plan(0)
    assert plan.experts is not None
    assert torch.equal(*plan.experts.tokens.input_ids)
    hand = expected(module, plan, [1, 0], [0, 0, 1, 1])
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)


def test_a_buffer_releases_once_its_size_is_there(small_config: Build) -> None:
    # Step 0: both problems all wrong, 2 of 3 wait. Step 1: another one, drawn twice, waits once:
    # 3 leave and are the step's SFT rows, each with share 1. Step 2: nothing fails, nothing waits.
    module = module_of(
        small_config(*PAIRED, "gate=all_wrong_buffer", "gate.size=3", "schedule=rl_only")
    )
    draws = [module.data.expert_pairs[at].problem for at in (4, 7, 9)]
    steps = [[draws[1], draws[0]], [draws[2], draws[2]], [draws[1], draws[0]]]
    module.data.problems = lambda step, *args, **kwargs: steps[step]  # type: ignore[method-assign]
    score_as(module, lambda step: [[0, 0], [0, 0]] if step < 2 else [[1, 0], [0, 1]])
    first = module.plan(0)
    assert first.experts is None
    assert module.gate_state == [draws[1].key, draws[0].key]
    second = module.plan(1)
    assert second.experts is not None
    assert second.experts.share is not None
    assert second.experts.share.tolist() == [1, 1, 1]
    assert second.metrics["gate/released"] == 3
    assert module.gate_state == []
    texts = [module.data.pair_with(problem.key).response for problem in (draws[1], *draws[::2])]
    rows, tokenizer = second.experts.tokens, module.data.tokenizer
    mask = zip(rows.input_ids, rows.response_mask, strict=True)
    assert [tokenizer.decode(ids[keep].tolist()) for ids, keep in mask] == texts
    third = module.plan(2)
    assert third.experts is None
    # The waiting problems stay in RL with the whole of their share.
    assert third.rollouts is not None
    assert third.rollouts.rows.share is not None
    assert third.rollouts.rows.share.tolist() == [1] * 4


def test_an_experts_answer_in_the_group_is_not_judged(small_config: Build) -> None:
    # The policy is all wrong, the expert right: the problem is imitated all the same.
    module = module_of(small_config(*GATED, "rollout.expert_in_group=1"))
    score_as(module, lambda step: [[0, 1], [0, 1]])
    plan = module.plan(0)
    assert plan.metrics["gate/share"] == 1
    assert plan.rollouts is not None
    assert plan.rollouts.metrics()["rollout/score"] == 0
    assert plan.rollouts.metrics()["rollout/all_wrong"] == 1


@pytest.mark.parametrize("schedule", [("schedule=rl_only",), ("schedule=constant",)])
def test_micro_batches_leave_a_gated_gradient_alone(
    small_config: Build, schedule: tuple[str]
) -> None:
    settings = (*GATED, "rollout.problems=3", "weighting.normalize=mean1", *schedule)
    found = []
    for size in (0, 1, 3):
        module = module_of(small_config(*settings, f"trainer.micro_batch={size}"))
        score_as(module, lambda step: [[0, 0], [1, 0], [0, 0]])
        found.append(plan_gradient(module, module.plan(0)))
    for cut in found[1:]:
        torch.testing.assert_close(cut, found[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("gate", ["solve_rate", "all_wrong_buffer gate.size=1"])
def test_two_ranks_take_the_gated_step_of_one(
    small_config: Build, tmp_path: Path, gate: str
) -> None:
    # Rank 0 has the first problem, rank 1 the other two. A buffer of size 1 releases one problem:
    # rank 1 has no row to imitate, and the state is the same on both.
    settings = (*PAIRED, "schedule=rl_only", "rollout.problems=3", *f"gate={gate}".split())
    scores = [[0, 0], [0, 0], [1, 0]]

    alone = module_of(small_config(*settings))
    score_as(alone, lambda step: scores)
    whole = alone.collect(0)

    def planned(first: int, last: int) -> tuple[ChordModule, Plan]:
        module = module_of(small_config(*settings))
        plan = Plan(0.0, Convex()(0.0), None, some_of(whole, first, last))
        plan, state = gated(plan, module.config.gate, [], Convex(), module.imitation, 0)
        assert len(state) == (0 if "solve" in gate else 1)
        return module, plan

    def work(rank: int) -> list[Tensor]:
        module, plan = planned(rank, 1 + 2 * rank)
        assert plan.experts is not None
        # Released problems are dealt out; judged ones stay where their rollouts are.
        imitated = 1 - rank if "buffer" in gate else 1 + rank
        assert len(plan.experts.tokens.mask) == imitated
        return [plan_gradient(module, plan)]

    (found,) = on_two_ranks(tmp_path, work)
    module, plan = planned(0, 3)
    assert plan.experts is not None
    torch.testing.assert_close(found, plan_gradient(module, plan), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("gate=solve_rate", "gate=solve_rate"),
        ("gate=all_wrong_buffer", "gate=all_wrong_buffer"),
        ("rollout.expert_in_group=1", "rollout.expert_in_group=1"),
        ("rollout.prefix=uniform", "rollout.prefix=uniform"),
    ],
)
def test_problems_without_an_experts_answer_are_refused(
    small_config: Build, setting: str, named: str
) -> None:
    with pytest.raises(ConfigError) as error:
        small_config(setting)
    assert str(error.value) == (
        f"data.pairing=separate: {named} needs the expert's response to each RL problem; "
        "use data.pairing=paired"
    )


def test_tokens_that_tie_are_ranked_alike_on_two_ranks(small_config: Build, tmp_path: Path) -> None:
    # All entropies are equal, so the first half of the tokens has the weight: those of the expert
    # stream, whose share is .5, and not those of the judged problems on the first rank, with 1.
    config = small_config(
        *PAIRED,
        "gate=solve_rate",
        "schedule=constant",
        "schedule.value=.5",
        "weighting=top_entropy",
        "weighting.rho=.5",
        "data.expert_pairs=4",
        "data.expert_batch=4",
        "rollout.problems=4",
    )

    def work(rank: int) -> list[Tensor]:
        module = module_of(config)
        torch.nn.init.zeros_(module.policy.head.weight)
        return [plan_gradient(module, module.plan(0))]

    (both,) = on_two_ranks(tmp_path, work)
    torch.testing.assert_close(both, work(0)[0], atol=1e-12, rtol=1e-10)
