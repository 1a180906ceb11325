"""The trainer group: the few Trainer settings that are supported, and the Trainer itself."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chord.config.keep import Keep
from chord.errors import ConfigError, check_choice, first_line, suggest
from chord.io.printing import say

if TYPE_CHECKING:
    import torch
    from lightning.pytorch import Callback, Trainer

WARNINGS = ("no_signal", "entropy", "cut_off", "reward")
"""What `chord.run.health` looks for in the metrics of a run."""
SUPPORTED = ("benchmark", "default_root_dir", "deterministic", "detect_anomaly", "profiler")
"""Arguments of Lightning's Trainer that `extra` may have: those that do something here."""
WRITING = {
    "default_root_dir": "names a directory that files are written to",
    "profiler": "writes files of its own",
}
"""Those of them that have files written outside the run directory, and how."""
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
    "num_nodes",
    "num_sanity_val_steps",
    "overfit_batches",
    "plugins",
    "precision",
    "reload_dataloaders_every_n_epochs",
    "strategy",
    "use_distributed_sampler",
)
"""What this package decides itself: another value would end a run early, or clip twice."""
WITHOUT_EFFECT = {
    "barebones": "a run has nothing that it would switch off",
    "check_val_every_n_epoch": "a run evaluates by itself, every evaluation.every steps",
    "enable_autolog_hparams": "a run has a tracker of its own, tracking",
    "inference_mode": "a run evaluates by itself, without Lightning's loops",
    "limit_predict_batches": "a run evaluates by itself, on evaluation.test_problems",
    "limit_test_batches": "a run evaluates by itself, on evaluation.test_problems",
    "limit_val_batches": "a run evaluates by itself, on evaluation.val_problems",
    "log_every_n_steps": "a run records every step",
    "model_registry": "a run writes its own checkpoints, every trainer.checkpoint_every steps",
    "sync_batchnorm": "no model here normalizes over a batch",
    "val_check_interval": "a run evaluates by itself, every evaluation.every steps",
}
"""Arguments that nothing reads in a run, and why."""
ACCELERATORS = ("cpu", "gpu", "auto")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("32-true", "64-true", "bf16-mixed")
ON_NONFINITE = ("stop", "skip")
PLACES = ("accelerator", "devices", "num_nodes", "strategy")
"""Where a run is computed: a resumed one may go on elsewhere."""
NONFINITE = ("on_nonfinite", "skip_limit")
"""What is done where a run can't go on as it is: one that has stopped may do otherwise."""
_NO_GPU = "there is no GPU here that torch can use"
INSTEAD = {
    "trainer.strategy=deepspeed": "its engine clips and steps by itself, which is done here; use "
    "trainer.strategy=fsdp",
    "trainer.precision=bf16-true": "optimizer steps are lost to rounding in it; use bf16-mixed, or "
    "with adapters model.dtype=bfloat16",
    "trainer.precision=16-mixed": "gradients underflow in float16; use bf16-mixed",
}


@dataclass(kw_only=True)
class TrainerConfig:
    """Settings of the training loop.

    `devices` processes on each of `num_nodes` machines take a step together: with `strategy=ddp`
    each holds the whole policy, with `fsdp` a shard of it. `micro_batch` rows go through the model
    at a time (0: all at once) on each; the gradient depends on neither. A checkpoint is written
    every `checkpoint_every` train steps and at the end, and `keep` says which of them stay. Branch
    gradients are compared every `diagnostics_every` steps, samples are kept every
    `completions_every` (0: never). Where a gradient is not finite, `on_nonfinite=stop` stops and
    `skip` leaves the optimizer step out, at most `skip_limit` times in a row. `warn_off` names the
    checks of `chord.run.health` that are silent. `extra` is passed to Lightning's Trainer as it is.
    """

    option = "trainer"

    accelerator: str
    devices: int
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str
    micro_batch: int
    checkpoint_every: int
    keep: Keep = field(default_factory=Keep)
    diagnostics_every: int
    completions_every: int
    on_nonfinite: str = "stop"
    skip_limit: int = 10
    warn_off: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("accelerator", ACCELERATORS),
            ("strategy", STRATEGIES),
            ("precision", PRECISIONS),
            ("on_nonfinite", ON_NONFINITE),
        ):
            given = f"trainer.{name}={getattr(self, name)}"
            if getattr(self, name) not in allowed:
                hint = f"; {INSTEAD[given]}" if given in INSTEAD else ""
                raise ConfigError(f"{given}: must be one of {', '.join(allowed)}{hint}")
        for name, least in (
            ("devices", 1),
            ("num_nodes", 1),
            ("micro_batch", 0),
            ("diagnostics_every", 0),
            ("completions_every", 0),
            ("checkpoint_every", 1),
            ("skip_limit", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"trainer.{name}={getattr(self, name)}: must be at least {least}")
        for name in self.warn_off:
            check_choice("trainer.warn_off", name, WARNINGS)
        self._check_processes()
        self._check_extra()

    def _check_processes(self) -> None:
        if self.processes > 1 and self.strategy == "auto":
            if self.devices > 1:
                raise ConfigError(
                    f"trainer.devices={self.devices}: several processes need trainer=ddp or "
                    "trainer=fsdp"
                )
            # Both set more than one process on each machine.
            raise ConfigError(
                f"trainer.num_nodes={self.num_nodes}: several machines need trainer=ddp or "
                f"trainer=fsdp, with trainer.devices={self.devices} or more on each"
            )
        if self.processes == 1 and self.strategy == "fsdp":
            raise ConfigError(
                "trainer.strategy=fsdp: there is nothing to shard on one process; give "
                "trainer.devices of at least 2, or trainer.strategy=auto"
            )

    def _check_extra(self) -> None:
        for name, value in self.extra.items():
            given = f"trainer.extra.{name}={value}"
            if name in DECIDED:
                raise ConfigError(f"{given}: is decided by the configuration's own settings")
            if name not in (*SUPPORTED, *WITHOUT_EFFECT):
                raise ConfigError(f"{given}: no such argument{suggest(str(name), SUPPORTED)}")

    @property
    def unread(self) -> str | None:
        """An argument in `extra` that nothing reads, in a sentence; None: there is none."""
        for name in WITHOUT_EFFECT.keys() & self.extra.keys():
            return f"trainer.extra.{name}={self.extra[name]}: has no effect; {WITHOUT_EFFECT[name]}"
        return None

    @property
    def processes(self) -> int:
        """How many take a step together."""
        return self.devices * self.num_nodes

    def check_machine(self) -> None:
        """Refuse what this machine hasn't got; raises ConfigError."""
        gpus = 0
        if self.accelerator != "cpu":
            import torch

            gpus = torch.cuda.device_count()
        if self.accelerator == "gpu" and not gpus:
            raise ConfigError(f"trainer.accelerator=gpu: {_NO_GPU}; use trainer.accelerator=cpu")
        self._check_slurm()
        there = gpus or os.cpu_count() or 1
        if self.devices > there:
            kind = "GPUs" if gpus else "processors"
            alone = self.strategy == "fsdp" and there * self.num_nodes == 1
            raise ConfigError(
                f"trainer.devices={self.devices}: must be at most {there}, the number of {kind} "
                "of this machine" + ("; with one, use also trainer.strategy=auto" if alone else "")
            )

    def _check_slurm(self) -> None:
        """Several processes inside an allocation are those that SLURM has started."""
        tasks = os.environ.get("SLURM_NTASKS", "")
        by_hand = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
        if self.processes == 1 or not tasks.isdecimal() or by_hand:
            return
        told = "SLURM_NTASKS_PER_NODE" in os.environ or tasks == "1"
        if int(tasks) != self.processes or not told:
            given = " and no SLURM_NTASKS_PER_NODE" if int(tasks) == self.processes else ""
            here = ", or unset SLURM_NTASKS to start them from here" if self.num_nodes == 1 else ""
            raise ConfigError(
                f"trainer.devices={self.devices}: SLURM says that it starts {tasks} processes "
                f"(SLURM_NTASKS={tasks}{given}); use srun --nodes={self.num_nodes} "
                f"--ntasks-per-node={self.devices}{here}"
            )

    def device(self) -> torch.device:
        """Where a single process computes; the CPU for a run whose GPU is missing, in a line."""
        import torch

        if self.accelerator != "cpu" and torch.cuda.is_available():
            return torch.device("cuda")
        if self.accelerator == "gpu":
            say(f"trainer.accelerator={self.accelerator}: {_NO_GPU}; on the CPU", file=sys.stderr)
        return torch.device("cpu")

    def computing(self, device: torch.device) -> AbstractContextManager[None]:
        """The precision of what is computed within, as in a train step."""
        import torch

        mixed = self.precision == "bf16-mixed"
        return torch.autocast(device.type, torch.bfloat16, enabled=mixed)

    def build(self, *, max_steps: int, callbacks: list[Callback]) -> Trainer:
        """Lightning's Trainer; `max_steps` counts optimizer steps."""
        import logging
        import warnings

        import torch
        from lightning.pytorch import Trainer

        # Advertising and notes on hardware that isn't asked for; warnings still come through.
        logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
        logging.getLogger("lightning.fabric.utilities.distributed").setLevel(logging.WARNING)
        # Dropout is off on purpose, and the tree specification is Lightning's own affair.
        warnings.filterwarnings("ignore", "Found .* module.s. in eval mode")
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
        # A machine that has SLURM may be used without it.
        warnings.filterwarnings("ignore", "The `srun` command is available")
        double = self.precision == "64-true"
        accelerator = self.accelerator
        if accelerator == "auto":
            accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        arguments: dict[str, Any] = {
            "accelerator": accelerator,
            "devices": self.devices,
            "num_nodes": self.num_nodes,
            "strategy": self._strategy(),
            # Lightning shards no double weights; those are made double before it sees them.
            "precision": "32-true" if double and self.strategy == "fsdp" else self.precision,
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
        if self.processes == 1:
            from lightning.fabric.plugins.environments.lightning import LightningEnvironment

            # An allocation of SLURM may be for several processes that are none of ours.
            arguments["plugins"] = [LightningEnvironment()]
        try:
            return Trainer(**(arguments | self.extra))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"trainer.extra={self.extra}: {first_line(error)}") from error

    def _strategy(self) -> Any:
        if self.strategy == "auto":
            return "auto"
        from chord.distributed.strategies import Replicated, Sharded

        if self.strategy == "ddp":
            return Replicated()
        return Sharded(data_parallel_size=self.processes, tensor_parallel_size=1)
