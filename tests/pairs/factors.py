"""The factors that meet in pairs, and their levels.

Options are read off `conf/`, so a new one is a new level by itself. A level is a list of overrides
as they are typed; `own` types nothing, so that an option's own value counts.
"""

from __future__ import annotations

import re

from rows import schedules, weightings

from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS
from chord.rewards import Isolated

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
    "reward=weighted": (
        "reward@reward.parts.answer=exact",
        "reward@reward.parts.format=length",
        "reward.weights.format=.2",
    ),
}
VARIANTS = {
    "schedule": {
        "reward_gap ema": ("schedule=reward_gap", "schedule.ema=.5"),
        "gradient_ratio mean": (
            "schedule=gradient_ratio", "schedule.warmup=.5", "schedule.draw=false",
        ),
        "step rates": (
            "schedule=step",
            "schedule.phase.lr=[2e-2,1e-2]",
            "schedule.phase.reset_optimizer=false",
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
    "reward": {"exact formed": ("reward=exact", "reward.format_coef=.1")},
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
}


# Schemas that the reference has a formula for, where it is not in the option's row.
FORMULAS = {
    "schedule": {"reward_gap", "entropy", "gac", "gradient_ratio"},
    "weighting": {"srft", "top_entropy", "iw", "margin", "adaptive"},
    "objective": {"grpo", "reinforce", "gspo", "cispo"},
    "target": {"tokens", "soft", "reverse_kl", "jsd"},
    "gate": {"none", "solve_rate", "all_wrong_buffer"},
    "mix": {"convex", "additive"},
    "advantage": {"advantage", "srft"},
}
FORMULAS["schedule"] |= {name for name, row in schedules.ROWS.items() if row.plain}
FORMULAS["weighting"] |= {name for name, row in weightings.ROWS.items() if row.plain}


def schema_of(group: str, option: str) -> str:
    """The name of an option's schema, also of one that starts from another."""
    text = (CONF_DIR / group / f"{option}.yaml").read_text()
    if based := re.search(r"^defaults: \[(\w+), (?:.*, )?_self_\]$", text, re.M):
        return schema_of(group, based[1])
    start = rf"^defaults: \[/schema/{group}/(\w+)@_here_, (?:.*, )?_self_\]$"
    found = re.search(start, text, re.M)
    assert found, f"{group}={option} does not start from a schema"
    return found[1]


def has_formula(group: str, option: str) -> bool:
    return group not in FORMULAS or schema_of(group, option) in FORMULAS[group]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


ELSEWHERE |= {
    f"reward={name}": "scored in processes of its own: test_rewards.py"
    for name in options("reward")
    if issubclass(SCHEMAS["reward"][schema_of("reward", name)], Isolated)
}


def levels(group: str, at: str = "") -> Levels:
    """Every option of a group, then the variants of some."""
    found = {
        name: (f"{group}{at}={name}", *STIRRED.get(f"{group}={name}", ()))
        for name in options(group)
        if f"{group}={name}" not in ELSEWHERE and has_formula(group, name)
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
    "reward": levels("reward"),
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
    "on_nonfinite": settings("trainer.on_nonfinite", "stop", "skip"),
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
    "kl_where": "reward",
    "reward": "exact",
}

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
    "trainer.keep": "what is kept, not what is computed: test_kept.py",
    "trainer.warn_off": "what is said, not what is computed: test_health.py",
    "trainer.extra": "arguments of Lightning's",
}
