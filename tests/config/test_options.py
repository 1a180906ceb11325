"""Every option of every group, and every preset, takes its steps on a small model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SIGNAL
from pairs.factors import schema_of
from rows.needs import ELSEWHERE, PAIRED, placed, with_needs
from steps import metrics_of

from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS
from chord.config.root import TrainConfig

FUNCTION = "reward=function reward.function=scorers:"
OPTIONS = [
    with_needs(f"{group}={path.stem}")
    for group in (*SCHEMAS, "experiment")
    for path in sorted((CONF_DIR / group).glob("*.yaml"))
    if f"{group}={path.stem}" not in ELSEWHERE
]
# Settings that no option has as its default, in both branches.
VARIANTS = [
    "weighting.normalize=mean1",
    "weighting.apply_to=both",
    "weighting=adaptive weighting.expert=one_hot teacher=none",
    "weighting=margin weighting.expert=one_hot teacher=none",
    "weighting=importance_clip weighting.above=cap",
    "weighting=threshold weighting.side=below",
    "weighting=srft weighting.sign=1 weighting.level=token",
    "weighting=iw weighting.level=sequence",
    "weighting=iw weighting.apply_to=both",
    "weighting=top_k_entropy weighting.apply_to=both",
    "weighting=top_entropy weighting.apply_to=both trainer.micro_batch=1",
    "objective.aggregation=sequence",
    "objective.aggregation=constant",
    "objective.dual_clip=3",
    "objective.delta=4",
    "objective.entropy_coef=.01",
    "objective.overlong=mask",
    "objective.kl.coef=.1",
    "objective.kl.coef=.1 objective.kl.estimator=k3",
    "objective.kl.coef=.1 objective.kl.estimator=exact",
    "objective.kl.coef=.1 objective.kl.to=teacher",
    "objective.kl.coef=.1 objective.kl.where=reward objective.kl.estimator=k1",
    "objective.kl.coef=.1 objective.kl.where=reward objective.kl.estimator=exact",
    "data.manner=tens_first",
    "data.manner=direct",
    "advantage.baseline=none advantage.scale=batch",
    "advantage.baseline=rloo advantage.scale=whiten",
    "rollout.updates=2",
    "rollout.temperature=.7",
    "rollout.correct_native=true rollout.correction_threshold=0",
    "data.pairing=paired",
    "reward.format_coef=.1",
    "reward=weighted +reward@reward.parts.brief=length +reward.weights.brief=.5",
    f"{FUNCTION}trl_lengths reward.signature=trl reward.right_from=2",
    f"{FUNCTION}compute_score reward.signature=verl reward.right_from=0",
    "optimizer.decay=cosine",
    "optimizer.warmup=0",
    "trainer.precision=64-true",
    "trainer.micro_batch=1",
    "schedule=step schedule.phase.lr=[1e-3,1e-4] schedule.phase.reset_optimizer=false",
    f"gate=solve_rate gate.gamma=1 schedule=rl_only {PAIRED}",
    f"gate=solve_rate gate.soft=true schedule=rl_only mix=additive mix.coef=.3 {PAIRED}",
    f"gate=all_wrong_buffer gate.size=1 schedule=rl_only {PAIRED}",
    f"gate=all_wrong_buffer gate.size=1 schedule=rl_only optimizer@sft_optimizer=adamw {PAIRED}",
    "optimizer@sft_optimizer=adamw schedule=periodic schedule.period=2",
    "mix=additive schedule=sft_only",
    "mix=additive schedule=rl_only",
    "target=soft schedule=sft_only",
    "target=reverse_kl schedule=sft_only data.expert_pairs=0 data.expert_batch=0",
    "target=reverse_kl target.estimator=exact rollout.updates=2",
    "target=jsd target.own=1",
    "target=jsd target.own=0 weighting=phi",
    "objective.resample=2",
    f"objective.resample=1 rollout.prefix=binomial schedule=reward_gap {PAIRED}",
    f"rollout.expert_in_group=1 {PAIRED}",
    f"rollout.expert_in_group=1 advantage.baseline=on_policy advantage.scale=none {PAIRED}",
    f"rollout.expert_in_group=1 advantage=srft weighting@off_policy=rlplus {PAIRED}",
    f"rollout.expert_in_group=1 weighting@off_policy=top_entropy trainer.micro_batch=1 {PAIRED}",
    f"rollout.expert_in_group=1 weighting@off_policy=iw weighting.apply_to=both {PAIRED}",
    f"rollout.expert_in_group=1 objective=gspo objective.kl.coef=.1 {PAIRED}",
    f"rollout.expert_in_group=1 objective=dapo {PAIRED}",
    f"rollout.prefix=binomial {PAIRED}",
    f"rollout.prefix=binomial rollout.prefix_loss=nll rollout.prefix_coef=.01 {PAIRED}",
    f"rollout.prefix=uniform rollout.prefix_loss=advantage {PAIRED}",
    f"rollout.prefix=staged rollout.group_size=4 rollout.prefix_loss=nll {PAIRED}",
    f"rollout.prefix=staged rollout.group_size=4 gate=solve_rate {PAIRED}",
]


@pytest.mark.parametrize("option", [*OPTIONS, *VARIANTS])
def test_every_option_takes_its_steps(
    small_config: Callable[..., TrainConfig], language_model: Path, tmp_path: Path, option: str
) -> None:
    config = small_config(*placed(option, language_model, tmp_path))
    group, _, name = option.split()[0].partition("=")
    if (CONF_DIR / group / f"{name}.yaml").exists() and group in SCHEMAS:
        assert type(getattr(config, group)) is SCHEMAS[group][schema_of(group, name)]
    rows = metrics_of(config)
    assert len(rows) == config.steps * config.rollout.updates
    for step, row in enumerate(rows[:: config.rollout.updates]):
        alpha = row["alpha"]
        low, high = config.schedule.bounds(config.steps)
        assert low <= alpha <= high
        if not config.schedule.needs:
            assert alpha == config.schedule(step)
        if not config.gate.needs_experts:
            shares = config.mix(alpha)
            assert ("loss/sft" in row) == (shares.sft > 0)
            assert ("loss/rl" in row) == (shares.rl > 0)
        assert all(math.isfinite(value) for value in row.values())
        assert row.get("grad/norm", row.get("grad/sft_norm", -1)) >= 0


def test_a_skipped_branch_is_absent_from_the_log(small_config: Callable[..., TrainConfig]) -> None:
    sft = metrics_of(small_config("experiment=sft"))[0]
    rl = metrics_of(small_config("experiment=rl"))[0]
    assert not [
        name for name in sft if name.startswith(("rollout/", "rl/", "grad/rl", "tokens/rl"))
    ]
    assert not [name for name in rl if name.startswith(("expert/", "weight/", "loss/sft"))]


def test_learning_rate_warms_up_and_starts_again_at_the_switch(
    small_config: Callable[..., TrainConfig],
) -> None:
    # warmup 2: half the rate at the first step of each phase; the switch is at step 2.
    config = small_config(
        "steps=4",
        "schedule=step",
        "schedule.phase.lr=[1e-3,1e-4]",
        "optimizer.warmup=2",
    )
    rates = [row["lr"] for row in metrics_of(config)]
    assert rates == pytest.approx([5e-4, 1e-3, 5e-5, 1e-4])


def test_sft_then_rl_imitates_for_a_quarter_at_three_times_the_rate(
    small_config: Callable[..., TrainConfig],
) -> None:
    config = small_config("experiment=sft_then_rl", "steps=4", "optimizer.warmup=0")
    rows = metrics_of(config)
    assert [row["alpha"] for row in rows] == [1, 0, 0, 0]
    assert [row["lr"] for row in rows] == pytest.approx([3e-4, 1e-4, 1e-4, 1e-4])


def test_micro_batches_do_not_change_a_run(small_config: Callable[..., TrainConfig]) -> None:
    common = [
        "trainer.precision=64-true",
        "steps=3",
        "weighting.normalize=mean1",
        "schedule=linear",
        SIGNAL,
    ]
    whole = metrics_of(small_config(*common, "trainer.micro_batch=0"))
    assert all(row["grad/rl_norm"] > 1e-3 for row in whole[1:])
    for size in (1, 3):
        cut = metrics_of(small_config(*common, f"trainer.micro_batch={size}"))
        for one, other in zip(whole, cut, strict=True):
            assert other["grad/norm"] == pytest.approx(one["grad/norm"], rel=1e-9)
            assert other["loss/total"] == pytest.approx(one["loss/total"], rel=1e-9, abs=1e-12)


def test_the_reference_of_a_run_is_the_model_at_its_start(
    small_config: Callable[..., TrainConfig],
) -> None:
    # Before the first update every ratio to it is 1, and after it not.
    rows = metrics_of(small_config("weighting=iw", "schedule=constant", "optimizer.warmup=0"))
    assert rows[0]["weight/mean"] == pytest.approx(1, abs=1e-6)
    assert rows[1]["weight/mean"] != pytest.approx(1, abs=1e-6)
