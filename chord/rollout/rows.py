"""The answers of a step as tensors, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from chord.data.batch import TokenBatch


@dataclass
class RolloutRows:
    """The answers of a step's groups, B of them: the policy's own, and what experts put in.

    `old_logprobs` (B, T) of the policy's own tokens before its first update on them, at the
    sampling temperature; None in that update, whose own pass stands for them, so that every ratio
    is 1. `sampler_logprobs` (B, T): as whatever sampled the tokens had them, at the same
    temperature; None where nothing is to be compared with them. `advantages` and `signal` (B,);
    `finished` (B,) bool, false for an answer that was cut off, which `objective.overlong=mask`
    reads. `share` (B,): a gate's factor on each row's loss, not on the count it is divided by; None
    for 1. `expert` (B, T) bool: response tokens that the expert wrote, whole answers or prefixes;
    None where there are none. `correction` (B, T): what the objective's loss of each token is
    multiplied by, as another engine sampled it; None for 1. `order` (B,) as in `ExpertRows`.
    """

    tokens: TokenBatch
    old_logprobs: Tensor | None
    advantages: Tensor
    signal: Tensor
    finished: Tensor | None = None
    share: Tensor | None = None
    expert: Tensor | None = None
    correction: Tensor | None = None
    sampler_logprobs: Tensor | None = None
    order: Tensor | None = None

    def select(self, index: Tensor) -> RolloutRows:
        """Return the given rows, trimmed to the longest of them."""
        tokens = self.tokens.select(index)
        width = tokens.mask.shape[1]

        def part(table: Tensor | None) -> Tensor | None:
            return None if table is None else table[index, :width]

        return RolloutRows(
            tokens=tokens,
            old_logprobs=part(self.old_logprobs),
            advantages=self.advantages[index],
            signal=self.signal[index],
            finished=None if self.finished is None else self.finished[index],
            share=None if self.share is None else self.share[index],
            expert=part(self.expert),
            correction=part(self.correction),
            sampler_logprobs=part(self.sampler_logprobs),
            order=None if self.order is None else self.order[index],
        )

    def own(self) -> RolloutRows:
        """The same rows where only the policy's own tokens count."""
        if self.expert is None:
            return self
        return replace(self, tokens=self.tokens.within(~self.expert), expert=None)
