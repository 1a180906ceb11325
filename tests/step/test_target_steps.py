"""Targets within a step: cached or asked, weighted, on own samples or the expert's responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import small_composed
from steps import PAIRED, count, loss_gradient, module_of, plan_gradient, row_tokens, score_as
from torch import Tensor

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.data.batch import TokenBatch, collate_pairs
from chord.errors import ConfigError
from chord.models.storage import load_policy
from chord.models.teacher_cache import write_cache
from chord.run.build import build_data
from chord.run.directory import RunDirectory
from chord.run.training import train
from chord.step.metrics import branch_metrics
from chord.step.module import ChordModule
from chord.step.plan import Plan
from chord.step.rows import ExpertRows

Build = Callable[..., TrainConfig]
SFT = ("trainer.precision=64-true", "schedule=sft_only", "data.expert_pairs=7")


@pytest.fixture
def cache(small_models: Path, tmp_path: Path, small_config: Build) -> Callable[[int], str]:
    """`cache(k)`: a file with the teacher's k likeliest tokens on the pairs of `SFT`."""

    def write(k: int) -> str:
        path = tmp_path / f"{k}.safetensors"
        data = build_data(small_config(*SFT))
        teacher = load_policy(small_models / "teacher.safetensors").eval()
        tokens = collate_pairs(data.expert_pairs, data.tokenizer)
        write_cache(path, teacher, [tokens], k=k)
        return str(path)

    return write


def experts_of(plan: Plan) -> ExpertRows:
    assert plan.experts is not None
    return plan.experts


def teacher_of(small_models: Path) -> torch.nn.Module:
    return load_policy(small_models / "teacher.safetensors").double().requires_grad_(False).eval()


def by_both(
    policy: torch.nn.Module, teacher: torch.nn.Module, tokens: TokenBatch
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of each response token: log p by the policy and the teacher, and both distributions (V,)."""
    for row in range(len(tokens.mask)):
        pairs = zip(row_tokens(policy, tokens, row), row_tokens(teacher, tokens, row), strict=True)
        for (_, own, student), (_, of_teacher, expert) in pairs:
            yield own, of_teacher, student, expert


def phi_gradient(
    module: ChordModule,
    plan: Plan,
    teacher: torch.nn.Module,
    divergence: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The gradient of w divergence(log Q, log P) / N, of teacher and policy, term by term.

    w = p (1 - p) of the token that stands there, held constant.
    """
    tokens = experts_of(plan).tokens
    assert len(tokens.mask) == 3
    total = torch.zeros((), dtype=torch.float64)
    for logprob, _, student, expert in by_both(module.policy, teacher, tokens):
        weight = logprob.detach().exp() * (1 - logprob.detach().exp())
        total = total + weight * divergence(expert, student)
    return loss_gradient(module.policy, total / count(tokens))


@pytest.mark.parametrize("micro_batch", [0, 1, 2])
@pytest.mark.parametrize("weighting", ["uniform", "phi weighting.normalize=mean1"])
def test_a_cache_of_the_whole_vocabulary_is_the_teacher(
    small_config: Build, cache: Callable[[int], str], micro_batch: int, weighting: str
) -> None:
    # The file holds float32: equal up to its rounding.
    settings = (*SFT, "target=soft", *f"weighting={weighting}".split())
    online = module_of(small_config(*settings))
    stored = module_of(
        small_config(
            *settings,
            f"target.cache={cache(1000)}",
            f"trainer.micro_batch={micro_batch}",
            "teacher=none",
        )
    )
    assert stored.models.teacher is None
    expected = plan_gradient(online, online.plan(1))
    assert expected.norm() > 1e-2
    torch.testing.assert_close(plan_gradient(stored, stored.plan(1)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 3])
def test_a_truncated_cache_compares_the_likeliest_tokens_and_the_rest(
    small_config: Build, small_models: Path, cache: Callable[[int], str], k: int
) -> None:
    # Each token adds w sum_i Q_i (log Q_i - log P_i) over the k likeliest of the teacher's and the
    # sum of all others.
    def of_the_likeliest(expert: Tensor, student: Tensor) -> Tensor:
        p, q = student.exp(), expert.exp()
        kept = q.argsort(descending=True)[:k].tolist()
        events = [(q[i], p[i]) for i in kept]
        events.append((1 - sum(q[i] for i in kept), 1 - sum(p[i] for i in kept)))
        return sum(a * (a.log() - b.log()) for a, b in events)

    module = module_of(
        small_config(*SFT, "target=soft", f"target.cache={cache(k)}", "weighting=phi")
    )
    plan = module.plan(0)
    hand = phi_gradient(module, plan, teacher_of(small_models), of_the_likeliest)
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-6, rtol=0)


def test_weights_scale_the_divergence(small_config: Build, small_models: Path) -> None:
    def kl(expert: Tensor, student: Tensor) -> Tensor:
        return (expert.exp() * (expert - student)).sum()

    module = module_of(small_config(*SFT, "target=soft", "weighting=phi"))
    plan = module.plan(0)
    hand = phi_gradient(module, plan, teacher_of(small_models), kl)
    assert hand.norm() > 1e-4
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("extra", ["", "rollout.expert_in_group=1"])
def test_on_policy_distillation_samples_and_takes_no_rl_step(
    small_config: Build, small_models: Path, estimator: str, extra: str
) -> None:
    # What an expert put into the groups is nothing the policy sampled: it is not imitated.
    module = module_of(
        small_config(
            *PAIRED,
            "schedule=sft_only",
            "target=reverse_kl",
            f"target.estimator={estimator}",
            *extra.split(),
        )
    )
    plan, teacher = module.plan(0), teacher_of(small_models)
    assert plan.shares == (1.0, 0.0)
    assert plan.rollouts is not None
    tokens = experts_of(plan).tokens
    assert torch.equal(tokens.mask, plan.rollouts.rows.own().tokens.mask)
    total = torch.zeros((), dtype=torch.float64)
    assert len(tokens.mask) == 4
    for own, of_teacher, student, expert in by_both(module.policy, teacher, tokens):
        if estimator == "exact":
            total = total + (student.exp() * (student - expert)).sum()
        else:
            total = total - (of_teacher - own.detach()) * own
    hand = loss_gradient(module.policy, total / count(tokens))
    torch.testing.assert_close(plan_gradient(module, plan), hand, atol=1e-12, rtol=0)
    sft, rl = module.add_gradients(0, plan)
    assert rl is None
    metrics = branch_metrics(plan.shares, sft, rl, own=plan.own)
    assert "loss/rl" not in metrics
    # The policy's own samples say nothing about the expert's tokens.
    assert {"own/nll", "own/mean_p"} < set(metrics)
    assert "expert/nll" not in metrics


def test_jsd_alternates_between_own_samples_and_the_experts(small_config: Build) -> None:
    module = module_of(small_config(*SFT, "target=jsd", "seed=3", "steps=20"))
    kinds = []
    for step in range(20):
        plan = module.plan(step)
        tokens = experts_of(plan).tokens
        own = plan.own
        assert own == (plan.rollouts is not None)
        other = plan.rollouts.rows if plan.rollouts is not None else module.imitation.stream(step)
        assert torch.equal(tokens.input_ids, other.tokens.input_ids)
        kinds.append(own)
    assert kinds == [module.config.target.on_own_samples(3, step) for step in range(20)]
    assert 0 < sum(kinds) < 20


@pytest.mark.parametrize(
    "target", ["soft", "reverse_kl", "reverse_kl target.estimator=exact", "jsd target.own=1", "jsd"]
)
def test_micro_batches_leave_the_gradient_of_a_target_alone(
    small_config: Build, target: str
) -> None:
    settings = (
        "trainer.precision=64-true",
        "schedule=constant",
        "schedule.value=.4",
        "weighting=phi",
        "weighting.normalize=mean1",
        *f"target={target}".split(),
    )
    found: list[Tensor] = []
    for size in (0, 1, 3):
        module: ChordModule = module_of(small_config(*settings, f"trainer.micro_batch={size}"))
        score_as(module, lambda step: [[1, 0], [0, 0]])
        found.append(plan_gradient(module, module.plan(0)))
    for cut in found[1:]:
        torch.testing.assert_close(cut, found[0], atol=1e-10, rtol=0)


def test_rows_of_a_gate_are_found_in_the_cache(
    small_config: Build, cache: Callable[[int], str]
) -> None:
    common = (*SFT, "data.pairing=paired", "schedule=rl_only", "gate=solve_rate", "target=soft")
    online, stored = (
        module_of(small_config(*common, *more)) for more in ([], [f"target.cache={cache(1000)}"])
    )
    expected = plan_gradient(online, online.plan(0))
    assert expected.norm() > 1e-2
    torch.testing.assert_close(plan_gradient(stored, stored.plan(0)), expected, atol=1e-6, rtol=0)
    # A rank without a row to imitate reads nothing from it.
    empty = stored.imitation.of([])
    assert empty.teacher is not None
    assert replace(empty).tokens.mask.shape[0] == 0


@pytest.mark.parametrize("problem", ["missing", "other pairs", "not a cache"])
def test_a_wrong_cache_is_refused_before_any_step(
    small_models: Path, tmp_path: Path, cache: Callable[[int], str], problem: str
) -> None:
    path = {
        "missing": tmp_path / "none",
        "other pairs": Path(cache(2)),
        "not a cache": small_models / "teacher.safetensors",
    }[problem]
    composed = small_composed(
        small_models, "schedule=sft_only", "target=soft", f"target.cache={path}"
    )
    config = parse(composed, TrainConfig)
    with pytest.raises(ConfigError, match=rf"^target\.cache={path}: ") as error:
        train(config, RunDirectory(tmp_path / "run", composed, "test", []))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
