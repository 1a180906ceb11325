"""What schedules, gates and metrics see: the policy's own answers to all problems drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import compose_config
from steps import PAIRED, count, loss_gradient, module_of, on_two_ranks, plan_gradient, row_tokens
from test_dynamic_sampling import drawing, names
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.rewards import Grade
from chord.step.module import ChordModule

Build = Callable[..., TrainConfig]
GROUP = ("rollout.group_size=4", "rollout.max_new_tokens=24")
GATED = (*PAIRED, "schedule=rl_only", "objective.resample=2")
TWELVE = ("objective=dapo", "rollout.problems=12")
TRAINED = ("reward", "score", "all_right", "all_wrong", "problems")


def shipped(*settings: str) -> ChordModule:
    """The test bed as it comes."""
    return module_of(parse(compose_config("tracking=off", *settings), TrainConfig))


def test_a_gate_judges_the_problems_that_dynamic_sampling_replaces() -> None:
    # Of the 36 problems that it takes to fill a batch of 12, 21 are never solved.
    plan = shipped("experiment=hpt", *TWELVE).plan(0)
    assert plan.rollouts is not None
    assert plan.experts is not None
    assert len(plan.rollouts.observed.problems) == 36
    assert plan.metrics["gate/share"] == pytest.approx(21 / 36, abs=1e-15)
    assert plan.experts.share is not None
    assert plan.experts.share.sum() == 21
    assert len(plan.rollouts.places) == 12
    metrics = plan.rollouts.metrics()
    assert metrics["rollout/all_wrong"] == pytest.approx(21 / 36, abs=1e-15)
    assert metrics["rollout/problems"] == 36
    assert metrics["trained/problems"] == 12
    assert metrics["trained/all_wrong"] == 0


def test_a_buffer_fills_with_problems_that_are_not_trained_on() -> None:
    module = shipped("experiment=relift", *TWELVE)
    # 21 of 36 fail, one of them drawn twice.
    assert module.plan(0).metrics["gate/waiting"] == 20
    assert module.plan(1).metrics["gate/released"] == 32


def test_a_schedule_reads_the_reward_of_all_problems_drawn() -> None:
    module = shipped("experiment=chord_adaptive", *TWELVE)
    # Of 288 answers to 36 problems 46, 42 and 55 are right; of the 96 trained on 30, 34 and 44.
    for step, (right, kept) in enumerate([(46, 30), (42, 34), (55, 44)]):
        plan = module.plan(step)
        assert plan.rollouts is not None
        metrics = plan.rollouts.metrics()
        assert metrics["rollout/reward"] == pytest.approx(right / 288, abs=1e-12)
        assert metrics["trained/reward"] == pytest.approx(kept / 96, abs=1e-12)
        assert plan.alpha == pytest.approx(0.5 - right / 288, abs=1e-12)


def test_a_reward_that_the_expert_earned_is_not_the_policys() -> None:
    # 163 of 192 answers behind the expert's prefixes are right, 25 of those without one.
    plan = shipped("experiment=uft", "schedule=reward_gap").plan(0)
    assert plan.rollouts is not None
    assert plan.alpha == pytest.approx(0.5 - 25 / 192, abs=1e-12)
    metrics = plan.rollouts.metrics()
    assert metrics["rollout/reward"] == pytest.approx(25 / 192, abs=1e-12)
    assert metrics["trained/reward"] == pytest.approx(163 / 192, abs=1e-12)


def test_all_problems_drawn_are_imitated_and_the_kept_ones_reinforced(small_config: Build) -> None:
    # Rounds ab, cd, ef; b and e have a signal, the others are never right: g = 1 for a, c, d, f.
    # The SFT branch counts the expert's tokens of all six, the RL branch those of the two kept.
    module = module_of(small_config(*GATED, "gate=solve_rate"))
    drawing(module, ["ab", "cd", "ef"], "be")
    plan = module.plan(0)
    assert plan.rollouts is not None
    assert plan.experts is not None
    assert names(module, plan.rollouts) == "be"
    assert plan.rollouts.places == [1, 4]
    assert plan.experts.share is not None
    assert plan.experts.share.tolist() == [1, 0, 1, 1, 0, 1]
    assert plan.metrics["gate/share"] == pytest.approx(4 / 6, abs=1e-15)
    sft = rl = torch.zeros((), dtype=torch.float64)
    for row in (0, 2, 3, 5):
        for _, logprob, _ in row_tokens(module.policy, plan.experts.tokens, row):
            sft = sft - logprob
    rows = plan.rollouts.rows
    for row in range(4):
        for _, logprob, _ in row_tokens(module.policy, rows.tokens, row):
            rl = rl - rows.advantages[row] * logprob
    loss = sft / count(plan.experts.tokens) + rl / count(rows.tokens)
    hand = loss_gradient(module.policy, loss)
    assert hand.norm() > 1e-3
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)


def test_a_group_that_the_gate_imitates_has_no_share_of_rl_also_if_kept(
    small_config: Build,
) -> None:
    # gamma .5: b and e, half right, are imitated too.
    module = module_of(small_config(*GATED, "gate=solve_rate", "gate.gamma=.5"))
    drawing(module, ["ab", "cd", "ef"], "be")
    plan = module.plan(0)
    assert plan.experts is not None
    assert plan.experts.share is not None
    assert plan.experts.share.tolist() == [1] * 6
    assert plan.rollouts is not None
    assert plan.rollouts.rows.share is not None
    assert plan.rollouts.rows.share.tolist() == [0] * 4


def graded_as(module: ChordModule, of: Callable[[int, int], Grade]) -> None:
    """Answers are graded by problem, 0 for a, and by how many of its answers came before."""
    keys = [pair.problem.key for pair in module.data.expert_pairs[:6]]
    seen: dict[int, int] = {}

    def graded(problems: Any, *given: Any) -> list[Grade]:
        grades = []
        for problem in problems:
            number = keys.index(problem.key)
            grades.append(of(number, seen.setdefault(number, 0)))
            seen[number] += 1
        return grades

    module.config.reward.judged = graded  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("shaped", "kl", "kept", "rounds"),
    [
        # e alone has right and wrong answers. Nothing else has a signal.
        ("", False, "e", 3),
        # a and d have equal scores and different rewards: the first of them takes the place left.
        ("ad", False, "ea", 3),
        ("d", False, "ed", 3),
        # With a KL in the reward every group has a signal.
        ("d", True, "ea", 3),
    ],
)
def test_scores_fill_the_batch_and_other_signals_the_places_left(
    small_config: Build, shaped: str, kl: bool, kept: str, rounds: int
) -> None:
    settings = ["objective.kl.where=reward", "objective.kl.coef=.1"] if kl else []
    module = module_of(small_config(*GATED, *settings))
    drawing(module, ["ab", "cd", "ef"], "")
    graded_as(
        module,
        lambda problem, number: Grade(
            float(problem == 4 and number == 1),
            float(problem == 4 and number == 1) + ("abcdef"[problem] in shaped) * 0.2 * number,
        ),
    )
    rollouts = module.collect(0)
    assert names(module, rollouts) == kept
    assert rollouts.rounds == rounds
    assert len(rollouts.observed.problems) == 6


def test_dropped_groups_keep_their_place_among_the_advantages(small_config: Build) -> None:
    # gac reads one advantage for each own answer to all problems: dropped groups have 0. For two
    # answers, right and wrong, +-.5 / (sqrt(.5) + 1e-6).
    module = module_of(small_config(*PAIRED, "schedule=gac", "objective.resample=2"))
    drawing(module, ["ab", "cd", "ef"], "be")
    rollouts = module.collect(0)
    value = 0.5 / (0.5**0.5 + 1e-6)
    wanted = torch.zeros(6, 2, dtype=torch.float64)
    wanted[1] = wanted[4] = torch.tensor([-value, value], dtype=torch.float64)
    torch.testing.assert_close(rollouts.observed.advantages.abs(), wanted.abs(), atol=1e-12, rtol=0)
    module.observe(0, rollouts)
    # Six problems of two answers, of which four have the square of `value`.
    variance = 4 * value**2 / 12
    assert module.schedule_state["advantage_variance"] == pytest.approx(variance, abs=1e-12)


@pytest.mark.parametrize(
    ("prefix", "own"), [("uniform", 3), ("uniform rollout.prefix_samples=2", 2), ("staged", 1)]
)
def test_of_a_group_with_prefixes_the_answers_before_them_are_observed(
    small_config: Build, prefix: str, own: int
) -> None:
    module = module_of(small_config(*PAIRED, *GROUP, *f"rollout.prefix={prefix}".split()))
    alone = module_of(small_config(*PAIRED, *GROUP)).collect(0).observed
    # All answers that an expert began are right, the policy's own are not.
    grades = [Grade(0.0, 0.0)] * own + [Grade(1.0, 1.0)] * 4
    seen: dict[int, int] = {}

    def helped(problems: Any, *given: Any) -> list[Grade]:
        found = []
        for problem in problems:
            found.append(grades[seen.setdefault(problem.key, 0)])
            seen[problem.key] += 1
        return found

    module.config.reward.judged = helped  # type: ignore[method-assign]
    rollouts = module.collect(0)
    assert rollouts.observed.scores.tolist() == [[0] * own] * 2
    assert torch.equal(rollouts.observed.lengths, alone.lengths[:, :own])
    metrics = rollouts.metrics()
    assert metrics["rollout/reward"] == 0
    assert metrics["rollout/all_wrong"] == 1
    assert metrics["trained/reward"] == (4 - own) / 4
    assert metrics["rollout/length"] == float(alone.lengths[:, :own].double().mean())


def test_where_all_answers_have_a_prefix_others_are_asked_for_only_if_someone_reads_them(
    small_config: Build,
) -> None:
    uft = ("rollout.prefix=binomial", *PAIRED, *GROUP)
    alone = module_of(small_config(*PAIRED, *GROUP)).collect(0)
    rewards = []
    for reader in ("schedule=reward_gap", "gate=solve_rate"):
        module = module_of(small_config(*uft, reader))
        asked: list[int] = []
        sample = module.collect.engine.sample

        def counted(*args: Any, sample: Any = sample, asked: Any = asked, **kwargs: Any) -> Any:
            asked.append(len(args[1]))
            return sample(*args, **kwargs)

        module.collect.engine.sample = counted  # type: ignore[method-assign]
        rollouts = module.collect(0)
        assert asked == [2, 2]
        # They are those that the policy gives without prefixes.
        torch.testing.assert_close(rollouts.observed.entropies, alone.observed.entropies)
        assert torch.equal(rollouts.observed.lengths, alone.observed.lengths)
        rewards.append(rollouts.observed.rewards)
    assert torch.equal(*rewards)
    # Nobody reads them: nothing is sampled for it, and nothing is said about the policy.
    rollouts = module_of(small_config(*uft)).collect(0)
    assert not rollouts.observed.problems
    metrics = rollouts.metrics()
    assert set(metrics) == {"rollout/problems", *(f"trained/{name}" for name in TRAINED)}
    assert metrics["rollout/problems"] == 0
    # Past the prefixes all answers are the policy's own.
    rollouts = module_of(small_config(*uft, "rollout.prefix_until=0")).collect(0)
    assert torch.equal(rollouts.observed.lengths, alone.observed.lengths)
    assert rollouts.metrics()["rollout/problems"] == 2


@pytest.mark.parametrize("resample", [0, 2])
def test_the_entropy_is_that_of_all_own_answers_at_temperature_one(
    small_config: Build, resample: int
) -> None:
    module = module_of(
        small_config(*PAIRED, "rollout.temperature=.7", f"objective.resample={resample}")
    )
    drawing(module, ["ab", "cd", "ef"], "be")
    metrics = module.collect(0).metrics()
    groups = [group for redraw in range(resample + 1) for group in module.collect.round(0, redraw)]
    values: list[float] = []
    for group in groups:
        for answer in group.answers:
            ids = torch.tensor([[*group.prompt, *answer.sampled]])
            logprobs = module.policy(ids)[0, len(group.prompt) - 1 : -1].log_softmax(-1)
            values += (-(logprobs.exp() * logprobs).sum(-1)).tolist()
    assert len(groups) == 2 + 2 * resample
    assert metrics["rollout/entropy"] == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_examples_say_what_the_expert_gave_and_what_was_passed_over(small_config: Build) -> None:
    module = module_of(small_config(*GATED, *GROUP, "rollout.expert_in_group=1"))
    drawing(module, ["ab", "cd", "ef"], "be")
    shown = module.collect(0).completions(8)
    assert [row["problem"] for row in shown] == [
        pair.problem.prompt for pair in module.data.expert_pairs[:2] for _ in range(4)
    ]
    # a has no signal; of b the last answer is the expert's.
    assert [row["advantage"] is None for row in shown] == [True] * 4 + [False] * 4
    assert [bool(row["given"]) for row in shown] == [False, False, False, True] * 2
    assert all(row["given"] == row["response"] for row in shown if row["given"])
    prefixed = module_of(small_config(*PAIRED, *GROUP, "rollout.prefix=uniform"))
    for row in prefixed.collect(0).completions(8)[3::4]:
        assert row["given"]
        assert row["response"].startswith(row["given"])


@pytest.mark.parametrize(
    "settings",
    [
        f"{' '.join(GATED)} gate=all_wrong_buffer objective.kl.coef=.1 objective.kl.where=reward",
        pytest.param(
            f"{' '.join(PAIRED)} gate=solve_rate schedule=rl_only rollout.prefix=binomial",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"{' '.join(PAIRED)} schedule=gac objective.resample=2 rollout.prefix=uniform",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_ranks_observe_what_one_process_does(
    small_config: Build, tmp_path: Path, settings: str
) -> None:
    # Three problems a round on two ranks: two and one.
    def numbers() -> Tensor:
        module = module_of(small_config(*settings.split(), "rollout.problems=3"))
        drawing(module, ["abc", "dea", "bca"], "d", size=3)
        plan = module.plan(0)
        assert plan.rollouts is not None
        metrics = {**plan.rollouts.metrics(), **plan.metrics, **module.schedule_state}
        values = [metrics[name] for name in sorted(metrics)]
        return torch.tensor([*values, *module.gate_state, plan.alpha], dtype=torch.float64)

    alone = numbers()
    (found,) = on_two_ranks(tmp_path, lambda rank: [numbers()])
    torch.testing.assert_close(found, alone, atol=1e-9, rtol=0)
