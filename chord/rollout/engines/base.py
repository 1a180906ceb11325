"""What every engine has: the policy's weights are handed over, prompts are answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.errors import first_line
from chord.rollout.sampling import Samples, check_lengths, evaluating, sample

if TYPE_CHECKING:
    from torch import Tensor

    from chord.data.batch import Tokenizer
    from chord.models.base import ModelConfig
    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms
    from chord.rollout.settings import RolloutConfig


APART = 0.5
"""Nats a token, many times what half precision makes of one model."""


@dataclass
class Request:
    """One answer to be sampled: its prompt, its longest length, and its row of random numbers."""

    prompt: list[int]
    limit: int
    number: int
    """Of the answer among those asked for together."""
    seed: int
    """Of this answer alone: of its row's first number, so of (seed, step, problem, sample)."""


@dataclass
class Draft:
    """What an engine has sampled, the end token included, and the log-probability of each token
    in the whole distribution at the sampling temperature.
    """

    tokens: list[int]
    logprobs: list[float]
    finished: bool


class Engine(ABC):
    """Answers prompts as the rollout settings say."""

    def __init__(self, config: RolloutConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer

    def sync(self, policy: Policy) -> None:
        """Take the policy's weights as they are now; to be called before each step's answers."""
        return

    @abstractmethod
    def sample(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        limits: Sequence[int],
        uniforms: Uniforms,
    ) -> Samples:
        """`group_size` answers to each prompt, each no longer than the prompt's limit.

        `uniforms` (prompts * group_size, at least the longest limit), see `draw_uniforms`.
        """

    def close(self) -> None:
        """End what was started."""
        return


class Native(Engine):
    """The policy answers itself."""

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        limits: Sequence[int],
        uniforms: Uniforms,
    ) -> Samples:
        config = self.config
        return sample(
            policy,
            prompts,
            group_size=group_size,
            max_new_tokens=config.max_new_tokens,
            rows_at_a_time=config.rows_at_a_time,
            limits=limits,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            uniforms=uniforms,
            stop_ids=self.tokenizer.stop_ids,
            pad_id=self.tokenizer.pad_id,
        )


class Foreign(Engine):
    """Another program answers; the policy itself then says how probable it finds the answers."""

    def __init__(
        self,
        config: RolloutConfig,
        tokenizer: Tokenizer,
        *,
        model: ModelConfig,
        micro_batch: int,
    ) -> None:
        super().__init__(config, tokenizer)
        self.model = model
        self.micro_batch = micro_batch

    def check(self) -> None:
        """Raises ValueError in one line for what is not installed here, or set wrongly."""
        return

    def start(self, policy: Policy, *, longest: int) -> None:
        """Make it ready for the policy's weights, and sequences of at most `longest` tokens.

        Raises ValueError in one line where that can't be.
        """
        return

    def probe(self, policy: Policy) -> None:
        """Answer once: ValueError where that fails, or the answer's probabilities are others.

        An engine may take a model's weights and yet compute something else.
        """
        import numpy as np

        name, length = f"rollout={self.config.engine}", min(4, self.config.max_new_tokens)
        uniforms = np.full((1, self.config.max_new_tokens), 0.5)
        try:
            samples = self.sample(
                policy, [[0, 1, 2]], group_size=1, limits=[length], uniforms=uniforms
            )
        except Exception as error:  # engines raise many kinds
            raise ValueError(f"{name}: the engine fails ({first_line(error)})") from error
        assert samples.sampler_logprobs is not None
        apart = float((samples.sampler_logprobs - samples.logprobs).abs().mean())
        if not apart < APART:
            raise ValueError(
                f"{name}: the engine's log-probabilities are {apart:.1f} nats from the policy's, "
                "so it computes another model; use rollout=native"
            )

    @abstractmethod
    def generate(
        self, policy: Policy, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        """An answer to each request."""

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[list[int]],
        *,
        group_size: int,
        limits: Sequence[int],
        uniforms: Uniforms,
    ) -> Samples:
        import torch

        check_lengths(prompts, limits, self.config.max_new_tokens, policy.context)
        requests = [
            # A random number in [0, 1) has 53 bits.
            Request(
                list(prompts[row // group_size]),
                limits[row // group_size],
                row,
                int(uniforms[row, 0] * 2**53),
            )
            for row in range(len(prompts) * group_size)
        ]
        drafts = self.generate(policy, requests, uniforms)
        responses = [draft.tokens for draft in drafts]
        logprobs, entropies, at_one = self.score(policy, [r.prompt for r in requests], responses)
        told = [value for draft in drafts for value in draft.logprobs]
        assert len(told) == len(logprobs), "the engine gives no log-probability for some token"
        return Samples(
            responses=responses,
            logprobs=logprobs,
            entropies=entropies,
            entropies_at_one=at_one,
            finished=[draft.finished for draft in drafts],
            sampler_logprobs=torch.tensor(told, dtype=logprobs.dtype),
        )

    def score(
        self, policy: Policy, prompts: Sequence[list[int]], responses: Sequence[list[int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The policy's own log-probabilities and entropies (N,) at the sampling temperature, and
        its entropies at temperature 1.
        """
        import torch

        from chord.data.batch import collate
        from chord.losses import token_entropy
        from chord.models.scoring import scatter, score
        from chord.models.sharing import own_batches
        from chord.weightings.stats import token_logprobs

        temperature = self.config.temperature

        def of_tokens(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
            return (
                token_logprobs(logits, targets, temperature=temperature),
                token_entropy(logits / temperature),
                token_entropy(logits),
            )

        batch = collate(prompts, responses, pad_id=self.tokenizer.pad_id).to(policy.device)
        values = torch.zeros((*batch.mask.shape, 3), dtype=policy.dtype, device=policy.device)
        with torch.no_grad(), evaluating(policy):
            for index in own_batches(policy, batch, self.micro_batch):
                piece = batch.select(index)
                found = score(policy, piece).map(of_tokens, piece.targets[piece.mask])
                width = piece.mask.shape[1]
                values[index, :width] = scatter(torch.stack(found, dim=-1), piece.mask)
        logprobs, entropies, at_one = values[batch.mask].cpu().unbind(dim=-1)
        return logprobs, entropies, at_one
