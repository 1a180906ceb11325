"""What two steps of a run have to come to, worked out by loops over tokens.

Nothing here is batched, cut into micro-batches or spread over ranks, and nothing is imported from
the step: each row goes through the model alone, each term is added up by itself. From the run are
taken the weights before a step, the problems drawn, the tokens sampled and the scores of verifiers.
"""

from pairs.reference.step import Expected, Reference

__all__ = ["Expected", "Reference"]
