"""Groups with the expert in them: whole answers, and answers that start from a part of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from steps import PAIRED, loss_gradient, module_of, plan_gradient, row_tokens, score_as
from vectors import f64

from chord.config.root import TrainConfig
from chord.losses import Reinforce
from chord.losses.advantages import Advantage, SrftAdvantage
from chord.rewards import Grade
from chord.rollout.rollouts import Rollouts
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule
from chord.step.plan import Plan

Build = Callable[..., TrainConfig]
OWN = torch.tensor([[True, True, True, False]])
GROUP = ("rollout.group_size=4", "rollout.max_new_tokens=24", "rollout.temperature=.8")
PREFIXES = [
    "rollout.prefix=binomial rollout.prefix_initial=.5",
    "rollout.prefix=uniform rollout.prefix_samples=2",
    "rollout.prefix=staged",
]


def wrong_and_right(own: list[float], expert: float) -> torch.Tensor:
    return f64([[*own, expert]])


def test_the_expert_is_among_those_compared_or_not() -> None:
    # One right of four counts 1/4 for `all`, nothing for `on_policy`.
    rewards = wrong_and_right([0, 0, 0], 1)
    for name in ("all", "group"):
        everyone = Advantage(baseline=name, scale="none")(rewards, own=OWN)
        assert everyone.tolist() == [[-0.25, -0.25, -0.25, 0.75]]
    alone = Advantage(baseline="on_policy", scale="none")(rewards, own=OWN)
    assert alone.tolist() == [[0, 0, 0, 1]]
    # One own answer right too: means 2/4 and 1/3.
    rewards = wrong_and_right([1, 0, 0], 1)
    everyone = Advantage(baseline="all", scale="none")(rewards, own=OWN)
    assert everyone.tolist() == [[0.5, -0.5, -0.5, 0.5]]
    alone = Advantage(baseline="on_policy", scale="none")(rewards, own=OWN)
    torch.testing.assert_close(alone, f64([[2, -1, -1, 2]]) / 3, atol=1e-15, rtol=0)
    # The spread is that of all four: squared gaps 1/4 each, unbiased variance 1/3.
    scaled = Advantage(baseline="on_policy", scale="group")(rewards, own=OWN)
    torch.testing.assert_close(scaled, alone / (3**-0.5 + 1e-6), atol=1e-12, rtol=0)


@pytest.mark.parametrize("baseline", ["all", "on_policy"])
@pytest.mark.parametrize("scale", ["none", "group"])
def test_equal_rewards_are_no_signal_to_anyone(baseline: str, scale: str) -> None:
    for value in (0.0, 1 / 3, 1.0):
        rewards = wrong_and_right([value] * 3, value)
        assert not Advantage(baseline=baseline, scale=scale)(rewards, own=OWN).any()
    # Equal own ones are their own mean, whatever rounding makes of three times 1/3.
    rewards = wrong_and_right([1 / 3] * 3, 1.0)
    own = Advantage(baseline="on_policy", scale=scale)(rewards, own=OWN)[0, :3]
    assert not own.any()


def test_without_an_expert_both_baselines_are_the_groups() -> None:
    rewards = f64([[1, 0, 0, 0], [1, 1, 0, 1]])
    group = Advantage(scale="none")(rewards)
    for own in (None, torch.ones(2, 4, dtype=torch.bool)):
        for name in ("all", "on_policy"):
            assert torch.equal(Advantage(baseline=name, scale="none")(rewards, own=own), group)


def test_signed_signals_by_hand() -> None:
    # Right own answers .1 e^H: .1 * 2 and .1 * 4; a wrong one -1; the expert's 1 - 3/4.
    entropy = f64([[2.0, 3.0, 4.0, 1.0]]).log()
    rewards = wrong_and_right([1, 0, 1], 1)
    found = SrftAdvantage()(rewards, own=OWN, entropy=entropy)
    torch.testing.assert_close(found, f64([[0.2, -1, 0.4, 0.25]]), atol=1e-15, rtol=0)
    # The expert's among the policy's own only: 1 - 2/3.
    on_policy = SrftAdvantage(baseline="on_policy", coef=0.5)(rewards, own=OWN, entropy=entropy)
    torch.testing.assert_close(on_policy, f64([[1, -1, 2, 1 / 3]]), atol=1e-15, rtol=0)
    assert SrftAdvantage()(rewards, entropy=entropy)[0, 3] == pytest.approx(0.1)


def test_the_last_of_a_group_is_the_experts_whole_answer(small_config: Build) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, "rollout.expert_in_group=1"))
    rollouts = module.collect(0)
    rows, tokenizer = rollouts.rows, module.data.tokenizer
    assert rows.expert is not None
    for row, problem in enumerate(rollouts.problems):
        last = row % 4 == 3
        assert torch.equal(rows.expert[row], rows.tokens.mask[row] & last)
        if last:
            answer = module.data.pair_with(problem.key).response
            written = rows.tokens.targets[row][rows.tokens.mask[row]].tolist()
            assert written == [*tokenizer.encode(answer), tokenizer.eos_id]
            assert rollouts.texts[row] == answer
            assert rollouts.finished[row]
            assert rollouts.scores.flatten()[row] == 1
            assert not rows.sampler_logprobs[row].any()
    # An untrained model is never right: 3/4 for the expert, -1/4 for the others, over std 1/2.
    expected = f64([-0.25, -0.25, -0.25, 0.75]).repeat(2) / 0.500001
    torch.testing.assert_close(rows.advantages, expected, atol=1e-12, rtol=0)
    metrics = rollouts.metrics()
    assert metrics["rollout/reward"] == metrics["rollout/expert_style"] == 0
    own_lengths = rows.tokens.mask.sum(dim=1).reshape(2, 4)[:, :3].double()
    assert metrics["rollout/length"] == float(own_lengths.mean())


def test_the_policys_answers_are_those_of_a_group_without_the_expert(small_config: Build) -> None:
    # Random numbers belong to the number of the sample: three of four, or two without a prefix.
    alone = module_of(small_config(*PAIRED, *GROUP)).collect(0)
    for setting, same in (("expert_in_group=1", 3), ("prefix=uniform", 3)):
        mixed = module_of(small_config(*PAIRED, *GROUP, f"rollout.{setting}")).collect(0)
        for row in range(8):
            if row % 4 < same:
                assert mixed.texts[row] == alone.texts[row]
                assert mixed.finished[row] == alone.finished[row]


def collected(module: ChordModule) -> tuple[Rollouts, list[str]]:
    """Rollouts, and the texts that the verifier was shown, answer by answer in its own order."""
    shown: list[str] = []

    def score(problem: Any, text: str) -> float:
        shown.append(text)
        return float(len(text) % 2)

    module.config.reward.score = score  # type: ignore[method-assign]
    return module.collect(0), shown[::2]


@pytest.mark.parametrize("setting", PREFIXES)
def test_texts_are_prefix_and_continuation_scored_as_one(small_config: Build, setting: str) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, *setting.split()))
    rollouts, shown = collected(module)
    rows, tokenizer = rollouts.rows, module.data.tokenizer
    assert rows.expert is not None
    assert rows.expert.any()
    prefixed = 0
    for row, problem in enumerate(rollouts.problems):
        mask, given = rows.tokens.mask[row], int(rows.expert[row].sum())
        written = rows.tokens.targets[row][mask].tolist()
        answer = tokenizer.encode(module.data.pair_with(problem.key).response)
        assert written[:given] == answer[:given]
        # The expert's tokens stand before the policy's own, and there is one of these at least.
        assert rows.expert[row][mask].tolist() == [True] * given + [False] * (len(written) - given)
        assert len(written) > given
        assert len(written) <= max(24, given + 1)
        assert rollouts.texts[row] == tokenizer.decode(written)
        complete = rollouts.texts[row] if rollouts.finished[row] else ""
        assert complete in shown
        assert rollouts.scores.flatten()[row] == len(complete) % 2
        assert rollouts.finished[row] == (written[-1] == tokenizer.eos_id)
        prefixed += given > 0
    assert len(shown) == 8
    assert prefixed > 0


@pytest.mark.parametrize("setting", PREFIXES)
def test_own_tokens_after_a_prefix_have_the_ratio_one(small_config: Build, setting: str) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, *setting.split(), "schedule=rl_only"))
    score_as(module, lambda step: [[1, 0, 0, 1], [0, 1, 0, 0]])
    plan = module.plan(0)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    assert rows.expert is not None
    for row in range(8):
        for place, logprob, _ in row_tokens(module.policy, rows.tokens, row, temperature=0.8):
            expected = 0.0 if rows.expert[row, place] else float(logprob.detach())
            assert float(rows.sampler_logprobs[row, place]) == pytest.approx(expected, abs=1e-9)
    grpo = plan_gradient(module, plan)
    assert grpo.norm() > 0
    metrics = branch_metrics(plan.shares, None, module.add_rl(plan))
    assert metrics["rl/ratio"] == pytest.approx(1, abs=1e-9)
    assert metrics["rl/logprob_gap"] < 1e-9
    assert metrics["tokens/rl"] == int((rows.tokens.mask & ~rows.expert).sum())
    # Step-0 identity: the gradient is REINFORCE's.
    module.config.objective = Reinforce()
    torch.testing.assert_close(plan_gradient(module, plan), grpo, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("score", "lengths"), [(0.0, [0, 0.25, 0.5, 1.0]), (1.0, [0, 0, 0, 0])])
def test_stages_give_less_where_earlier_answers_are_right(
    small_config: Build, score: float, lengths: list[float]
) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, "rollout.prefix=staged"))
    # A verdict on whatever was written: an answer that is cut off would be wrong.
    module.config.reward.judged = lambda problems, *given: [  # type: ignore[method-assign]
        Grade(score, score) for _ in problems
    ]
    rollouts = module.collect(0)
    assert rollouts.rows.expert is not None
    given = rollouts.rows.expert.sum(dim=1).reshape(2, 4).tolist()
    for group, problem in zip(given, rollouts.group_problems, strict=True):
        size = len(module.data.pair_with(problem.key).response)
        assert group == [int(share * size) for share in lengths]
    if score == 1:
        # Without prefixes the stages are a plain group: each sample has random numbers of its own.
        alone = module_of(small_config(*PAIRED, *GROUP)).collect(0)
        assert rollouts.texts == alone.texts
        torch.testing.assert_close(
            rollouts.rows.sampler_logprobs, alone.rows.sampler_logprobs, atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("loss", ["none", "nll", "advantage"])
def test_the_prefix_loss_of_a_run_is_the_configured_one(small_config: Build, loss: str) -> None:
    settings = f"{PREFIXES[1]} rollout.prefix_loss={loss} rollout.prefix_coef=.4 schedule=rl_only"
    module = module_of(small_config(*PAIRED, *GROUP, *settings.split(), "objective=reinforce"))
    score_as(module, lambda step: [[1, 0, 0, 1], [0, 1, 0, 0]])
    plan: Plan = module.plan(0)
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    assert rows.expert is not None
    total, nll = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for row in range(8):
        cold = row_tokens(module.policy, rows.tokens, row, temperature=0.8)
        warm = row_tokens(module.policy, rows.tokens, row)
        for (place, logprob, _), (_, at_one, _) in zip(cold, warm, strict=True):
            if not rows.expert[row, place]:
                total = total - rows.advantages[row] * logprob
            else:
                # The default weighting of these tokens is LUFFY's, gamma .1.
                p = at_one.detach().exp()
                weighted = 0.1 * p / (p + 0.1) ** 2 * at_one
                nll = nll - weighted
                total = total - rows.advantages[row] * weighted * (loss == "advantage")
    counted = rows.tokens.mask if loss == "advantage" else rows.tokens.mask & ~rows.expert
    value = total / counted.sum() + (loss == "nll") * 0.4 * nll / rows.expert.sum()
    hand = loss_gradient(module.policy, value)
    assert hand.norm() > 1e-3
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)
