"""Every preset of a published method has that method's values, and names the options that say so.

What is left to the defaults are the test bed's sizes: problems, group, lengths, learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from chord.config.location import CONF_DIR
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.losses import Grpo, Objective, Reinforce
from chord.losses.advantages import Advantage, SrftAdvantage
from chord.losses.targets import ReverseKl, Target, Tokens
from chord.schedules import Constant, Gac, Periodic, Phase, RewardGap, Schedule, Step, WarmupDecay
from chord.schedules.gates import AllWrongBuffer, Gate, NoGate, SolveRate
from chord.schedules.mixes import Additive, Convex, Mix
from chord.weightings import (
    Importance,
    Luffy,
    Phi,
    RlPlus,
    Srft,
    TopEntropy,
    TrustRegion,
    Uniform,
    Weighting,
)

NO_METHODS = {"smoke", "smollm2"}
PRESETS = sorted({path.stem for path in (CONF_DIR / "experiment").glob("*.yaml")} - NO_METHODS)

GRPO = Grpo(aggregation="token", clip_low=0.2, clip_high=0.2)
DR_GRPO = Grpo(aggregation="constant", clip_low=0.2, clip_high=0.2)
BY_STD = Advantage(baseline="group", scale="group")
NO_STD = Advantage(baseline="group", scale="none")
WITH_EXPERT = Advantage(baseline="all", scale="none")
NO_PREFIX = {"expert_in_group": 0, "prefix": "none"}
ONE_EXPERT = {"expert_in_group": 1, "prefix": "none", "off_policy_loss": "advantage"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method's values as its paper or code has them; None where it does not come to that."""

    schedule: Schedule
    weighting: Weighting | None = None
    off_policy: Weighting | None = None
    objective: Objective | None = field(default_factory=lambda: GRPO)
    advantage: Advantage | None = field(default_factory=lambda: BY_STD)
    gate: Gate = field(default_factory=NoGate)
    mix: Mix = field(default_factory=Convex)
    target: Target = field(default_factory=Tokens)
    rollout: dict[str, Any] = field(default_factory=lambda: NO_PREFIX)


STEPS = 120
RL_ONLY = Constant(value=0.0)
SFT_ONLY = Constant(value=1.0)
CHORD_MU = WarmupDecay(peak=0.9, valley=0.05, warmup=0, decay=2 / 15, total_steps=STEPS)
GAC = Gac(
    balance=0.5,
    ema=0.99,
    cap=0.01,
    every=10,
    blend=0.5,
    trim=0.1,
    peak=0.85,
    valley=0.15,
    warmup=0.2,
    decay=0.8,
    low=0.05,
    high=0.9,
    total_steps=STEPS,
)
RL_LED: dict[str, Any] = {"schedule": RL_ONLY, "objective": DR_GRPO, "advantage": NO_STD}


def then_rl(switch_step: float, *, sft_factor: float = 1.0) -> Step:
    """SFT, then RL as a run of its own."""
    phase = Phase(lr=None, sft_factor=sft_factor, reset_optimizer=True)
    return Step(switch_step=switch_step, total_steps=STEPS, phase=phase)


METHODS = {
    # CHORD (2508.11408), equations 2, 3 and 6; section 4.3; appendices B.1 and B.7.
    "chord_mu": Method(schedule=CHORD_MU, weighting=Uniform()),
    "chord_phi": Method(schedule=Constant(value=0.1), weighting=Phi()),
    "chord_both": Method(schedule=CHORD_MU, weighting=Phi()),
    "chord_adaptive": Method(schedule=RewardGap(tau=0.5, ema=0.0), weighting=Uniform()),
    # GAC (2605.26184): its values, the prior's lengths as shares of the run.
    "gac": Method(schedule=GAC, weighting=Phi()),
    "sft": Method(schedule=SFT_ONLY, weighting=Uniform(), objective=None, advantage=None),
    "rl": Method(schedule=RL_ONLY),
    "sft_then_rl": Method(schedule=then_rl(0.25, sft_factor=3.0), weighting=Uniform()),
    "interleaved": Method(schedule=Periodic(period=4), weighting=Uniform()),
    # DFT (2508.05629), equation 7: the token's probability.
    "dft_then_rl": Method(schedule=then_rl(0.5), weighting=Importance()),
    # LUFFY (2504.14945): gradient -A p / (p + .1), no std; RL-PLUS (2508.00222).
    "luffy": Method(
        **(RL_LED | {"advantage": WITH_EXPERT}), off_policy=Luffy(gamma=0.1), rollout=ONE_EXPERT
    ),
    "rl_plus": Method(
        **(RL_LED | {"advantage": WITH_EXPERT}), off_policy=RlPlus(), rollout=ONE_EXPERT
    ),
    # SRFT (2506.19767): .5 e^-H NLL, equation 8; .1 e^H and -1, equation 12.
    "srft": Method(
        schedule=SFT_ONLY,
        weighting=Srft(sign=-1, level="sequence"),
        off_policy=Luffy(gamma=0.1),
        objective=Reinforce(aggregation="token"),
        advantage=SrftAdvantage(baseline="all", scale="none", coef=0.1),
        mix=Additive(coef=0.5),
        rollout=ONE_EXPERT,
    ),
    # HPT (2509.04419): plain SFT where no rollout is right. ReLIFT (2506.07527): plain SFT of what
    # waited; 32 problems here.
    "hpt": Method(**RL_LED, weighting=Uniform(), gate=SolveRate(gamma=0.0, soft=False)),
    "relift": Method(**RL_LED, weighting=Uniform(), gate=AllWrongBuffer(size=32)),
    # UFT (2505.16984, code at ad3c8ec): .001 times the mean NLL of the prefix, of weight 1; .95 to
    # .05 over 300 of 500 steps.
    "uft": Method(
        schedule=RL_ONLY,
        off_policy=Uniform(),
        rollout={
            "expert_in_group": 0,
            "prefix": "binomial",
            "prefix_initial": 0.95,
            "prefix_final": 0.05,
            "prefix_until": 0.6,
            "prefix_coef": 0.001,
            "off_policy_loss": "nll",
        },
    ),
    # Prefix-RFT (2507.01679): the fifth of highest entropy keeps A, one answer of eight.
    "prefix_rft": Method(
        **RL_LED,
        off_policy=TopEntropy(rho=0.2),
        rollout={
            "expert_in_group": 0,
            "prefix": "uniform",
            "prefix_initial": 0.95,
            "prefix_final": 0.05,
            "prefix_until": 0.999,
            "prefix_samples": 1,
            "group_size": 8,
            "off_policy_loss": "advantage",
        },
    ),
    # TRAPO (2512.17636): TrSFT, min(1, p / .1), groups of 4, 2, 1, 1.
    "trapo": Method(
        **RL_LED,
        off_policy=TrustRegion(a=0.1),
        rollout={
            "expert_in_group": 0,
            "prefix": "staged",
            "prefix_coef": 1.0,
            "group_size": 8,
            "off_policy_loss": "nll",
        },
    ),
    "on_policy_distillation": Method(
        schedule=SFT_ONLY,
        weighting=Uniform(),
        objective=None,
        advantage=None,
        target=ReverseKl(estimator="sampled", temperature=1.0),
    ),
}


@cache
def parsed(*overrides: str) -> TrainConfig:
    return parse(compose_config(*overrides), TrainConfig)


def named(preset: str) -> set[str]:
    """The groups that a preset's file selects an option of."""
    text = OmegaConf.load(CONF_DIR / "experiment" / f"{preset}.yaml")
    lines = OmegaConf.to_container(text)["defaults"]  # type: ignore[index,call-overload]
    return {key.removeprefix("override /") for line in lines for key in line}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_values_of_its_paper(preset: str) -> None:
    method, config = METHODS[preset], parsed(f"experiment={preset}")
    assert config.schedule == method.schedule
    for group in ("weighting", "off_policy", "objective", "advantage", "gate", "mix", "target"):
        expected = getattr(method, group)
        if expected is not None:
            assert getattr(config, group) == expected, group
    for name, value in method.rollout.items():
        assert getattr(config.rollout, name) == value, f"rollout.{name}"
    # One update on answers of the policy itself, as all of them have it here.
    rollout = config.rollout
    assert (rollout.temperature, rollout.top_p, rollout.top_k, rollout.updates) == (1, 1, 0, 1)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_every_choice_that_its_loss_reads(preset: str) -> None:
    # What is a method's own must not come from a default that is another method's.
    method, names = METHODS[preset], named(preset)
    reads = {"schedule"}
    if method.weighting is not None:
        reads.add("weighting")
    if method.objective is not None:
        reads.add("objective")
    if parsed(f"experiment={preset}").rollout.needs_expert_answers:
        assert method.off_policy is not None
        reads.add("weighting@off_policy")
    assert reads <= names


@pytest.mark.parametrize(
    ("option", "weighting"),
    [
        ("uft", Uniform()),
        ("prefix_rft", TopEntropy(rho=0.2)),
        ("trapo", TrustRegion(a=0.1)),
        ("expert_in_group", Luffy(gamma=0.1)),
    ],
)
def test_a_rollout_named_after_a_method_brings_its_weights(
    option: str, weighting: Weighting
) -> None:
    assert parsed(f"rollout={option}", "data=testbed_paired").off_policy == weighting
    # What is asked for by name comes before it, in a preset and on the command line.
    given = parsed(f"rollout={option}", "data=testbed_paired", "weighting@off_policy=phi")
    assert given.off_policy == Phi()
    assert parsed("experiment=rl_plus", f"rollout={option}").off_policy == RlPlus()


def test_a_preset_of_ones_own_overrides_what_the_inner_one_names(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n# mine\ndefaults:\n  - uft\n"
        "  - override /weighting@off_policy: phi\n  - override /objective: dapo\n"
    )
    config = parsed(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert config.off_policy == Phi()
    assert config.objective.resample == 3
    assert config.rollout.prefix == "binomial"


@pytest.mark.parametrize("preset", [*PRESETS, *sorted(NO_METHODS)])
def test_no_preset_sets_the_threads_of_a_machine(preset: str) -> None:
    text = (CONF_DIR / "experiment" / f"{preset}.yaml").read_text()
    assert "threads" not in OmegaConf.create(text)
