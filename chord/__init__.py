"""chord: train language models on a mix of imitation and reinforcement learning.

`loss = alpha * L_sft + (1 - alpha) * L_rl`, alpha the SFT share. The names below are loaded on
first use, so importing the package costs nothing and does not import torch.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chord.io.moved import find_moved_modules

if TYPE_CHECKING:
    from chord.losses import (
        Cispo,
        Grpo,
        Gspo,
        Kl,
        Objective,
        Reinforce,
        aggregate,
        denominator,
        group_signal,
        kl_estimate,
        kl_exact,
        mix,
        sft_loss,
        token_entropy,
        unified_objective,
    )
    from chord.losses.advantages import Advantage, compute_advantages
    from chord.schedules import (
        Constant,
        Controller,
        Cosine,
        EntropyTarget,
        Exponential,
        Feedback,
        Gac,
        GradientRatio,
        Linear,
        Periodic,
        Phase,
        RewardGap,
        Schedule,
        Step,
        WarmupDecay,
    )
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
        TokenStats,
        TopEntropy,
        TopKEntropy,
        TrustRegion,
        Uniform,
        Weighting,
        WeightInputs,
        minmax_signal,
        token_logprobs,
        token_stats,
        weight_mean,
    )

__version__ = "0.1.0"

__all__ = [
    "Adaptive",
    "Advantage",
    "Cispo",
    "Constant",
    "Controller",
    "Cosine",
    "Entropy",
    "EntropyTarget",
    "Exponential",
    "Feedback",
    "Focal",
    "Gac",
    "GradientRatio",
    "Grpo",
    "Gspo",
    "Importance",
    "ImportanceClip",
    "Iw",
    "Kl",
    "Linear",
    "Luffy",
    "Margin",
    "Objective",
    "Periodic",
    "Phase",
    "Phi",
    "Power",
    "Reinforce",
    "RewardGap",
    "RlPlus",
    "Schedule",
    "Srft",
    "Step",
    "Threshold",
    "TokenStats",
    "TopEntropy",
    "TopKEntropy",
    "TrustRegion",
    "Uniform",
    "WarmupDecay",
    "WeightInputs",
    "Weighting",
    "aggregate",
    "compute_advantages",
    "denominator",
    "group_signal",
    "kl_estimate",
    "kl_exact",
    "minmax_signal",
    "mix",
    "sft_loss",
    "token_entropy",
    "token_logprobs",
    "token_stats",
    "unified_objective",
    "weight_mean",
]


def _runs_a_command() -> bool:
    """Whether this process is `python -m chord.NAME`, or `chord-NAME`, that begins."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    # Python calls a module that it has yet to find so; its name stands before the arguments.
    typed = sys.orig_argv[-len(sys.argv)] if script == "-m" else ""
    return script.startswith("chord-") or typed.removeprefix("-m").partition(".")[0] == __name__


def _in_one_line(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What Python shows at the end of a command: of Ctrl-C, which may come while it is loaded, no
    traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if _runs_a_command():
    sys.excepthook = _in_one_line
find_moved_modules()

_HOMES = ("schedules", "weightings", "losses", "losses.advantages")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
