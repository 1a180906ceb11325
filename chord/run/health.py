"""Signs that a run learns nothing any more, in a window of its recorded metrics: pure functions.

Each is told once, with the number and the setting to look at, and switched off by name
(`trainer.warn_off=[entropy]`). What was told is a function of the recorded rows, so that a resumed
run, which goes through them again, neither repeats nor misses one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, float]
WINDOW = 20
"""Steps with rollouts that a sign has to last; healthy runs of the test bed have 1 in a row."""
LONG_WINDOW = 50
LOWEST_ENTROPY = 0.01
"""In nats for each token; healthy runs of the test bed have from .02 to .5."""
COLLAPSED = 0.1
"""The share of the first window's entropy below which it has collapsed."""


@dataclass(frozen=True)
class Check:
    """`sign(first, last)`: what is wrong in the `last` rows, or empty; `first` are as many from the
    run's beginning. Only rows that hold all of `reads` count, `window` of them."""

    reads: tuple[str, ...]
    window: int
    sign: Callable[[Sequence[Row], Sequence[Row]], str]


def mean(rows: Sequence[Row], key: str) -> float:
    """The mean of a metric over rows."""
    return math.fsum(row[key] for row in rows) / len(rows)


def no_signal(first: Sequence[Row], last: Sequence[Row]) -> str:
    """All answers to a problem right, or all wrong, in every group."""
    right, wrong = mean(last, "rollout/all_right"), mean(last, "rollout/all_wrong")
    if right + wrong < 1 - 1e-9:
        return ""
    return (
        f"no group of the last {len(last)} steps had both right and wrong answers (all right "
        f"{right:.0%}, all wrong {wrong:.0%}), so RL learns nothing from what is right; try other "
        "problems, a larger rollout.group_size, or more imitation first"
    )


def entropy(first: Sequence[Row], last: Sequence[Row]) -> str:
    """The policy has settled on one answer: nothing new is tried."""
    before, now = mean(first, "rollout/entropy"), mean(last, "rollout/entropy")
    if now >= LOWEST_ENTROPY or now >= COLLAPSED * before:
        return ""
    return (
        f"the entropy has fallen to {now:.2g} nats a token over the last {len(last)} steps, from "
        f"{before:.2g}: answers hardly differ any more; try objective.entropy_coef, "
        "objective.kl.coef or a lower optimizer.lr"
    )


def cut_off(first: Sequence[Row], last: Sequence[Row]) -> str:
    """No answer ends: each scores 0, whatever it holds."""
    if min(row["rollout/no_eos"] for row in last) < 1:
        return ""
    length = mean(last, "rollout/length")
    return (
        f"every answer of the last {len(last)} steps was cut off, at {length:.0f} tokens on "
        "average, and scores nothing; try a larger rollout.max_new_tokens, or imitation of answers "
        "that end"
    )


def reward(first: Sequence[Row], last: Sequence[Row]) -> str:
    """The same reward for every answer, step after step."""
    values = [row["rollout/reward"] for row in last]
    if max(row["rollout/reward_std"] for row in last) > 1e-9 or max(values) - min(values) > 1e-9:
        return ""
    return (
        f"every answer of the last {len(last)} steps had the reward {values[-1]:g}; check "
        "whether the verifier of reward= ever gives another"
    )


CHECKS = {
    "no_signal": Check(("rollout/all_right", "rollout/all_wrong"), WINDOW, no_signal),
    "entropy": Check(("rollout/entropy",), WINDOW, entropy),
    "cut_off": Check(("rollout/no_eos", "rollout/length"), WINDOW, cut_off),
    "reward": Check(("rollout/reward", "rollout/reward_std"), LONG_WINDOW, reward),
}


class Health:
    """`see(row)` for each recorded row in turn; returns what it shows for the first time."""

    def __init__(self, off: Iterable[str] = (), rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._checks = {name: check for name, check in CHECKS.items() if name not in set(off)}
        self._first: dict[str, list[Row]] = {name: [] for name in self._checks}
        self._last: dict[str, deque[Row]] = {
            name: deque(maxlen=check.window) for name, check in self._checks.items()
        }
        self.told: dict[str, str] = {}
        for row in rows:
            self.see(row)

    def see(self, row: Mapping[str, Any]) -> list[str]:
        """The warnings of this row: `step 41: ... (trainer.warn_off=[reward] is silent)`."""
        new = []
        for name, check in self._checks.items():
            values = [row.get(key) for key in check.reads]
            if name in self.told or not all(_finite(value) for value in values):
                continue
            first, last = self._first[name], self._last[name]
            if len(first) < check.window:
                first.append(row)
            last.append(row)
            if len(last) == check.window and (said := check.sign(first, list(last))):
                self.told[name] = (
                    f"warning: step {row['step']}: {said} (trainer.warn_off=[{name}] silences this)"
                )
                new.append(self.told[name])
        return new


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
