"""What is kept of a run's rows: thinned curves, final and best scores, tokens and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
LARGEST = 1e30  # squares, cubes and ranges of what is below it do not overflow
MOST = 10**10  # steps; seeds end at 2^32
CHOSEN_BY = "val/balance_at_0.5"

Row = Mapping[str, Any]
Evaluation = tuple[int, str, str]
"""Step, split and model."""


@dataclass
class Record:
    """A run's rows as they come in; afterwards what a comparison needs of them.

    Rows have to rise in `step`. Of the curves, one of every `stride` steps is kept. `counted` and
    `timed`: how many steps the sums of tokens and of seconds hold. `disputed`: the steps of
    which two evaluations disagree.
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
        """Take a train step; what is wrong with the row, if it has to be left out."""
        trouble = _not_next(row, self.steps)
        if trouble is not None:
            return trouble
        step: int = row["step"]
        self.steps = step + 1
        # A branch that was skipped has no key.
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
        """Forget sums over fewer than `steps` steps, which would pass for a cheaper run.

        Which were forgotten (tokens, seconds), with how many steps they held.
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
        """Drop the curves of steps, which a group has where all its runs have them."""
        self._series.clear()
        self._last = None

    def timing(self, row: Row) -> str | None:
        """Take a step's seconds; what is wrong with the row, if it has to be left out."""
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
        """Take an evaluation; what is wrong with the row, if it has to be left out.

        Of two of one step, split and model the last counts.
        """
        if not is_count(row.get("step")):
            return "has no step"
        if row.get("split") not in ("val", "test") or row.get("model") not in ("base", "trained"):
            return "has no split or model"
        key = (row["step"], row["split"], row["model"])
        known, found = self.evaluations.setdefault(key, {}), scores(row)
        if any(known.get(name, value) != value for name, value in found.items()):
            self.disputed.add(row["step"])
        known |= found
        return None

    def disagreement(self) -> str | None:
        """Which evaluations came twice, with other scores; None where none did."""
        if not self.disputed:
            return None
        return f"evaluations disagree at {numbered('step', sorted(self.disputed))}: the last counts"

    def final(self, step: int) -> dict[str, float]:
        """Scores of the trained model after `step` steps, of every split."""
        return self._scores("trained", step)

    def base(self) -> dict[str, float]:
        """Scores of the model that the run started from, as its last report has them."""
        return self._scores("base", 0)

    def best(self) -> tuple[dict[str, float], int | None]:
        """The validation with the highest balance at .5 and its step; the earliest of equals."""
        rows = {step: row for step, row in self._validations().items() if CHOSEN_BY in row}
        if not rows:
            return {}, None
        step = max(rows, key=lambda step: (rows[step][CHOSEN_BY], -step))
        return rows[step], step

    def curves(self) -> dict[str, Curve]:
        """Each series with at most 200 points, the last step's among them. Call it at the end."""
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
        """Those of the model in training, by step, which rises."""
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
    """Why a row can't follow those of all steps below `least`, if it can't."""
    step: Any = row.get("step")
    if not is_count(step):
        return "has no step"
    return "a step that was there before" if step < least else None


def scores(row: Row) -> dict[str, float]:
    """The finite numbers of an evaluation but its step, and counts of failures."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "step" and not key.endswith(FAILURES) and finite(value)
    }


def stride(steps: int) -> int:
    """Every k-th of so many steps, with the last, are at most 200; runs of a length agree in k.

    500 steps: k = 3, which are 167 and the last.
    """
    return max(1, math.ceil((steps - 1) / (POINTS - 1)))


def on_grid(step: int, stride: int) -> bool:
    """Whether a step is kept: one of every `stride`, each time one later within them.

    At equal distances a schedule that alternates would show one of its two values alone. With a
    stride of 3: 0, 4, 8, 9, 13, 17, 18.
    """
    return step % stride == (step // stride) % stride


def thinned(steps: Sequence[int], values: Sequence[float]) -> Curve:
    """At most 200 points of a curve, as they were: none is made up."""
    every = stride(len(steps))
    places = [place for place in range(len(steps)) if on_grid(place, every)]
    if places and places[-1] != len(steps) - 1:
        places.append(len(steps) - 1)
    return Curve(steps=[steps[i] for i in places], values=[values[i] for i in places])


def numbered(what: str, numbers: Sequence[int]) -> str:
    """`line 7`; `lines 1, 2, 3, 4, 5 and 2 more`."""
    if len(numbers) == 1:
        return f"{what} {numbers[0]}"
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{what}s {', '.join(map(str, numbers[:5]))}{more}"


def is_count(value: Any) -> bool:
    """Whether a value can be a number of steps or a seed: a whole one, from 0 to ten billion."""
    return type(value) is int and 0 <= value <= MOST


def finite(value: Any) -> bool:
    """Whether a value can be averaged: a number below 1e30, no null, NaN, infinity or truth."""
    return type(value) in (int, float) and abs(value) < LARGEST
