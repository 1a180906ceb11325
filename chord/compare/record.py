"""Reduces a run's rows to thinned curves, final and best scores, tokens and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from chord.compare.model import Curve
from chord.rewards import FAILURES

POINTS = 200
STEP_CURVES = (
    "alpha",
    "rollout/reward",
    "loss/sft",
    "loss/rl",
    "rollout/entropy",
    "rollout/expert_style",
)
VALIDATION_CURVES = ("val/target_accuracy", "val/retained/mean")
TOKENS = {"tokens/sft": "sft", "tokens/rl": "rl", "tokens/off_policy": "off_policy"}
LARGEST = 1e30  # squares, cubes and ranges of smaller numbers do not overflow
MOST = 10**10  # steps; seeds are below 2^32
SHARES = (
    "target_accuracy",
    "target_mean*",
    "rl_reward",
    "expert_style",
    "sft_accuracy",
    "retained/*",
    "source/*",
)
"""Scores that are shares, or means of scores, which are from 0 to 1 on any scale of the reward."""
CHOSEN_BY = "val/balance_at_0.5"

Row = Mapping[str, Any]
Evaluation = tuple[int, str, str]
"""Step, split and model."""


@dataclass
class Record:
    """Collects a run's rows and keeps what a comparison needs.

    Rows must come in increasing order of `step`. Curves keep one of every `stride` steps.
    `counted` and `timed`: the number of steps in the totals of tokens and of seconds. `disputed`:
    the steps at which two evaluations disagree.
    """

    stride: int = 1
    steps: int = 0
    counted: int = 0
    timed: int = 0
    seconds: float | None = None
    tokens: dict[str, float] = field(default_factory=dict)
    evaluations: dict[Evaluation, dict[str, float]] = field(default_factory=dict)
    disputed: set[int] = field(default_factory=set)
    _timed_to: int = 0
    _last: Row | None = None
    _series: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)

    def train(self, row: Row) -> str | None:
        """Add the row of a train step; return what is wrong with it if it must be left out."""
        trouble = _not_next(row, self.steps)
        if trouble is not None:
            return trouble
        step: int = row["step"]
        self.steps = step + 1
        # A skipped branch has no key.
        counts = {branch: row[key] for key, branch in TOKENS.items() if key in row}
        if all(finite(count) for count in counts.values()):
            self.counted += 1
            for branch, count in counts.items():
                self.tokens[branch] = self.tokens.get(branch, 0.0) + count
        if on_grid(step, self.stride):
            self._draw(row)
            self._last = None
        else:
            self._last = row
        return None

    def drop_partial(self, steps: int) -> dict[str, int]:
        """Drop totals over fewer than `steps` steps, which would make the run look cheaper.

        Returns the names of the dropped totals (tokens, seconds), each with its number of steps.
        """
        partial = {}
        if self.counted < steps:
            self.tokens.clear()
            partial["tokens"] = self.counted
        if self.timed < steps:
            self.seconds = None
            partial["seconds"] = self.timed
        return partial

    def forget_curves(self) -> None:
        """Drop all curves over train steps: a group's curve needs the same steps in all runs."""
        self._series.clear()
        self._last = None

    def timing(self, row: Row) -> str | None:
        """Add a step's seconds; return what is wrong with the row if it must be left out."""
        trouble = _not_next(row, self._timed_to)
        if trouble is not None:
            return trouble
        value: Any = row.get("seconds/step")
        if not finite(value):
            return "has no seconds/step"
        self._timed_to = row["step"] + 1
        self.timed += 1
        self.seconds = (self.seconds or 0.0) + float(value)
        return None

    def evaluation(self, row: Row) -> str | None:
        """Add an evaluation; return what is wrong with the row if it must be left out.

        Of two evaluations with the same step, split and model, the last one counts.
        """
        if not is_count(row.get("step")):
            return "has no step"
        if row.get("split") not in ("val", "test") or row.get("model") not in ("base", "trained"):
            return "has no split or model"
        key = (row["step"], row["split"], row["model"])
        if (trouble := no_share(row, f"{row['split']}/")) is not None:
            return trouble
        known, found = self.evaluations.setdefault(key, {}), scores(row)
        if any(known.get(name, value) != value for name, value in found.items()):
            self.disputed.add(row["step"])
        known |= found
        return None

    def disagreement(self) -> str | None:
        """Return which steps were evaluated twice with different scores; None if there are none."""
        if not self.disputed:
            return None
        return f"evaluations disagree at {numbered('step', sorted(self.disputed))}: the last counts"

    def final(self, step: int) -> dict[str, float]:
        """Return the trained model's scores after `step` steps, on all splits."""
        return self._scores("trained", step)

    def base(self) -> dict[str, float]:
        """Return the base model's scores from its last evaluation."""
        return self._scores("base", 0)

    def best(self) -> tuple[dict[str, float], int | None]:
        """Return the validation with the highest balance at .5, and its step; ties: the first."""
        rows = {step: row for step, row in self._validations().items() if CHOSEN_BY in row}
        if not rows:
            return {}, None
        step = max(rows, key=lambda step: (rows[step][CHOSEN_BY], -step))
        return rows[step], step

    def curves(self) -> dict[str, Curve]:
        """Return curves of at most 200 points each, including the last step. Call it last."""
        if self._last is not None:
            self._draw(self._last)
        for key in VALIDATION_CURVES:
            for step, found in self._validations().items():
                if key in found:
                    self._point(key, step, found[key])
        return {key: thinned(*series) for key, series in self._series.items() if series[0]}

    def _draw(self, row: Row) -> None:
        for key in STEP_CURVES:
            if key in row:
                self._point(key, row["step"], row[key])

    def _point(self, key: str, step: int, value: Any) -> None:
        if finite(value):
            steps, values = self._series.setdefault(key, ([], []))
            steps.append(step)
            values.append(float(value))

    def _validations(self) -> dict[int, dict[str, float]]:
        """Validations of the trained model, in order of step."""
        found = {
            step: each
            for (step, split, model), each in self.evaluations.items()
            if (split, model) == ("val", "trained")
        }
        return {step: found[step] for step in sorted(found)}

    def _scores(self, model: str, step: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for (at, _, whose), each in self.evaluations.items():
            if (whose, at) == (model, step):
                found |= each
        return found


def _not_next(row: Row, least: int) -> str | None:
    """What is wrong with the step of a row that must have a step of at least `least`."""
    step: Any = row.get("step")
    if not is_count(step):
        return "has no step"
    return "its step is not after the previous one" if step < least else None


def no_share(scores: Row, prefix: str = "") -> str | None:
    """Return which score of an evaluation is a share, and yet below 0 or above 1."""
    for key, value in scores.items():
        is_share = any(fnmatchcase(key, f"{prefix}{name}") for name in SHARES)
        if is_share and finite(value) and not 0 <= value <= 1:
            return f"has {key}={value}, which must be from 0 to 1"
    return None


def scores(row: Row) -> dict[str, float]:
    """Return the finite numbers of an evaluation, except its step and its failure counts."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "step" and not key.endswith(FAILURES) and finite(value)
    }


def stride(steps: int) -> int:
    """Return k such that every k-th of `steps` steps, plus the last, are at most 200.

    Runs of equal length get the same k. With 500 steps: k = 3, which keeps 167 and the last.
    """
    return max(1, math.ceil((steps - 1) / (POINTS - 1)))


def on_grid(step: int, stride: int) -> bool:
    """Return whether a step is kept: one of every `stride`, each time one position later.

    At equal distances, only one of the two values of an alternating schedule might show. With a
    stride of 3: 0, 4, 8, 9, 13, 17, 18.
    """
    return step % stride == (step // stride) % stride


def thinned(steps: Sequence[int], values: Sequence[float]) -> Curve:
    """Return at most 200 of a curve's points; none are averaged or interpolated."""
    every = stride(len(steps))
    places = [place for place in range(len(steps)) if on_grid(place, every)]
    if places and places[-1] != len(steps) - 1:
        places.append(len(steps) - 1)
    return Curve(steps=[steps[i] for i in places], values=[values[i] for i in places])


def numbered(what: str, numbers: Sequence[int]) -> str:
    """Format numbers as `line 7` or `lines 1, 2, 3, 4, 5 and 2 more`."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{what}s {', '.join(map(str, numbers[:5]))}{more}"


def is_count(value: Any) -> bool:
    """Return whether a value can be a step or a seed: an integer from 0 to ten billion."""
    return type(value) is int and 0 <= value <= MOST


def finite(value: Any) -> bool:
    """Return whether a value can be averaged: a number with |x| < 1e30, not a bool, null or NaN."""
    return type(value) in (int, float) and abs(value) < LARGEST
