"""The policy answers problems: the settings, the random numbers, and batched sampling."""

from chord.rollout.config import RolloutConfig
from chord.rollout.sampling import Samples, draw_uniforms, sample

__all__ = ["RolloutConfig", "Samples", "draw_uniforms", "sample"]
