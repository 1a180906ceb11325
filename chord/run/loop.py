"""The loop and what follows it: callbacks around the training step, then the final reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from chord.config.root import TrainConfig
from chord.data.base import Data
from chord.distributed.collectives import all_max, rank, world_size
from chord.distributed.signals import Signals
from chord.distributed.strategies import whole
from chord.errors import ConfigError
from chord.evaluation.report import Report, prefixed
from chord.evaluation.settings import METRICS as MEASURES
from chord.evaluation.settings import OF_EXPERTS
from chord.io.signs import Signs
from chord.io.writing import UnwrittenError, VanishedError, json_file, write_atomically
from chord.models.models import Models
from chord.models.policy import Policy
from chord.rewards.base import ChangedCodeError, ScaleError, ScorerError
from chord.run.build import evaluate_as, placed
from chord.run.callbacks import Evaluating, HealthChecks, Recording, Watching
from chord.run.checkpoint import CHECKPOINT
from chord.run.checkpointing import Checkpointing
from chord.run.directory import RunDirectory
from chord.run.files import EVALUATIONS, METRICS, SCORER_FAILURE, read_rows
from chord.run.fork.start import TakingOver
from chord.run.health import Health
from chord.run.plots import plot_run
from chord.run.progress import Progress
from chord.run.random_states import restore_random_states
from chord.run.recorder import Recorder
from chord.run.steps import StepLoader, completed_steps
from chord.run.summary import cut_off, gains, print_summary, side_by_side
from chord.run.tampering import TamperedError, vanished
from chord.run.together import ending_together
from chord.run.trained import final_hashes
from chord.step.module import ChordModule
from chord.step.optimizer import DivergedError
from chord.tracking import Tracker
from chord.tracking.base import shown
from chord.weightings.base import WeightError

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    from chord.rollout.engines import Engine


@dataclass
class Outcome:
    """What a run leaves in memory: the module, the last validation, and both test reports."""

    module: ChordModule
    validation: dict[str, float]
    base: Report
    trained: Report

    def metric(self, name: str) -> float:
        """What a sweep is judged by, `val/...`, of the last validation.

        Not a number where the data hold out nothing to measure it on; `ConfigError` for
        a skill that they do not have, or a manner that they can't tell.
        """
        metric = name.removeprefix("val/")
        if not self.validation or (metric in OF_EXPERTS and metric not in self.validation):
            return math.nan
        if metric in MEASURES and metric != "expert_style" and metric not in self.validation:
            return math.nan  # the right answers are not known
        if metric == "expert_style" and metric not in self.validation:
            raise ConfigError(f"sweep_metric={name}: needs data.expert_style, which detects it")
        if metric not in self.validation:
            known = ", ".join(f"val/{key}" for key in self.validation if key.startswith("retained"))
            raise ConfigError(f"sweep_metric={name}: the data have no such skill; {known}")
        return self.validation[metric]


def stage(model: str, split: str, step: int) -> str:
    """Which evaluation it is, in words.

    What a run starts with is the base, or in a fork a model that was trained before.
    """
    if model == "base":
        return f"base, {split} split"
    if step == 0:
        return f"model at the start, {split} split"
    return f"{model}, {split} split, after {step} steps"


def explained(error: ScorerError, path: Path) -> str:
    """Leave the first failure of a verifier in a run's directory, and say where."""
    file = path / (SCORER_FAILURE if rank() == 0 else f"{rank()}.{SCORER_FAILURE}")
    write_atomically(file, json_file(error.facts, default=str))
    return f"{error}; its arguments and traceback are in {shown(file)}"


@dataclass
class Training:
    """A configured run with its open files; `complete` does all of it."""

    config: TrainConfig
    directory: RunDirectory
    data: Data
    models: Models
    engine: Engine | None
    recorder: Recorder
    tracker: Tracker
    completed: int
    random_states: dict[str, Any] | None
    final: Report | None = field(default=None, init=False)
    """The validation after the last step, once it was taken."""
    checkpointing: Checkpointing = field(init=False)
    optimizers: Sequence[Mapping[str, Any]] = field(default=(), init=False)
    """The states that the optimizers of a fork begin with."""
    signals: Signals = field(default_factory=Signals)
    signs: Signs = field(default_factory=lambda: Signs(""))
    health: Health = field(init=False)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.config.steps, done=self.completed, signs=self.signs)

    def complete(self) -> Outcome | None:
        """Take the train steps that are still to be done, and report.

        None on a process that isn't the run's first.
        """
        config = self.config
        self.checkpointing = Checkpointing(
            self.directory.path,
            config,
            signals=self.signals,
            signs=self.signs,
            kept=self.completed,
        )
        module = ChordModule(config, self.data, self.models, self.engine, first_step=self.completed)
        module.guard.run_dir = self.directory.path
        rows = read_rows(self.directory.path / METRICS) if self.completed else []
        self.health = Health(config.trainer.warn_off, rows)
        trainer = config.trainer.build(
            max_steps=config.steps * config.rollout.updates,
            callbacks=self.callbacks(module),
        )
        with ending_together(trainer), self.errors_said():
            self.fit(module, trainer)
            return self.finish(module, trainer.strategy.root_device)

    def callbacks(self, module: ChordModule) -> list[Callback]:
        """What happens around the train steps."""
        config = self.config
        return [
            Watching(self.signals),
            Recording(self.recorder, self.tracker),
            HealthChecks(self.health),
            Evaluating(
                lambda step: self.validate(module, step),
                self.lacks_validation,
                every=config.evaluation.every,
                steps=config.steps,
            ),
            self.checkpointing,
            self.progress,
            *([TakingOver(self.optimizers)] if self.optimizers else []),
        ]

    @contextmanager
    def errors_said(self) -> Iterator[None]:
        """What may go wrong on the way is said in its own words, without a traceback."""
        try:
            yield
        except (DivergedError, WeightError, TamperedError) as error:
            raise ConfigError(str(error)) from error
        except ScorerError as error:
            raise ConfigError(explained(error, self.directory.path)) from error
        except ScaleError as error:
            more = f", and fork={self.directory.path} goes on from it"
            raise ConfigError(
                f"{error}; {self.kept()}{more if self.checkpointing.kept else ''}"
            ) from error
        except ChangedCodeError as error:
            raise ConfigError(
                f"{error}; {self.kept()}: restore the file, or give allow_changed to "
                f"resume={self.directory.path}, which records it"
            ) from error
        except VanishedError as error:
            raise ConfigError(vanished(error, self.directory.path, self.kept())) from error
        except UnwrittenError as error:
            raise ConfigError(
                f"{error.path}: can't be written ({error.why}); {self.kept()}: make room, and "
                f"resume={self.directory.path} goes on"
            ) from error

    def kept(self) -> str:
        """What there is to go on from, in words."""
        kept = self.checkpointing.kept
        return f"the checkpoint after step {kept} is kept" if kept else "no checkpoint yet"

    def fit(self, module: ChordModule, trainer: Trainer) -> None:
        """Take the train steps that are still to be done."""
        if self.random_states is not None:
            restore_random_states(self.random_states)
        try:
            trainer.fit(
                module,
                StepLoader(self.config.steps),
                ckpt_path=self.directory.path / CHECKPOINT if self.completed else None,
                weights_only=True,
            )
        except SystemExit as stopped:
            # Lightning turns Ctrl-C into an exit with the code of a failure.
            if type(stopped) is SystemExit and trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            self.signals.unwatch()
        # The last checkpoint was written before it came; there is nothing to add.
        self.signals.act_late()
        assert completed_steps(module) == self.config.steps, "the loop ended early"

    def validate(self, module: ChordModule, step: int) -> None:
        """Evaluate the model in training on the validation split, if there is one."""
        if not self.config.data.validates:
            return
        report = self.report(module.policy, "val", "trained", step, alpha=module.alpha(step))
        if step == self.config.steps:
            self.final = report

    def lacks_validation(self, step: int) -> bool:
        """Whether the validation after `step` completed steps is not on record."""
        lacks = self.config.data.validates
        lacks = lacks and not self.recorder.has_evaluation(step, "val", "trained")
        # Processes that read one file together may not see it at the same moment.
        return int(all_max(torch.tensor(int(lacks)))) > 0

    def report(self, policy: Policy, split: str, model: str, step: int, *, alpha: float) -> Report:
        """Evaluate a model after `step` completed train steps, and put it on record."""
        config = self.config
        alone = world_size() == 1
        what = stage(model, split, step)
        # During training, the lines of the steps say that the run goes on.
        shown = self.progress.evaluation(what, announced=step == 0 or split == "test")
        with (
            shown if rank() == 0 else nullcontext() as on_progress,
            self.signals.evaluating(alone=alone),
            whole(policy),
            config.trainer.computing(policy.device),
        ):
            result = evaluate_as(
                config, policy, self.data, split=split, alpha=alpha, on_progress=on_progress
            )
        if rank() > 0:
            return result
        row = {"split": split, "model": model, **prefixed(result.metrics, split)}
        self.recorder.evaluation(step, row)
        self.tracker.evaluation(step, row)
        return result

    def finish(self, module: ChordModule, device: torch.device) -> Outcome | None:
        """Save the model, evaluate base and trained one last time, show both.

        Lightning has left the policy in main memory; one model at a time is on the device.
        """
        config, path, models = self.config, self.directory.path, module.models
        self.signs.now("saving the model")
        if rank() == 0:
            self.recorder.check()
            config.model.save(models.policy, path, {"run": self.directory.name})
            self.directory.model = final_hashes(path)
        if models.teacher is not None:
            models.teacher.to("cpu")
        if self.final is None and self.lacks_validation(config.steps):
            # A signal has broken it off.
            with placed(config, device, models.policy):
                self.validate(module, config.steps)
        if rank() == 0:
            self.checkpointing.keeper.tidy(config.steps)
        self.signs.now("loading the base model")
        split = "test" if config.evaluation.test else "val"
        # Base and trained are compared, so both are balanced at the last step's alpha.
        alpha = module.alpha(config.steps - 1)
        untrained = models.reference or config.model.reference(models.policy)
        with placed(config, device, untrained):
            base = self.report(untrained, split, "base", 0, alpha=alpha)
        del untrained
        if split == "val" and self.final is not None:
            trained = self.final
        else:
            with placed(config, device, models.policy):
                trained = self.report(models.policy, split, "trained", config.steps, alpha=alpha)
        if rank() > 0:
            return None
        self.signs.now("plotting the run")
        self.recorder.check()
        samples = side_by_side(self.data, split, base, trained)
        shown = [{"step": config.steps, **asdict(sample)} for sample in samples]
        self.recorder.samples(split, shown)
        picture = plot_run(path, title=self.directory.name)
        rows = [
            row
            for row in read_rows(path / EVALUATIONS)
            if row["split"] == "val" and row["model"] == "trained"
        ]
        last = rows[-1] if rows else {}
        validation = {key.removeprefix("val/"): value for key, value in last.items()}
        print_summary(
            Console(),
            base.metrics,
            trained.metrics,
            samples,
            path,
            split=split,
            alpha=alpha,
            gained=gains(base, trained),
            cut_off=cut_off(base, trained),
            warnings=list(self.health.told.values()),
            picture=picture,
        )
        return Outcome(module, validation, base, trained)
