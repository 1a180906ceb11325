"""Responses from transformers' `generate`: independent code to compare the native sampler with.

It uses the same random numbers in the same way as the native sampler, row by row, so that samples
differ only through rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from chord.data.batch import left_pad
from chord.errors import ConfigError
from chord.io.extras import install
from chord.rollout.choice import Sampler
from chord.rollout.engines.base import Draft, Foreign, Request
from chord.rollout.sampling import evaluating

try:
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
except ImportError as error:
    raise ConfigError(f"rollout=hf: needs the transformers library; {install('hf')}") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from chord.models.policy import Policy
    from chord.rollout.sampling import Uniforms


class Generate(Foreign):
    """`generate`, with chord's choice of tokens."""

    causal: PreTrainedModel | None = None

    def sync(self, policy: Policy) -> None:
        """A transformers model generates by itself; any other one is converted."""
        self.causal = self.model.causal(policy)

    def generate(
        self, policy: Policy, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        assert self.causal is not None, "an engine is given weights before it answers"
        size = self.config.rows_at_a_time
        with torch.no_grad(), evaluating(policy), _without_own_settings(self.causal):
            return [
                draft
                for start in range(0, len(requests), size)
                for draft in self._generate(
                    policy.device, requests[start : start + size], uniforms[start : start + size]
                )
            ]

    def _generate(
        self, device: torch.device, requests: Sequence[Request], uniforms: Uniforms
    ) -> list[Draft]:
        causal: Any = self.causal
        config, tokenizer = self.config, self.tokenizer
        prompts, mask = left_pad([r.prompt for r in requests], pad_id=tokenizer.pad_id)
        mask = torch.ones_like(prompts) if mask is None else mask.long()
        chooser = Chooser(
            Sampler(
                stops=torch.tensor(sorted(tokenizer.stop_ids), device=device),
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
            ),
            torch.as_tensor(uniforms, dtype=torch.float64, device=device),
            torch.tensor([r.limit for r in requests], device=device),
        )
        causal.generate(
            prompts.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(r.limit for r in requests),
                pad_token_id=tokenizer.pad_id,
                disable_compile=True,
            ),
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([chooser.stop]),
        )
        return chooser.drafts()


class Chooser:
    """Chooses each row's next token as the native sampler does, and keeps the choices."""

    def __init__(self, sampler: Sampler, uniforms: Tensor, limits: Tensor) -> None:
        self.sampler = sampler
        self.uniforms = uniforms
        self.limits = limits
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, logits: Tensor) -> Tensor:
        """Scores in which the chosen token has the largest one."""
        # Generate may take one more step than it keeps.
        column = min(len(self.tokens), self.uniforms.shape[1] - 1)
        tokens, logprobs, *_ = self.sampler(logits, self.uniforms[:, column])
        self.tokens.append(tokens)
        self.logprobs.append(logprobs)
        return torch.zeros_like(logits).scatter(1, tokens[:, None], 1.0)

    def stop(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Which rows have ended, (B,) bool."""
        ended = torch.isin(self.tokens[-1], self.sampler.stops)
        return ended | (self.limits <= len(self.tokens))

    def drafts(self) -> list[Draft]:
        """The sampled tokens, each row up to its end."""
        tokens, logprobs = torch.stack(self.tokens, dim=1), torch.stack(self.logprobs, dim=1)
        ends = torch.isin(tokens, self.sampler.stops)
        # One more column, so that a row without an end token has its end after the last one.
        first = torch.cat([ends, torch.ones_like(ends[:, :1])], dim=1).int().argmax(dim=1) + 1
        lengths = first.minimum(self.limits).tolist()
        finished = (first <= self.limits).tolist()
        rows = zip(tokens.tolist(), logprobs.tolist(), lengths, finished, strict=True)
        return [Draft(ids[:n], values[:n], done) for ids, values, n, done in rows]


@contextmanager
def _without_own_settings(causal: Any) -> Iterator[None]:
    """Drop a model's own generation settings, such as penalties: they change the distribution."""
    own = causal.generation_config
    causal.generation_config = GenerationConfig()
    try:
        yield
    finally:
        causal.generation_config = own
