"""The registry: every option of every config group, by the name its schema has.

Each is one dataclass: its fields are the schema, its `__post_init__` checks ranges. The YAML files
under `conf/` hold the values.
"""

from __future__ import annotations

from chord.config.optimizer import AdamW
from chord.config.trainer import TrainerConfig
from chord.data.gym import GymConfig
from chord.data.jsonl import FilesConfig
from chord.data.testbed import TestbedConfig
from chord.evaluation.settings import Evaluation
from chord.losses import Cispo, Grpo, Gspo, Reinforce
from chord.losses.advantages import Advantage, SrftAdvantage
from chord.losses.targets import Jsd, ReverseKl, Soft, Tokens
from chord.models.base import NoTeacher
from chord.models.hf.config import HFModel, HFTeacher
from chord.models.tiny import Tiny, TinyTeacher
from chord.rewards import (
    Format,
    Function,
    Length,
    Math,
    Numeric,
    ReasoningGym,
    Text,
    Verifier,
    Weighted,
)
from chord.rollout import RolloutConfig
from chord.schedules import (
    Constant,
    Cosine,
    EntropyTarget,
    Exponential,
    Gac,
    GradientRatio,
    Linear,
    Periodic,
    RewardGap,
    Step,
    WarmupDecay,
)
from chord.schedules.gates import AllWrongBuffer, NoGate, SolveRate
from chord.schedules.mixes import Additive, Convex
from chord.tracking import CsvTracking, NoTracking, WandbTracking
from chord.weightings import (
    Adaptive,
    Entropy,
    Focal,
    Importance,
    ImportanceClip,
    Iw,
    Luffy,
    Margin,
    Phi,
    Power,
    RlPlus,
    Srft,
    Threshold,
    TopEntropy,
    TopKEntropy,
    TrustRegion,
    Uniform,
)

SCHEMAS: dict[str, dict[str, type]] = {
    "schedule": {
        "constant": Constant,
        "linear": Linear,
        "cosine": Cosine,
        "exponential": Exponential,
        "warmup_decay": WarmupDecay,
        "step": Step,
        "periodic": Periodic,
        "reward_gap": RewardGap,
        "entropy": EntropyTarget,
        "gac": Gac,
        "gradient_ratio": GradientRatio,
    },
    "weighting": {
        "uniform": Uniform,
        "adaptive": Adaptive,
        "entropy": Entropy,
        "margin": Margin,
        "phi": Phi,
        "importance": Importance,
        "importance_clip": ImportanceClip,
        "focal": Focal,
        "power": Power,
        "threshold": Threshold,
        "luffy": Luffy,
        "trust_region": TrustRegion,
        "rlplus": RlPlus,
        "top_entropy": TopEntropy,
        "top_k_entropy": TopKEntropy,
        "srft": Srft,
        "iw": Iw,
    },
    "objective": {"grpo": Grpo, "reinforce": Reinforce, "gspo": Gspo, "cispo": Cispo},
    "advantage": {"advantage": Advantage, "srft": SrftAdvantage},
    "gate": {"none": NoGate, "solve_rate": SolveRate, "all_wrong_buffer": AllWrongBuffer},
    "mix": {"convex": Convex, "additive": Additive},
    "target": {"tokens": Tokens, "soft": Soft, "reverse_kl": ReverseKl, "jsd": Jsd},
    "rollout": {"native": RolloutConfig},
    "reward": {
        "exact": Verifier,
        "text": Text,
        "numeric": Numeric,
        "math": Math,
        "reasoning_gym": ReasoningGym,
        "format": Format,
        "length": Length,
        "weighted": Weighted,
        "function": Function,
    },
    "data": {"testbed": TestbedConfig, "jsonl": FilesConfig, "reasoning_gym": GymConfig},
    "model": {"tiny": Tiny, "hf": HFModel},
    "teacher": {"none": NoTeacher, "tiny": TinyTeacher, "hf": HFTeacher},
    "optimizer": {"adamw": AdamW},
    "trainer": {"trainer": TrainerConfig},
    "evaluation": {"evaluation": Evaluation},
    "tracking": {"wandb": WandbTracking, "csv": CsvTracking, "off": NoTracking},
}

SECOND = {"off_policy": "weighting", "sft_optimizer": "optimizer"}
"""Settings that hold a second option of a group, chosen as `weighting@off_policy=luffy`."""
