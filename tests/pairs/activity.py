"""Where a level makes a difference: pairs of levels that do nothing show nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pairs.factors import Row
from pairs.refusals import PREFIXED, has_rl, inside, option, penalised


@dataclass(frozen=True)
class Active:
    """When a factor's level makes a difference; elsewhere meeting it would say nothing."""

    reads: tuple[str, ...]
    when: Callable[..., bool]


def learns_from_experts(schedule: str, mix: str, rollout: str, members: str, loss: str) -> bool:
    """Whether the expert's tokens inside groups have a loss."""
    lossless = rollout in PREFIXED and loss == "none"
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
        lambda schedule, mix, rollout: has_rl(schedule, mix) and rollout in PREFIXED,
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
