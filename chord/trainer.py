"""The trainer group: the few Trainer settings that are supported, and the Trainer itself."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

# What this package decides itself: another value would end a run early, or clip twice.
DECIDED = (
    "accelerator",
    "accumulate_grad_batches",
    "callbacks",
    "devices",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "fast_dev_run",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "limit_train_batches",
    "logger",
    "max_epochs",
    "max_steps",
    "max_time",
    "min_epochs",
    "min_steps",
    "num_sanity_val_steps",
    "overfit_batches",
    "precision",
)


@dataclass(kw_only=True)
class TrainerConfig:
    """Settings of the training loop.

    `micro_batch` rows go through the model at a time (0: all at once); the gradient does not
    depend on it. A checkpoint is written every `checkpoint_every` train steps and at the end,
    branch gradients are compared every `diagnostics_every`, samples are kept every
    `completions_every` (0: never). `extra` is passed to Lightning's Trainer as it is.
    """

    accelerator: str
    devices: int
    precision: str
    micro_batch: int
    checkpoint_every: int
    diagnostics_every: int
    completions_every: int
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.accelerator != "cpu":
            raise ValueError(f"trainer.accelerator={self.accelerator}: must be cpu")
        if self.devices != 1:
            raise ValueError(f"trainer.devices={self.devices}: must be 1")
        if self.precision not in ("32-true", "64-true"):
            raise ValueError(f"trainer.precision={self.precision}: must be one of 32-true, 64-true")
        for name in ("micro_batch", "diagnostics_every", "completions_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: must be at least 0")
        if self.checkpoint_every < 1:
            raise ValueError(
                f"trainer.checkpoint_every={self.checkpoint_every}: must be at least 1"
            )
        if self.extra:
            self._check_extra()

    def _check_extra(self) -> None:
        """Lightning is imported for this alone, so only when `extra` is used."""
        import inspect

        from lightning.pytorch import Trainer

        known = set(inspect.signature(Trainer).parameters)
        for name, value in self.extra.items():
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise ValueError(
                    f"trainer.extra.{name}={value}: Lightning's Trainer has no such argument{hint}"
                )
            if name in DECIDED:
                raise ValueError(
                    f"trainer.extra.{name}={value}: is decided by the configuration's own settings"
                )

    def build(self, *, max_steps: int, callbacks: list[Callback]) -> Trainer:
        """Lightning's Trainer; `max_steps` counts optimizer steps."""
        import logging
        import warnings

        from lightning.pytorch import Trainer

        # Advertising and notes on hardware that isn't asked for; warnings still come through.
        logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
        # Dropout is off on purpose, and the tree specification is Lightning's own affair.
        warnings.filterwarnings("ignore", "Found .* module.s. in eval mode")
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
        # A machine that has SLURM may be used without it.
        warnings.filterwarnings("ignore", "The `srun` command is available")
        arguments: dict[str, Any] = {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "precision": self.precision,
            "max_steps": max_steps,
            # The steps end a run; a finished one that is extended must not count as trained.
            "max_epochs": -1,
            "callbacks": callbacks,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        try:
            return Trainer(**(arguments | self.extra))
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"trainer.extra={self.extra}: {reason}") from error
