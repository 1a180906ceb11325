"""The time of a run, extrapolated from the times of a few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.plan.memory import computed

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.batch import TokenBatch
    from chord.plan.calibration import Calibration


@dataclass
class Duration:
    """Seconds until the first step, for a step's parts, for a validation, and for the whole run."""

    start: float
    rollout: float
    loss: float
    update: float
    validation: float
    run: float

    @property
    def step(self) -> float:
        """Seconds per step."""
        return self.rollout + self.loss + self.update


def expert_length(found: Calibration) -> float | None:
    """Return the length of expert responses relative to the model's; None if there is no SFT."""
    if found.experts is None:
        return None
    own = found.length if found.rollouts is None else mean_length(found.rollouts)
    return mean_length(found.experts) / own


def mean_length(batch: TokenBatch) -> float:
    """Return the mean number of response tokens per row."""
    return float(batch.mask.sum()) / len(batch.mask)


def duration(
    config: TrainConfig, found: Calibration, *, validation: int, last: int, length: float = 1.0
) -> Duration:
    """Return the time for responses `length` times as long as the timed ones.

    ``run = start + steps * step + validations + 2 last evaluations``; the first validation and one
    of the two last evaluations are of the base. The time for sampling is proportional to the length
    of the responses, that for losses and gradients to the number of tokens that go through the
    model. `validation` and `last` are numbers of responses. Example: a start of 5 s, two steps of
    1 s sampling, 2 s losses and .5 s optimizer, two validations of 3 responses and two last
    evaluations of 10, at .1 s per response, take 5 + 2 * 3.5 + 2 * .3 + 2 * 1 = 14.6 s.
    """
    rollout, loss = found.rollout * length, found.loss * _tokens_left(found, length)
    step, seconds = rollout + loss + found.update, validation * found.answer
    every = config.evaluation.every
    validations = seconds * (1 + config.steps // every * length) if every else 0.0
    ending = last * found.answer * (1 + length)
    run = found.start + config.steps * step + validations + ending
    return Duration(found.start, rollout, loss, found.update, seconds * length, run)


def _tokens_left(found: Calibration, length: float) -> float:
    """The number of tokens through the model with rollouts of another length, relative to now."""
    policy, batches = found.models.policy, (found.rollouts, found.experts)
    tokens = sum(computed(policy, batch) for batch in batches if batch is not None)
    if found.rollouts is None:
        return 1.0
    return 1 + (length - 1) * float(found.rollouts.mask.sum()) / tokens
