"""The models of a step: the policy, and the models that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from chord.models.policy import Policy

if TYPE_CHECKING:
    from chord.models.teacher_cache import TeacherCache


@dataclass
class Models:
    """The policy, and the frozen models that some terms compare it with.

    `cache`: the teacher's likeliest tokens on expert responses, for targets that read them from
    disk.
    """

    policy: Policy
    teacher: Policy | None = None
    reference: Policy | None = None
    cache: TeacherCache | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The data type that losses are computed in."""
        return self.policy.dtype
