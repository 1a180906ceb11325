"""Losses without an importance ratio are for samples of the policy as it is, and no others."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from vectors import f64

from chord.config.consistency import check_training, stale_samples
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig
from chord.losses.targets import Jsd, ReverseKl, Target
from chord.schedules import Linear, State

Build = Callable[..., TrainConfig]
# Two tokens. The policy that sampled had p = 1/2 for the first, the one that learns has .55; a
# ratio of 1.1 or .9 is inside every clip. Of the logit theta, p = sigmoid(theta).
OLD, NEW = 0.5, 0.55


def aged(loss: Callable[[Tensor, int], Tensor]) -> float:
    """The expected gradient with respect to theta of `loss(theta, token)`, tokens from OLD."""
    theta = f64([NEW]).logit().requires_grad_()
    expected = sum(p * loss(theta, token).sum() for token, p in enumerate((OLD, 1 - OLD)))
    assert isinstance(expected, Tensor)
    (gradient,) = torch.autograd.grad(expected, theta)
    return float(gradient)


def logprobs(theta: Tensor) -> Tensor:
    """log p of both tokens, (1, 2)."""
    return torch.stack([theta, -theta], dim=-1).sigmoid().log()


@pytest.mark.parametrize("name", SCHEMAS["objective"])
def test_an_objective_without_a_ratio_says_so(name: str) -> None:
    # A = 1 for the first token: J = p, dJ/dtheta = p (1 - p) = .55 * .45. Without the ratio
    # .55 / .5 it is .5 * .45.
    kind = SCHEMAS["objective"][name]
    fields = {item.name for item in dataclasses.fields(kind)}
    wide = {clip: 0.2 for clip in ("clip_low", "clip_high") if clip in fields}
    objective = kind(**wide)

    def loss(theta: Tensor, token: int) -> Tensor:
        chosen, old = logprobs(theta)[:, [token]], f64([[OLD]]).log()
        mask = torch.ones(1, 1, dtype=torch.bool)
        found, _ = objective.token_losses(chosen, old, f64([1.0 - token]), mask)
        assert isinstance(found, Tensor)
        return found

    expected = 0.5 * 0.45 if kind.on_policy else 0.55 * 0.45
    assert aged(loss) == pytest.approx(-expected, abs=1e-12)


@pytest.mark.parametrize("target", [ReverseKl(), ReverseKl(estimator="exact"), Jsd(own=1.0)])
def test_a_target_without_a_ratio_says_so(target: Target) -> None:
    teacher = target.read(f64([[0.75, 0.25]]).log())

    def loss(theta: Tensor, token: int) -> Tensor:
        both = logprobs(theta)
        return target.token_losses(both, both[:, token], torch.tensor([token]), teacher)

    # One that is exact at each token has the same gradient whichever token stands there.
    theta = f64([NEW]).logit().requires_grad_()
    by_token = [float(torch.autograd.grad(loss(theta, t).sum(), theta)[0]) for t in (0, 1)]
    assert (by_token[0] != pytest.approx(by_token[1], abs=1e-6)) == target.on_policy
    if target.on_policy:
        # d KL(P || Q) / dtheta = p (1 - p) (ln(p / q) - ln((1 - p) / (1 - q))); of samples from
        # OLD instead (1 - p) ln(p / q) / 2 - p ln((1 - p) / (1 - q)) / 2.
        up, down = torch.log(f64([NEW / 0.75, (1 - NEW) / 0.25])).tolist()
        assert aged(loss) == pytest.approx(0.5 * (0.45 * up - 0.55 * down), abs=1e-12)
        assert aged(loss) != pytest.approx(0.55 * 0.45 * (up - down), abs=1e-3)


OWN = "target=reverse_kl rollout.updates=2"
SECOND = "target=reverse_kl optimizer@sft_optimizer=adamw"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("rollout.updates=2 objective=reinforce", "rollout.updates=2: objective=reinforce has no"),
        ("rollout.updates=3 objective=rloo", "rollout.updates=3: objective=reinforce has no"),
        ("rollout.updates=2 objective=unified", "use objective=grpo or objective=cispo"),
        ("rollout.updates=2 experiment=srft", "with the same advantage, or rollout.updates=1"),
        (
            "rollout.updates=2 objective=rloo gate=solve_rate data=testbed_paired schedule=rl_only",
            "rollout.updates=2: objective=reinforce has no",
        ),
        (
            "rollout.updates=2 objective=rloo schedule=sft_only mix=additive",
            "rollout.updates=2: objective=reinforce has no",
        ),
        (OWN, "rollout.updates=2: target.estimator=sampled has no"),
        (f"{OWN} schedule=sft_only", "use target.estimator=exact or rollout.updates=1"),
        (SECOND, "optimizer@sft_optimizer=adamw: its step comes after RL's"),
        (
            f"{SECOND} schedule=gradient_ratio schedule.draw=false",
            "use target.estimator=exact or optimizer@sft_optimizer",
        ),
        (f"{SECOND} schedule=reward_gap", "use target.estimator=exact or optimizer@sft_optimizer"),
    ],
)
def test_what_would_be_biased_is_refused_before_training(
    small_config: Build, settings: str, message: str
) -> None:
    config = small_config(*settings.split())
    with pytest.raises(ValueError, match=r"^\S+=\S+: ") as caught:
        check_training(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    # A run that is there already goes on.
    resumed = dataclasses.replace(config, resume="outputs/run")
    with pytest.warns(UserWarning, match="would be biased"):
        check_training(resumed)


@pytest.mark.parametrize(
    "settings",
    [
        *(f"rollout.updates=2 objective={name}" for name in ("grpo", "dapo", "gspo", "cispo")),
        "rollout.updates=2 objective=reinforce++",
        "rollout.updates=2 advantage=rloo objective.kl.coef=.1 objective.kl.estimator=k3",
        "objective=rloo",
        "rollout.updates=2 objective=rloo schedule=sft_only",
        "rollout.updates=2 target=reverse_kl target.estimator=exact",
        "rollout.updates=2 target=jsd",
        "rollout.updates=2 target=reverse_kl schedule=rl_only",
        f"{SECOND} target.estimator=exact",
        # One branch a step: nothing has moved in between.
        f"{SECOND} schedule=periodic",
        f"{SECOND} schedule=sft_only",
        f"{SECOND} schedule=gradient_ratio",
        # The warm-up is all of the run, and of imitation alone.
        f"{SECOND} schedule=gradient_ratio schedule.draw=false schedule.warmup=500",
        f"{SECOND} schedule=entropy schedule.low=1 schedule.high=1 schedule.initial=1",
    ],
)
def test_what_is_not_biased_is_not_refused(small_config: Build, settings: str) -> None:
    config = small_config(*settings.split())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_training(config)
    assert stale_samples(config) is None


def test_a_sweep_over_updates_checks_each_of_them(small_config: Build) -> None:
    from chord.sweep.beforehand import _looked_at

    one, two = (small_config("objective=rloo", f"rollout.updates={n}") for n in (1, 2))
    assert _looked_at(one) != _looked_at(two)


@pytest.mark.parametrize("settings", ["rollout.updates=2 objective=rloo", OWN, SECOND, "seed=0"])
def test_of_a_long_run_no_more_steps_are_looked_at_than_it_takes(
    small_config: Build, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    seen: list[int] = []
    original = Linear.__call__

    def alpha(self: Linear, step: int, state: State | None = None) -> float:
        seen.append(step)
        assert len(seen) < 100, "the schedule is looked at step by step"
        return original(self, step, state)

    monkeypatch.setattr(Linear, "__call__", alpha)
    config = small_config("steps=10000000", "schedule=linear", *settings.split())
    assert (stale_samples(config) is None) == (settings == "seed=0")
    # So it is where all steps are alike.
    constant = small_config("steps=10000000", "schedule=rl_only", *settings.split())
    assert list(constant.schedule.values(constant.steps)) == [0.0]
