"""Schedules: train step -> alpha, the share of SFT in the loss.

alpha = 1 is pure SFT, alpha = 0 is pure RL. The paper (arXiv 2508.11408) calls it mu. Train steps
(one batch of each active branch) are counted from 0. With `q = min(step / total_steps, 1)`, the
first step sees q = 0 and the last one q = (total_steps - 1) / total_steps, so `final` itself is
reached only past the end of the run.

Most schedules are a function of the step alone. A *controller* also reads measurements of the run,
and keeps its memory in a separate state.
"""

from chord.schedules.base import Controller, Feedback, Schedule, State, resolve_length
from chord.schedules.controllers import EntropyTarget, GradientRatio, RewardGap
from chord.schedules.gac import Gac
from chord.schedules.phases import Periodic, Phase, Step
from chord.schedules.ramps import Constant, Cosine, Exponential, Linear, WarmupDecay

__all__ = [
    "Constant",
    "Controller",
    "Cosine",
    "EntropyTarget",
    "Exponential",
    "Feedback",
    "Gac",
    "GradientRatio",
    "Linear",
    "Periodic",
    "Phase",
    "RewardGap",
    "Schedule",
    "State",
    "Step",
    "WarmupDecay",
    "resolve_length",
]
