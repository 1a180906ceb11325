"""Evaluation on held-out problems: what a model has learned and what it has retained."""

from chord.evaluation.report import Report, evaluate
from chord.evaluation.settings import Evaluation

__all__ = ["Evaluation", "Report", "evaluate"]
