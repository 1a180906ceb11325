"""Which levels refuse each other: what docs/refusals.md says, as functions of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chord.config.registry import SCHEMAS
from pairs.factors import Row, options, schema_of

NO_RATIO = [
    name
    for name in options("objective")
    if SCHEMAS["objective"][schema_of("objective", name)].on_policy
]
PREFIXED = ("uft", "prefix_rft", "trapo")


@dataclass(frozen=True)
class Refusal:
    """What settings refuse each other: which factors it reads, when, and how it is said."""

    name: str
    reads: tuple[str, ...]
    when: Callable[..., bool]
    says: str
    """A regular expression of the sentence."""


def option(level: str) -> str:
    """The option that a level is a variant of."""
    return level.split()[0]


def inside(rollout: str, members: str) -> bool:
    """Whether experts' tokens stand in the groups."""
    return rollout not in ("native",) or members != "own"


def penalised(objective: str, kl: str) -> str | None:
    """The model that a KL is taken to."""
    if kl == "own":
        return "teacher" if objective == "unified" else None
    return None if kl == "off" else kl


def k1(objective: str, kl: str, kl_estimator: str, kl_where: str) -> bool:
    return penalised(objective, kl) is not None and kl_estimator == "k1" and kl_where != "reward"


def sampled_backwards(objective: str, kl: str, kl_estimator: str, kl_direction: str) -> bool:
    if penalised(objective, kl) is None:
        return False
    unified = objective == "unified"
    exact = kl_estimator == "exact" or (kl_estimator == "own" and unified)
    return (kl_direction == "to_policy" or (kl_direction == "own" and unified)) and not exact


def has_rl(schedule: str, mix: str) -> bool:
    return schedule != "sft_only" or mix != "convex"


ALTERNATING = ("sft_only", "rl_only", "periodic", "step", "step rates", "sft_then_rl")


def has_both(schedule: str, mix: str) -> bool:
    """Whether a step may have both branches."""
    return schedule not in ALTERNATING if mix == "convex" else schedule != "rl_only"


def reads_teacher(weighting: str) -> bool:
    return weighting in ("adaptive", "margin")


REFUSALS = [
    Refusal(
        "k1",
        ("objective", "kl", "kl_estimator", "kl_where"),
        k1,
        r"objective\.kl\.estimator=k1: ",
    ),
    Refusal(
        "to_policy",
        ("objective", "kl", "kl_estimator", "kl_direction"),
        sampled_backwards,
        r"objective\.kl\.direction=to_policy: ",
    ),
    Refusal(
        "teacher by weighting",
        ("teacher", "weighting"),
        lambda teacher, weighting: teacher == "none" and reads_teacher(weighting),
        r"teacher=none: weighting=(adaptive|margin) reads",
    ),
    Refusal(
        "teacher by off_policy",
        ("teacher", "off_policy", "rollout", "members"),
        lambda teacher, off_policy, rollout, members: (
            teacher == "none" and reads_teacher(off_policy) and inside(rollout, members)
        ),
        r"teacher=none: weighting@off_policy=(adaptive|margin) reads",
    ),
    Refusal(
        "teacher by kl",
        ("teacher", "objective", "kl"),
        lambda teacher, objective, kl: teacher == "none" and penalised(objective, kl) == "teacher",
        r"teacher=none: objective\.kl\.to=teacher reads",
    ),
    Refusal(
        "teacher by target",
        ("teacher", "target"),
        lambda teacher, target: teacher == "none" and target != "tokens",
        r"teacher=none: target=\w+ reads",
    ),
    Refusal(
        "another manner, weighting",
        ("manner", "weighting"),
        lambda manner, weighting: manner != "worked" and reads_teacher(weighting),
        r"data\.manner=direct: weighting=",
    ),
    Refusal(
        "another manner, off_policy",
        ("manner", "off_policy", "rollout", "members"),
        lambda manner, off_policy, rollout, members: (
            manner != "worked" and reads_teacher(off_policy) and inside(rollout, members)
        ),
        r"data\.manner=direct: weighting@off_policy=",
    ),
    Refusal(
        "another manner, target",
        ("manner", "target"),
        lambda manner, target: manner != "worked" and target != "tokens",
        r"data\.manner=direct: target=",
    ),
    Refusal(
        "gate unpaired",
        ("gate", "pairing"),
        lambda gate, pairing: gate != "none" and pairing != "paired",
        r"data\.pairing=\w+: gate=",
    ),
    Refusal(
        "experts unpaired",
        ("rollout", "members", "pairing"),
        lambda rollout, members, pairing: inside(rollout, members) and pairing != "paired",
        r"data\.pairing=\w+: rollout\.(prefix|expert_in_group)=",
    ),
    Refusal(
        "gate on own samples",
        ("gate", "target"),
        lambda gate, target: (
            gate != "none" and option(target) in ("reverse_kl", "jsd") and target != "jsd never"
        ),
        r"target=\w+: gate=",
    ),
    Refusal(
        "sampled at another temperature",
        ("target", "temperature"),
        lambda target, temperature: target == "reverse_kl" and temperature != "1",
        r"target\.temperature=1\.0: must be rollout\.temperature",
    ),
    Refusal(
        "no expert stream",
        ("schedule", "expert_batch", "target"),
        lambda schedule, expert_batch, target: (
            expert_batch == "0"
            and schedule != "rl_only"
            and target not in ("reverse_kl", "reverse_kl exact", "jsd always")
        ),
        r"data\.expert_batch=0: the schedule sets alpha > 0",
    ),
    Refusal(
        "prefix and members",
        ("rollout", "members"),
        lambda rollout, members: members != "own" and rollout in PREFIXED,
        r"rollout\.prefix=\w+: must be none with rollout\.expert_in_group",
    ),
    Refusal(
        "loss of no prefix",
        ("rollout", "prefix_loss"),
        lambda rollout, prefix_loss: (
            prefix_loss in ("nll", "advantage") and rollout not in PREFIXED
        ),
        r"rollout\.prefix_loss=\w+: no response has a prefix",
    ),
    Refusal(
        "correction of the policy's own samples",
        ("engine", "correction"),
        lambda engine, correction: engine == "own" and correction != "own",
        r"rollout\.correction_threshold=0\.0: needs rollout\.correct_native=true",
    ),
    Refusal(
        "objective on stale samples",
        ("updates", "objective", "schedule", "mix", "gate"),
        lambda updates, objective, schedule, mix, gate: (
            updates != "1" and objective in NO_RATIO and (gate != "none" or has_rl(schedule, mix))
        ),
        r"rollout\.updates=2: objective=reinforce has no importance ratio",
    ),
    Refusal(
        "target on stale samples",
        ("updates", "target", "schedule"),
        lambda updates, target, schedule: (
            updates != "1" and target == "reverse_kl" and schedule != "rl_only"
        ),
        r"rollout\.updates=2: target\.estimator=sampled has no importance ratio",
    ),
    Refusal(
        "target behind another optimizer's step",
        ("sft_optimizer", "target", "schedule", "mix"),
        lambda sft_optimizer, target, schedule, mix: (
            sft_optimizer != "none" and target == "reverse_kl" and has_both(schedule, mix)
        ),
        r"optimizer@sft_optimizer=adamw: its step comes after RL's",
    ),
]


def refused_by(row: Row) -> list[Refusal]:
    """What of a complete configuration does not go together."""
    return [each for each in REFUSALS if each.when(*(row[name] for name in each.reads))]
