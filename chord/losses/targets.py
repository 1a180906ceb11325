"""Targets: what the SFT branch imitates, the expert's tokens or a teacher's distribution.

A target gives each token of the branch a loss, which the weighting then scales. The tokens are
those of expert responses, or of the policy's own samples in the step, which is on-policy
distillation. P is the policy's distribution at a token, Q the teacher's.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from chord.errors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

    from chord.losses.distillation import TeacherTokens

ESTIMATORS = ("sampled", "exact")


@dataclass(kw_only=True)
class Target(ABC):
    """A rule for the loss of each token of the SFT branch."""

    needs_teacher: ClassVar[bool] = True

    @property
    def cache_path(self) -> str | None:
        """The file that holds the teacher's distributions; None to run the teacher itself."""
        return None

    def on_own_samples(self, seed: int, step: int) -> bool:
        """Whether this step uses the policy's own samples; otherwise it uses expert responses."""
        return False

    @property
    def own_share(self) -> float:
        """The share of steps that use own samples: 0 never, 1 always."""
        return 0.0

    @property
    def on_policy(self) -> bool:
        """Whether its loss on own samples is right only if the current policy sampled them."""
        return False

    @abstractmethod
    def token_losses(
        self, logits: Tensor, logprobs: Tensor, targets: Tensor, teacher: TeacherTokens | None
    ) -> Tensor:
        """Losses (N,) from the policy's logits (N, V) and the tokens at their positions (N,).

        `logprobs` (N,) are log p of those tokens at temperature 1; like the logits, they have a
        gradient. `teacher`: the result of `read` on the teacher's logits at these positions, or the
        cache's entries, as constants; None for a target without `needs_teacher`.
        """

    def read(self, teacher_logits: Tensor) -> TeacherTokens:
        """The teacher's log-probabilities for `token_losses`, from its logits (N, V)."""
        # Here and below: torch takes seconds to load, and settings are read without it.
        from chord.losses.distillation import TeacherTokens

        return TeacherTokens(teacher_logits.log_softmax(dim=-1))


@dataclass(kw_only=True)
class Tokens(Target):
    """-log p of the expert's token: SFT. For p = .5: ln 2 = .69315."""

    option = "tokens"

    needs_teacher: ClassVar[bool] = False

    def token_losses(
        self, logits: Tensor, logprobs: Tensor, targets: Tensor, teacher: TeacherTokens | None
    ) -> Tensor:
        return -logprobs


@dataclass(kw_only=True)
class _Distilled(Target):
    """What targets with a teacher share: the temperature of both models."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"target.temperature={self.temperature}: must be greater than 0")

    def read(self, teacher_logits: Tensor) -> TeacherTokens:
        return super().read(teacher_logits / self.temperature)

    def _student(self, logits: Tensor, teacher: TeacherTokens) -> Tensor:
        """The policy's log-probabilities of the same events as the teacher's."""
        from chord.losses.distillation import merge_rest

        logprobs = (logits / self.temperature).log_softmax(dim=-1)
        return logprobs if teacher.ids is None else merge_rest(logprobs, teacher.ids)


@dataclass(kw_only=True)
class Soft(_Distilled):
    """KL(Q || P), forward, on expert responses: word-level distillation (arXiv 1606.07947).

    Its gradient with respect to the logits is P - Q. The teacher's entropy, a constant, is
    subtracted, so the loss is 0 if P = Q. Q = (.75, .25), P = (.5, .5): .13081.
    `cache`: a file made by `python -m chord.cache_teacher`, which holds Q's likeliest tokens at
    temperature 1 on the expert responses; None runs the teacher in every step.
    Raises ValueError for a temperature <= 0, or for a cache with a temperature other than 1.
    """

    option = "soft"

    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache is not None and self.temperature != 1:
            raise ValueError(
                f"target.temperature={self.temperature}: must be 1 with target.cache, which holds "
                "the teacher at temperature 1"
            )

    @property
    def cache_path(self) -> str | None:
        return self.cache

    def token_losses(
        self, logits: Tensor, logprobs: Tensor, targets: Tensor, teacher: TeacherTokens | None
    ) -> Tensor:
        from chord.losses.distillation import divergence

        assert teacher is not None, "target=soft needs the teacher's distribution"
        return divergence(teacher.logprobs.detach(), self._student(logits, teacher))


@dataclass(kw_only=True)
class ReverseKl(_Distilled):
    """KL(P || Q) on the policy's own samples: on-policy distillation.

    `sampled`: -A log p with the detached advantage A = log Q(y) - log P(y) of the sampled token,
    whose expected gradient is that of KL(P || Q) at each token given its prefix (Thinking Machines
    Lab, "On-Policy Distillation", 2025; MiniLLM, arXiv 2306.08543, without the reward of later
    tokens). It is valid for one update per batch only. `exact`: the sum over the vocabulary.
    P = (.5, .5), Q = (.75, .25), exact: .14384; sampled, y = 0: A = ln 1.5, loss ln 1.5 ln 2.
    Raises ValueError for an unknown estimator or a temperature <= 0.
    """

    option = "reverse_kl"

    estimator: str = "sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("target.estimator", self.estimator, ESTIMATORS)

    def on_own_samples(self, seed: int, step: int) -> bool:
        return True

    @property
    def own_share(self) -> float:
        return 1.0

    @property
    def on_policy(self) -> bool:
        return self.estimator == "sampled"

    def token_losses(
        self, logits: Tensor, logprobs: Tensor, targets: Tensor, teacher: TeacherTokens | None
    ) -> Tensor:
        from chord.losses.distillation import divergence

        assert teacher is not None, "target=reverse_kl needs the teacher's distribution"
        student, expert = self._student(logits, teacher), teacher.logprobs.detach()
        if self.estimator == "exact":
            return divergence(student, expert)
        chosen = targets.unsqueeze(-1)
        own = student.gather(-1, chosen).squeeze(-1)
        advantage = expert.gather(-1, chosen).squeeze(-1) - own.detach()
        return -advantage * own


@dataclass(kw_only=True)
class Jsd(_Distilled):
    """beta KL(Q || M) + (1 - beta) KL(P || M), M = beta Q + (1 - beta) P: GKD (arXiv 2306.13649).

    A step uses the policy's own samples with probability `own` (lambda in the paper), drawn from
    (seed, step), and expert responses otherwise. The defaults .5, .5 and temperature .9 are those
    of a widely used implementation (TRL). Q = (.75, .25), P = (.5, .5): .03382 at temperature 1.
    Raises ValueError for beta outside (0, 1) or `own` outside [0, 1].
    """

    option = "jsd"

    temperature: float = 0.9
    beta: float = 0.5
    own: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.beta < 1:
            raise ValueError(f"target.beta={self.beta}: must be within (0, 1)")
        if not 0 <= self.own <= 1:
            raise ValueError(f"target.own={self.own}: must be within [0, 1]")

    def on_own_samples(self, seed: int, step: int) -> bool:
        return random.Random(f"target/{seed}/{step}").random() < self.own

    @property
    def own_share(self) -> float:
        return self.own

    def token_losses(
        self, logits: Tensor, logprobs: Tensor, targets: Tensor, teacher: TeacherTokens | None
    ) -> Tensor:
        from chord.losses.distillation import jensen_shannon

        assert teacher is not None, "target=jsd needs the teacher's distribution"
        return jensen_shannon(
            teacher.logprobs.detach(), self._student(logits, teacher), beta=self.beta
        )
