"""Engines that generate rollouts: the policy itself, or another one that receives its weights."""

from chord.rollout.engines.base import Engine, Foreign, Native

__all__ = ["Engine", "Foreign", "Native"]
