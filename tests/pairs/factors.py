"""The factors that meet in pairs, their levels, and what refuses what.

Options are read off `conf/`, so a new one is a new level by itself. A level is a list of overrides
as they are typed; `own` types nothing, so that an option's own value counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chord.config import CONF_DIR

Levels = dict[str, tuple[str, ...]]
Row = dict[str, str]

OWN: Levels = {"own": ()}
# Options with settings that do something within two steps.
STIRRED = {
    "schedule=gac": ("schedule.every=1", "schedule.cap=.2"),
    "schedule=periodic": ("schedule.period=2",),
    "schedule=entropy": ("schedule.target=1.2", "schedule.rate=.3"),
    "schedule=gradient_ratio": ("schedule.warmup=.5",),
    "gate=all_wrong_buffer": ("gate.size=2",),
}
VARIANTS = {
    "schedule": {
        "reward_gap ema": ("schedule=reward_gap", "schedule.ema=.5"),
        "gradient_ratio mean": (
            "schedule=gradient_ratio", "schedule.warmup=.5", "schedule.draw=false",
        ),
        "step rates": (
            "schedule=step", "schedule.phase.lr=[2e-2,1e-2]", "schedule.phase.reset_optimizer=false",
        ),
    },
    "weighting": {
        "adaptive one_hot": ("weighting=adaptive", "weighting.expert=one_hot"),
        "margin one_hot": ("weighting=margin", "weighting.expert=one_hot"),
        "importance_clip cap": ("weighting=importance_clip", "weighting.above=cap"),
        "threshold below": ("weighting=threshold", "weighting.side=below"),
        "iw sequence": ("weighting=iw", "weighting.level=sequence"),
        "srft token": ("weighting=srft", "weighting.sign=1", "weighting.level=token"),
    },
    "objective": {
        "grpo dual_clip": ("objective=grpo", "objective.dual_clip=1.02"),
        "grpo delta": ("objective=grpo", "objective.clip_high=.01", "objective.delta=1.02"),
    },
    "gate": {
        "solve_rate gamma": ("gate=solve_rate", "gate.gamma=.25"),
        "solve_rate soft": ("gate=solve_rate", "gate.soft=true"),
    },
    "target": {
        "reverse_kl exact": ("target=reverse_kl", "target.estimator=exact"),
        "jsd never": ("target=jsd", "target.own=0"),
        "jsd always": ("target=jsd", "target.own=1"),
    },
}  # fmt: skip
# Options that run elsewhere, and why.
ELSEWHERE = {
    "rollout=vllm": "vLLM need not be installed: test_vllm.py",
    "rollout=hf": "the factor `engine`",
    "reward=reasoning_gym": "scores problems of reasoning-gym alone: test_data_gym.py",
    "reward=function": "a function of the user's: test_reward_runs.py",
    "reward=math": "scored in processes of its own: test_math_rewards.py",
    "reward=format": "scored in processes of its own: test_reward_runs.py",
}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def levels(group: str, at: str = "") -> Levels:
    """Every option of a group, then the variants of some."""
    found = {
        name: (f"{group}{at}={name}", *STIRRED.get(f"{group}={name}", ()))
        for name in options(group)
        if f"{group}={name}" not in ELSEWHERE
    }
    return found if at else found | VARIANTS.get(group, {})


def settings(name: str, *values: str, own: bool = False) -> Levels:
    return (OWN if own else {}) | {value: (f"{name}={value}",) for value in values}


FACTORS: dict[str, Levels] = {
    "schedule": levels("schedule"),
    "weighting": levels("weighting"),
    "normalize": settings("weighting.normalize", "none", "mean1"),
    "apply_to": settings("weighting.apply_to", "sft", "both"),
    "off_policy": levels("weighting", "@off_policy"),
    "off_normalize": settings("off_policy.normalize", "none", "mean1"),
    "objective": levels("objective"),
    "aggregation": settings("objective.aggregation", "token", "sequence", "constant", own=True),
    "entropy_coef": settings("objective.entropy_coef", "0", ".02"),
    "overlong": settings("objective.overlong", "keep", "mask", own=True),
    "resample": settings("objective.resample", "0", "2", own=True),
    "advantage": OWN | levels("advantage"),
    "baseline": settings(
        "advantage.baseline", "group", "all", "on_policy", "batch", "none", "rloo", own=True
    ),
    "scale": settings("advantage.scale", "group", "batch", "whiten", "none", own=True),
    "gate": levels("gate"),
    "mix": levels("mix"),
    "target": levels("target"),
    "rollout": levels("rollout"),
    "members": settings("rollout.expert_in_group", "1", own=True),
    "prefix_loss": settings("rollout.prefix_loss", "none", "nll", "advantage", own=True),
    "engine": settings("rollout.engine", "hf", own=True)
    | {"corrected": ("rollout.correct_native=true",)},
    "correction": settings("rollout.correction_threshold", "0", own=True),
    "temperature": settings("rollout.temperature", "1", ".7"),
    "updates": settings("rollout.updates", "1", "2"),
    "reward": {
        "exact": ("reward=exact",),
        "exact formed": ("reward=exact", "reward.format_coef=.1"),
        "weighted": (
            "reward=weighted",
            "reward@reward.parts.answer=exact",
            "reward@reward.parts.format=length",
            "reward.weights.format=.2",
        ),
        "text": ("reward=text",),
        "numeric": ("reward=numeric",),
        "length": ("reward=length",),
    },
    "kl": OWN
    | {
        "off": ("objective.kl.coef=0",),
        "reference": ("objective.kl.coef=.1", "objective.kl.to=reference"),
        "teacher": ("objective.kl.coef=.1", "objective.kl.to=teacher"),
    },
    "kl_estimator": settings("objective.kl.estimator", "k1", "k2", "k3", "exact", own=True),
    "kl_direction": settings("objective.kl.direction", "from_policy", "to_policy", own=True),
    "kl_where": settings("objective.kl.where", "loss", "reward", own=True),
    "precision": settings("trainer.precision", "64-true", "32-true", "bf16-mixed"),
    "micro_batch": settings("trainer.micro_batch", "0", "1", "3"),
    "ranks": {"1": (), "2": ("trainer=ddp", "trainer.accelerator=cpu")},
    "optimizer": levels("optimizer"),
    "decay": settings("optimizer.decay", "constant", "cosine"),
    "sft_optimizer": {"none": ()}
    | {name: (f"optimizer@sft_optimizer={name}",) for name in options("optimizer")},
    "expert_batch": settings("data.expert_batch", "3", "0"),
    "pairing": settings("data.pairing", "separate", "paired", "all"),
    "manner": settings("data.manner", "worked", "direct"),
    "teacher": {"tiny": ("teacher=tiny",), "none": ("teacher=none",)},
}
# A run that nothing refuses, which refusals are shown on.
PLAIN: Row = {name: next(iter(each)) for name, each in FACTORS.items()} | {
    "schedule": "linear",
    "weighting": "uniform",
    "off_policy": "uniform",
    "objective": "grpo",
    "gate": "none",
    "target": "tokens",
    "rollout": "native",
    "pairing": "paired",
    "mix": "convex",
}
NO_RATIO = ("reinforce", "rloo", "unified")


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


def k1(objective: str, kl_estimator: str, kl_where: str) -> bool:
    return kl_estimator == "k1" and kl_where != "reward"


def sampled_backwards(objective: str, kl_estimator: str, kl_direction: str) -> bool:
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
    Refusal("k1", ("objective", "kl_estimator", "kl_where"), k1, r"objective\.kl\.estimator=k1: "),
    Refusal(
        "to_policy",
        ("objective", "kl_estimator", "kl_direction"),
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
        lambda teacher, objective, kl: (
            teacher == "none" and penalised(objective, kl) == "teacher"
        ),
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
            gate != "none"
            and option(target) in ("reverse_kl", "jsd")
            and target != "jsd never"
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
        lambda rollout, members: (
            members != "own" and rollout in ("uft", "prefix_rft", "trapo")
        ),
        r"rollout\.prefix=\w+: must be none with rollout\.expert_in_group",
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


@dataclass(frozen=True)
class Active:
    """When a factor's level makes a difference; elsewhere meeting it would say nothing."""

    reads: tuple[str, ...]
    when: Callable[..., bool]


def learns_from_experts(schedule: str, mix: str, rollout: str, members: str, loss: str) -> bool:
    """Whether the expert's tokens inside groups have a loss."""
    lossless = rollout in ("uft", "prefix_rft", "trapo") and loss == "none"
    return has_rl(schedule, mix) and inside(rollout, members) and not lossless


IN_RL = Active(("schedule", "mix"), has_rl)
IN_SFT = Active(
    ("schedule", "gate"),
    lambda schedule, gate: schedule != "rl_only" or option(gate) == "solve_rate",
)
ON_EXPERTS = Active(("schedule", "mix", "rollout", "members", "prefix_loss"), learns_from_experts)
WITH_KL = Active(
    ("schedule", "mix", "objective", "kl"),
    lambda schedule, mix, objective, kl: (
        has_rl(schedule, mix) and penalised(objective, kl) is not None
    ),
)
ACTIVE: dict[str, Active] = {
    **dict.fromkeys(("weighting", "normalize", "target", "sft_optimizer"), IN_SFT),
    **dict.fromkeys(("apply_to", "objective", "aggregation", "entropy_coef", "overlong"), IN_RL),
    **dict.fromkeys(("resample", "advantage", "baseline", "scale", "rollout"), IN_RL),
    **dict.fromkeys(("members", "engine", "temperature", "reward", "kl"), IN_RL),
    **dict.fromkeys(("off_policy", "off_normalize"), ON_EXPERTS),
    **dict.fromkeys(("kl_estimator", "kl_direction", "kl_where"), WITH_KL),
    "prefix_loss": Active(
        ("schedule", "mix", "rollout"),
        lambda schedule, mix, rollout: (
            has_rl(schedule, mix) and rollout in ("uft", "prefix_rft", "trapo")
        ),
    ),
    "correction": Active(
        ("schedule", "mix", "engine"),
        lambda schedule, mix, engine: has_rl(schedule, mix) and engine != "own",
    ),
}
# Only what is computed in float64 can be compared to the last digits.
EXACT = Active(("precision",), lambda precision: precision == "64-true")


def needs(active: Mapping[str, Active], *names: str) -> list[Active]:
    """When it is seen what two factors do together."""
    exact = [EXACT] if active and "precision" not in names else []
    return [*exact, *(active[name] for name in names if name in active)]


def meets(row: Row, one: str, other: str, active: Mapping[str, Active] = ACTIVE) -> bool:
    """Whether a configuration shows what two of its levels do together."""
    return all(each.when(*(row[n] for n in each.reads)) for each in needs(active, one, other))

# Options and settings without a factor, and why.
FIXED = ELSEWHERE | {
    "data": "the tests' own data, `bed`; pairing, expert batch and manner are factors",
    "model": "the tests' own model; test_hf_policy.py and test_hf_training.py have others",
    "evaluation": "takes no part in a train step",
    "tracking": "takes no part in a train step",
    "teacher=hf": "test_options.py",
    "trainer=cpu": "one process, the level 1 of `ranks`",
    "trainer=gpu": "needs a GPU",
    "trainer=fsdp": "test_process_runs.py: equal to trainer=ddp",
    "rollout.prefix": "set by the options of rollout",
    "rollout.server": "test_vllm.py and test_process_runs.py",
    "rollout.server_directory": "test_vllm.py",
    "rollout.vllm": "test_vllm.py",
    "target.cache": "test_cache_teacher.py: equal to asking the teacher",
    "trainer.strategy": "set by the levels of `ranks`",
    "trainer.extra": "arguments of Lightning's",
}
