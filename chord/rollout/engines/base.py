"""What every engine does: receive the policy's weights, and respond to prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chord.data.batch import collate
from chord.errors import ConfigError, first_line
from chord.rollout.sampling import Samples, check_lengths, evaluating, sample

if TYPE_CHECKING:
    from torch import Tensor

    from chord.data.batch import Tokenizer
    from chord.models.base import ModelConfig
    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms
    from chord.rollout.settings import RolloutConfig


APART = 0.5
"""Nats per token, many times the difference that half precision makes for a model."""


@dataclass
class Request:
    """One response to be sampled: its prompt, its longest length, and its row of random numbers."""

    prompt: list[int]
    limit: int
    number: int
    """The index of the response among those requested together."""
    seed: int
    """From its row's first random number, and so from (seed, step, problem, sample) alone."""


@dataclass
class Draft:
    """What an engine sampled, including the end token, and each token's log-probability in the
    whole distribution at the sampling temperature.
    """

    tokens: list[int]
    logprobs: list[float]
    finished: bool


class Engine(ABC):
    """Generates responses to prompts, as the rollout settings say."""

    def __init__(self, config: RolloutConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer

    def sync(self, policy: Policy) -> None:
        """Take the policy's present weights; to be called before each step's rollouts."""
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
        """`group_size` responses to each prompt, each at most as long as the prompt's limit.

        `uniforms` (prompts * group_size, at least the longest limit), see `draw_uniforms`.
        """

    def close(self) -> None:
        """Stop everything that was started."""
        return


class Native(Engine):
    """The policy itself generates."""

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
    """Another program generates; the policy then computes its own log-probabilities."""

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
        """Raise a one-line ConfigError if something is not installed here, or set wrongly."""
        return

    def start(self, policy: Policy, *, longest: int) -> None:
        """Make it ready for the policy's weights, and for sequences of at most `longest` tokens.

        Raises a one-line ConfigError if that is impossible.
        """
        return

    def probe(self, policy: Policy) -> None:
        """Generate one response: ConfigError if that fails, or if its probabilities are different.

        An engine can accept a model's weights and still compute something else.
        """
        # Here and below: torch takes seconds to load, and settings are read without it.
        import numpy as np

        name, length = f"rollout={self.config.engine}", min(4, self.config.max_new_tokens)
        uniforms = np.full((1, self.config.max_new_tokens), 0.5)
        try:
            samples = self.sample(
                policy, [[0, 1, 2]], group_size=1, limits=[length], uniforms=uniforms
            )
        except Exception as error:  # engines raise many kinds
            raise ConfigError(f"{name}: the engine fails ({first_line(error)})") from error
        assert samples.sampler_logprobs is not None
        apart = float((samples.sampler_logprobs - samples.logprobs).abs().mean())
        if not apart < APART:
            raise ConfigError(
                f"{name}: the engine's log-probabilities are {apart:.1f} nats from the policy's, "
                "so it computes another model; use rollout=native"
            )

    @abstractmethod
    def generate(
        self, policy: Policy, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        """A response to each request."""

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
