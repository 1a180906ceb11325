"""Options from other installed packages: `chord.plugins.register("weighting", "mine", Mine)`."""

from chord.config.plugins import register

__all__ = ["register"]
