"""What answers a step's problems: the policy itself, or an engine that is given its weights."""

from chord.rollout.engines.base import Engine, Foreign, Native

__all__ = ["Engine", "Foreign", "Native"]
