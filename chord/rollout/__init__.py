"""Rollouts: their settings, their random numbers, and batched sampling."""

from chord.rollout.sampling import Samples, draw_uniforms, sample
from chord.rollout.settings import RolloutConfig

__all__ = ["RolloutConfig", "Samples", "draw_uniforms", "sample"]
