"""What a model has learned and what it still knows, measured on held-out problems."""

from chord.evaluation.report import Report, evaluate
from chord.evaluation.settings import Evaluation

__all__ = ["Evaluation", "Report", "evaluate"]
