"""The rollout settings: how many rollouts a train step samples, and how."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

from chord.distributed.launch import first
from chord.errors import ConfigError, check_choice
from chord.rollout.prefix import KINDS, STAGES, Prefixes
from chord.schedules import resolve_length

ENGINES = ("native", "hf", "vllm")
PREFIX_LOSSES = ("none", "nll", "advantage")


@dataclass(kw_only=True)
class RolloutConfig:
    """How many rollouts are sampled in a train step, and how.

    Raises ConfigError naming ``rollout.<field>``; warns if top_p or top_k truncates the
    distribution.
    """

    option = "native"

    problems: int = 24
    """Problems in a train step."""
    group_size: int = 8
    """Rollouts for each problem; a group of one has no relative advantage."""
    temperature: float = 1.0
    top_p: float = 1.0
    """Probability mass that is sampled from; 1 is all of it."""
    top_k: int = 0
    """Number of likeliest tokens that are sampled from; 0 is all tokens."""
    max_new_tokens: int = 64
    """Length in tokens at which a rollout without an end token is cut off."""
    rows_at_a_time: int = 256
    """Responses computed at once, also in evaluations; it affects memory, not the responses."""
    updates: int = 1
    """Optimizer updates on one batch of rollouts."""
    expert_in_group: int = 0
    """Members of each group that are the expert's response (LUFFY, arXiv 2504.14945)."""
    prefix: str = "none"
    """Which rollouts continue an expert prefix: none, binomial, uniform or staged."""
    prefix_initial: float = 0.95
    """Share p_t of the expert's response in the first step."""
    prefix_final: float = 0.05
    """Share p_t after `prefix_until`."""
    prefix_until: float = 0.6
    """Length of the half cosine between them: below 1 a share of the run, from 1 on steps."""
    prefix_samples: int = 1
    """Rollouts of a group that have a prefix, for `uniform`."""
    prefix_loss: str = "none"
    """Loss on prefix tokens: none; nll; or advantage, that of their rollout."""
    prefix_coef: float = 1.0
    """Factor of `nll`, which is averaged over the step's prefix tokens."""
    engine: str = "native"
    """What generates rollouts: the policy itself, transformers' generate (hf), or vllm."""
    server: str | None = None
    """Address of a vLLM server, http://HOST:PORT; None: vLLM runs in this process."""
    server_directory: str | None = None
    """Where weights for the server are written and read by it; None: a temporary directory."""
    vllm: dict[str, Any] = field(default_factory=dict)
    """Further arguments of vllm.LLM, such as gpu_memory_utilization."""
    correction_threshold: float = 0.001
    """The mean |log p - log q| of a step from which on its tokens are weighted by p / q, with p the
    policy's and q the engine's probability; 0: always, inf: never."""
    correction_cap: float = 2.0
    """Largest such weight."""
    correct_native: bool = False
    """Also weight tokens that the policy itself sampled: in bfloat16, sampling with a cache gives
    different probabilities than the training pass."""
    total_steps: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("problems", 1),
            ("group_size", 2),
            ("max_new_tokens", 1),
            ("rows_at_a_time", 1),
            ("updates", 1),
            ("top_k", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"rollout.{name}={value}: must be at least {least}")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"rollout.temperature={self.temperature}: must be greater than 0")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"rollout.top_p={self.top_p}: must be within (0, 1]")
        self._check_experts()
        self._check_engine()
        for name, off in (("top_p", 1.0), ("top_k", 0)):
            if getattr(self, name) != off and first():
                warnings.warn(
                    f"rollout.{name}={getattr(self, name)}: samples no longer follow the policy "
                    f"that is trained, which biases its gradient; {off} turns this off",
                    stacklevel=3,
                )

    def _check_experts(self) -> None:
        for name, value, allowed in (
            ("prefix", self.prefix, KINDS),
            ("prefix_loss", self.prefix_loss, PREFIX_LOSSES),
        ):
            check_choice(f"rollout.{name}", value, allowed)
        most = self.group_size - 1
        for name, least in (("expert_in_group", 0), ("prefix_samples", 1)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(
                    f"rollout.{name}={value}: must be within [{least}, {most}], so that a group "
                    "keeps an answer of the policy's own"
                )
        for name in ("prefix_initial", "prefix_final"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"rollout.{name}={getattr(self, name)}: must be within [0, 1]")
        for name in ("prefix_until", "prefix_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"rollout.{name}={getattr(self, name)}: must be a number >= 0")
        if self.prefix == "none":
            return
        if self.expert_in_group:
            raise ConfigError(
                f"rollout.prefix={self.prefix}: must be none with rollout.expert_in_group above 0"
            )
        if self.prefix == "staged" and self.group_size < len(STAGES):
            raise ConfigError(
                f"rollout.group_size={self.group_size}: must be at least {len(STAGES)} with "
                "rollout.prefix=staged, an answer for each stage"
            )

    def _check_engine(self) -> None:
        check_choice("rollout.engine", self.engine, ENGINES)
        if not self.correction_threshold >= 0:
            raise ConfigError(
                f"rollout.correction_threshold={self.correction_threshold}: must be a number >= 0"
            )
        if self.correct_native and self.engine != "native":
            raise ConfigError(
                f"rollout.correct_native={self.correct_native}: needs rollout.engine=native; what "
                f"{self.engine} samples is corrected by rollout.correction_threshold alone"
            )
        if not self.correction_cap >= 1:
            raise ConfigError(f"rollout.correction_cap={self.correction_cap}: must be at least 1")
        for name, value in (("server", self.server), ("vllm", self.vllm)):
            if value and self.engine != "vllm":
                raise ConfigError(
                    f"rollout.{name}={value}: needs rollout=vllm, not rollout.engine={self.engine}"
                )
        if self.server is not None and not self.server.startswith(("http://", "https://")):
            raise ConfigError(
                f"rollout.server={self.server}: must be an address such as http://localhost:8000"
            )
        if self.server_directory is not None and self.server is None:
            raise ConfigError(
                f"rollout.server_directory={self.server_directory}: needs rollout.server, which "
                "reads it"
            )
        if self.server is not None and self.vllm:
            raise ConfigError(
                f"rollout.vllm={self.vllm}: a server has its own arguments; give them where it is "
                "started"
            )
        truncated = self.top_p < 1 or self.top_k > 0
        if self.engine == "vllm" and truncated and self.temperature != 1:
            raise ConfigError(
                f"rollout.temperature={self.temperature}: must be 1 where vLLM samples with top_p "
                "or top_k, or it gives no log-probabilities of the whole distribution"
            )

    @property
    def needs_expert_answers(self) -> bool:
        """Whether the RL problems must come with an expert response."""
        return self.expert_in_group > 0 or self.prefix != "none"

    @property
    def unaided(self) -> int:
        """How many rollouts of a group, its first ones, can be without the expert's help."""
        return self.prefixes.unaided(self.group_size - self.expert_in_group)

    @property
    def off_policy_loss(self) -> str:
        """The loss on the expert's tokens inside groups: advantage, nll or none."""
        return self.prefix_loss if self.prefix != "none" else "advantage"

    @property
    def prefixes(self) -> Prefixes:
        """The rule for the expert prefixes that rollouts continue."""
        return Prefixes(
            kind=self.prefix,
            initial=self.prefix_initial,
            final=self.prefix_final,
            until=resolve_length(self.prefix_until, self.total_steps),
            samples=self.prefix_samples,
        )
