"""The responses of a step as tensors, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from chord.data.batch import TokenBatch


@dataclass
class RolloutRows:
    """The B responses of a step's groups: the policy's own, and what experts wrote in them.

    - `old_logprobs` (B, T): of the policy's own tokens before its first update on them, at the
      sampling temperature; None in that update, whose own pass provides them, so that every ratio
      is 1.
    - `sampler_logprobs` (B, T): those of the sampler, at the same temperature; None if nothing is
      to be compared with them.
    - `advantages` and `signal` (B,).
    - `finished` (B,) bool: False for a response that was cut off, for `objective.overlong=mask`.
    - `share` (B,): a gate's factor of each row's loss, not of the count that it is divided by; None
      for 1.
    - `expert` (B, T) bool: tokens that the expert wrote, in whole responses or prefixes; None if
      there are none.
    - `correction` (B, T): factor of the objective's loss of each token, because another engine
      sampled it; None for 1.
    - `order` (B,): as in `ExpertRows`.
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
        """The given rows, trimmed to the longest of them."""
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
        """The same rows, with only the policy's own tokens in the mask."""
        if self.expert is None:
            return self
        return replace(self, tokens=self.tokens.within(~self.expert), expert=None)
