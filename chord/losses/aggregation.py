"""From token losses to one number that does not depend on how the step is cut into pieces.

Each branch is divided by its own count over *all* micro-batches and ranks of the optimizer step:

    total = sum over pieces and ranks of denominator(mask, ...)
    loss of a piece = aggregate(values, mask, ..., total=total)

and the gradients of the pieces are added. A framework that averages gradients over ranks needs loss
* ranks. Averaging the means of two pieces instead, with responses of 10 and 2 tokens in one and of
3 and 1 in the other, gives their tokens the weights 1/24 and 1/8, where all should have 1/16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.errors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

AGGREGATIONS = ("token", "sequence", "constant")


def denominator(
    mask: Tensor, *, aggregation: str = "token", max_length: int | None = None
) -> Tensor:
    """This piece's part of the count that `aggregate` divides by: an integer scalar to be summed.

    mask (..., T) bool. `token`: the number of True; `sequence`: the number of rows with any True;
    `constant`: rows times `max_length`, the longest response that the run allows.
    Rows of lengths 10 and 2 with max_length 12: 12 tokens, 2 sequences, 24 for the constant.
    """
    _check(aggregation)
    if aggregation == "token":
        return mask.sum()
    if aggregation == "sequence":
        return mask.any(dim=-1).sum()
    assert max_length is not None, "aggregation=constant needs max_length"
    return mask.new_ones(mask.shape[:-1]).sum() * max_length


def aggregate(
    values: Tensor, mask: Tensor, *, aggregation: str = "token", total: Tensor | float
) -> Tensor:
    """This piece's part of the step's loss; values and mask (..., T), result a scalar.

    `token` and `constant`: the sum over the tokens in the mask / total; `sequence`: the sum over
    rows of their mean over tokens / total. `total` is `denominator` summed over the whole optimizer
    step. A total of 0 gives 0 with a valid backward pass: gradients are zero, not missing. Values
    outside the mask are never read, not even NaN.

    values 1 on rows of lengths 10 and 2, total 16 tokens: .75.
    """
    _check(aggregation)
    values = values.masked_fill(~mask, 0.0)
    if aggregation == "sequence":
        values = values.sum(dim=-1) / mask.sum(dim=-1).clamp(min=1)
    # An empty step has a sum of 0, which has to stay attached to the graph: 0 / 1, not 0 / 0.
    return values.sum() / (total if total > 0 else 1)


def sft_loss(logprobs: Tensor, weights: Tensor, mask: Tensor, *, total: Tensor | float) -> Tensor:
    """Weighted negative log-likelihood of expert tokens: -sum(sg(w) log p) / total.

    logprobs, weights and mask (..., T); `total` is the number of expert tokens in the whole
    optimizer step, never the sum of the weights, so the gradient with respect to log p is exactly
    -w / total (arXiv 2508.11408, eq. 1 for w = 1, and eq. 6 for phi as a mean over tokens).

    One token of two with p = .5, w = .25, the other with w = 0: .25 ln 2 / 2 = .08664.
    """
    return weighted_loss(-logprobs, weights, mask, total=total)


def weighted_loss(
    losses: Tensor, weights: Tensor, mask: Tensor, *, total: Tensor | float
) -> Tensor:
    """sum(sg(w) l) / total over the token losses l of any target; shapes as in `sft_loss`."""
    return aggregate(weights.detach() * losses, mask, aggregation="token", total=total)


def mix(alpha: float, sft: Tensor | None, rl: Tensor | None) -> Tensor:
    """alpha * sft + (1 - alpha) * rl (arXiv 2508.11408, eq. 3), with alpha in [0, 1].

    None stands for a branch that was skipped, which is allowed only if its share is 0.
    `mix(0.25, 2.0, 4.0) == 3.5`.
    """
    assert 0 <= alpha <= 1, f"alpha={alpha} is no share"
    assert sft is not None or alpha == 0, f"the SFT branch was skipped at alpha={alpha}"
    assert rl is not None or alpha == 1, f"the RL branch was skipped at alpha={alpha}"
    if sft is None:
        assert rl is not None
        return rl
    if rl is None:
        return sft
    return alpha * sft + (1 - alpha) * rl


def _check(aggregation: str) -> None:
    check_choice("objective.aggregation", aggregation, AGGREGATIONS)
