"""The learning rates of a step, for both phases of SFT-then-RL and both optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chord.schedules import Step

if TYPE_CHECKING:
    from lightning.pytorch.core.optimizer import LightningOptimizer

    from chord.config.root import TrainConfig


def set_rates(config: TrainConfig, step: int, optimizers: Sequence[LightningOptimizer]) -> float:
    """Set a step's learning rates; at the switch of phases, reset the first optimizer's state.

    Returns the first optimizer's rate.
    """
    rates, fresh = learning_rates(config, step)
    if fresh:
        optimizers[0].optimizer.state.clear()
    for optimizer, rate in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
    return rates[0]


def learning_rates(config: TrainConfig, step: int) -> tuple[list[float], bool]:
    """The rates of the policy's optimizer and of the SFT branch's own optimizer, if it has one.

    And whether the policy's optimizer is reset at this step: at the switch between two phases, each
    with its own warm-up and decay.
    """
    schedule, rate, fresh = config.schedule, config.optimizer.lr, False
    since, length = step, config.steps
    if isinstance(schedule, Step):
        in_rl = step >= schedule.switch
        if schedule.phase.lr is not None:
            rate = schedule.phase.lr[int(in_rl)]
        elif not in_rl:
            rate *= schedule.phase.sft_factor
        if schedule.phase.reset_optimizer:
            length = length - schedule.switch if in_rl else schedule.switch
            since = step - schedule.switch if in_rl else step
            fresh = in_rl and since == 0
    rates = [rate * config.optimizer.factor(since, length)]
    if config.sft_optimizer is not None:
        rates.append(config.sft_optimizer.lr * config.sft_optimizer.factor(step))
    return rates, fresh
