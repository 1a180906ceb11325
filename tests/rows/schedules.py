"""The schedules: alpha at some steps, derived by hand, and the formula in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from chord.schedules import (
    Constant,
    Cosine,
    EntropyTarget,
    Exponential,
    Gac,
    GradientRatio,
    Linear,
    Periodic,
    RewardGap,
    Schedule,
    Step,
    WarmupDecay,
)

Settings = dict[str, Any]
Alphas = dict[int, float]


class Row(NamedTuple):
    """What the tests know of a schedule.

    `tried`: schedules of a run of 200 steps, with alpha at some of them. The first one has the
    class's own values. `plain`: alpha by settings, step and length of the run; None for a
    controller, whose formulas are in `tests/pairs/reference/schedules.py`.
    """

    tried: list[tuple[Schedule, Alphas]]
    plain: Callable[[Settings, int, int], float] | None = None


def length(value: float, steps: int) -> float:
    """A share of the run below 1, a number of steps from 1 on."""
    return round(value * steps, 9) if value < 1 else float(value)


def half_cosine(high: float, low: float, q: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * min(q, 1.0))) / 2


def warmup_decay(s: Settings, step: int, steps: int) -> float:
    warmup, decay = length(s["warmup"], steps), length(s["decay"], steps)
    if step < warmup:
        return float(s["peak"] * step / warmup)
    if step < warmup + decay:
        return half_cosine(s["peak"], s["valley"], (step - warmup) / decay)
    return float(s["valley"])


def switch(s: Settings, steps: int) -> int:
    return math.ceil(min(length(s["switch_step"], steps), steps))


def share(step: int, steps: int) -> float:
    """q, the share of the run that is done."""
    return min(step / steps, 1.0)


ROWS: dict[str, Row] = {
    "constant": Row(
        [(Constant(), {0: 0.1, 10**6: 0.1}), (Constant(value=0.3), {7: 0.3})],
        lambda s, step, steps: float(s["value"]),
    ),
    # q = 50/200: 1 - .8/4.
    "linear": Row(
        [
            (Linear(total_steps=200), {0: 1.0, 50: 0.8, 200: 0.2, 999: 0.2}),
            (Linear(initial=0.0, final=1.0, total_steps=200), {50: 0.25}),
        ],
        lambda s, step, steps: s["initial"] + (s["final"] - s["initial"]) * share(step, steps),
    ),
    # .2 + .8 (1 + cos(pi/4)) / 2 = .6 + .4 / sqrt(2).
    "cosine": Row(
        [(Cosine(total_steps=200), {0: 1.0, 50: 0.6 + 0.4 / math.sqrt(2), 100: 0.6, 200: 0.2})],
        lambda s, step, steps: half_cosine(s["initial"], s["final"], share(step, steps)),
    ),
    # .2 + .8 e^(-5/4), and .2 + .8 e^-5 at the end.
    "exponential": Row(
        [
            (
                Exponential(total_steps=200),
                {0: 1.0, 50: 0.2 + 0.8 * math.exp(-1.25), 200: 0.2 + 0.8 * math.exp(-5)},
            )
        ],
        lambda s, step, steps: (
            s["final"] + (s["initial"] - s["final"]) * math.exp(-5 * share(step, steps))
        ),
    ),
    # .9 -> .05 over 2/15 of 200 steps = 26.67; warm-up .8 * 3/4, half way (.8 + .1) / 2.
    "warmup_decay": Row(
        [
            (WarmupDecay(total_steps=200), {0: 0.9, 27: 0.05, 199: 0.05}),
            (
                WarmupDecay(peak=0.8, valley=0.1, warmup=4, decay=10, total_steps=200),
                {0: 0.0, 3: 0.6, 4: 0.8, 9: 0.45, 14: 0.1},
            ),
        ],
        warmup_decay,
    ),
    "step": Row(
        [
            (Step(total_steps=200), {0: 1.0, 99: 1.0, 100: 0.0, 999: 0.0}),
            (Step(switch_step=30, total_steps=200), {29: 1.0, 30: 0.0}),
        ],
        lambda s, step, steps: float(step < switch(s, steps)),
    ),
    "periodic": Row(
        [
            (Periodic(), {0: 0.0, 2: 0.0, 3: 1.0, 4: 0.0, 7: 1.0}),
            (Periodic(period=1), {0: 1.0, 1: 1.0}),
        ],
        lambda s, step, steps: float(step % s["period"] == s["period"] - 1),
    ),
    "reward_gap": Row([(RewardGap(), {})]),
    "entropy": Row([(EntropyTarget(), {})]),
    "gac": Row([(Gac(total_steps=200), {})]),
    "gradient_ratio": Row([(GradientRatio(total_steps=200), {})]),
}
OPEN_LOOPS = [schedule for row in ROWS.values() if row.plain for schedule, _ in row.tried]
