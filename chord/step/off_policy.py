"""The expert's tokens inside groups: whole responses among the rollouts, and prefixes of them."""

from __future__ import annotations

from torch import Tensor

from chord.distributed.collectives import all_sum
from chord.losses import aggregate, denominator
from chord.models.models import Models
from chord.models.scoring import Scored, scatter
from chord.rollout.rows import RolloutRows
from chord.step.rows import OffPolicy, TokenLog
from chord.step.weights import StepWeights


class ExpertTokens:
    """The losses of a step's expert tokens inside groups, one micro-batch at a time.

    p is at temperature 1, as always for tokens that the policy did not sample. With A the row's
    advantage, the gradient of -A sg(w) log p is that of LUFFY's -A p / (p + gamma) for `luffy`, and
    that of RL-PLUS' ratio for `rlplus`; only the logged value of the loss differs.
    """

    def __init__(
        self,
        models: Models,
        rows: RolloutRows,
        settings: OffPolicy,
        seen: TokenLog,
        *,
        micro_batch: int = 0,
    ) -> None:
        assert rows.expert is not None, "there is no expert's token in the rows"
        self.settings = settings
        self.seen = seen
        tokens = rows.tokens.within(rows.expert)
        self._total = all_sum(denominator(tokens.mask))
        self._weights_of = StepWeights(
            models,
            settings.weighting,
            tokens,
            rows.signal,
            order=rows.order,
            micro_batch=micro_batch,
        )

    def losses(self, index: Tensor, piece: RolloutRows, scored: Scored) -> Tensor:
        """-A sg(w) log p (b, t) of one micro-batch, 0 on all other tokens.

        `scored` are all response tokens of the micro-batch, including the policy's own.
        """
        weighted, mask = self._weighted(index, piece, scored)
        advantages = piece.advantages.detach().to(weighted.dtype)
        return -(scatter(weighted, mask) * advantages[:, None])

    def nll(self, index: Tensor, piece: RolloutRows, scored: Scored) -> Tensor:
        """coef * sum(-sg(w) log p) / N, N the expert's tokens of the whole step."""
        weighted, mask = self._weighted(index, piece, scored)
        losses = -scatter(weighted, mask)
        if piece.share is not None:
            losses = losses * piece.share[:, None]
        return self.settings.coef * aggregate(losses, mask, total=self._total)

    def _weighted(self, index: Tensor, piece: RolloutRows, scored: Scored) -> tuple[Tensor, Tensor]:
        """sg(w) log p of the expert's tokens (M,), and their positions (b, t)."""
        assert piece.expert is not None, "a micro-batch keeps the rows' mask of expert tokens"
        mask = piece.tokens.mask & piece.expert
        stats = scored[mask[piece.tokens.mask]].stats(
            piece.tokens.targets[mask], top_k=self.settings.weighting.top_k
        )
        weights = self._weights_of(index, stats).detach()
        self.seen.off_logprobs.append(stats.logprobs.detach())
        self.seen.off_weights.append(weights)
        return weights * stats.logprobs, mask
