"""Train: `python -m chord.train schedule=cosine weighting=margin`.

The flow: a composed configuration, checked (`chord.config`); a run directory (`chord.run`);
Lightning's loop over the training step (`chord.module`); at the end the test split, a table, a
picture.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from chord import cli
from chord.config import CONF_DIR, ConfigError, TrainConfig, parse, register
from chord.run import RunDirectory, resume_run

if TYPE_CHECKING:
    from chord.fit import Outcome
    from chord.gradients import Models

register()


def main() -> None:
    """Entry point of `chord-train`."""
    cli.launch(_main, "train")


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
@cli.one_line_errors
def _main(cfg: DictConfig) -> float:
    from hydra.core.hydra_config import HydraConfig

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    if cfg.resume is not None:
        run = resume_run(Path(cfg.resume), cfg, overrides)
    else:
        path = Path(job.runtime.output_dir)
        run = RunDirectory(path, cfg, run_name(job.runtime.choices, cfg.seed), overrides)
    config = parse(run.config, TrainConfig)
    return train(config, run).validation["balance_at_0.5"]


def run_name(choices: Any, seed: int) -> str:
    """What tells a run from another at a glance: preset, options, seed."""
    preset = choices.get("experiment")
    parts = [preset] if preset else []
    return "-".join([*parts, choices["schedule"], choices["weighting"], f"seed{seed}"])


def train(config: TrainConfig, run: RunDirectory) -> Outcome:
    """Train as configured and report; continues where `run` holds a checkpoint.

    Raises `ConfigError` where a checkpoint or model can't be read.
    """
    import torch

    torch.set_num_threads(config.threads)
    from lightning.pytorch import seed_everything

    from chord.checkpoint import CHECKPOINT, read_checkpoint
    from chord.fit import Run
    from chord.recorder import Recorder
    from chord.tracking import new_run_id, open_tracker
    from chord.tracking.base import shown

    if config.resume is None and (run.path / "run.json").exists():
        raise ConfigError(
            f"hydra.run.dir={run.path}: already holds a run; resume={run.path} goes on with it"
        )
    seed_everything(config.seed, verbose=False)
    try:
        completed, random_states = read_checkpoint(run.path)
        models = build_models(config)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if completed > config.steps:
        raise ConfigError(f"steps={config.steps}: the run has already taken {completed}")
    data = config.data.build()
    run.tracker_id = run.tracker_id or new_run_id()
    run.write()
    recorder = Recorder(run.path)
    recorder.truncate(completed)
    resolved = OmegaConf.to_container(run.config, resolve=True)
    assert isinstance(resolved, dict)
    try:
        tracker = open_tracker(
            config.tracking,
            run.path,
            config={str(key): value for key, value in resolved.items()},
            run_name=run.name,
            run_id=run.tracker_id,
            resume_rows=recorder.history(),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    this = Run(config, run, data, models, recorder, tracker, completed, random_states)
    exit_code = 1
    try:
        outcome = this.finish(this.fit())
        exit_code = 0
        return outcome
    finally:
        tracker.finish(exit_code)
        # Only now is it known whether an upload went through.
        for line in tracker.messages():
            print(line)
        if exit_code and (run.path / CHECKPOINT).exists():
            command = f"python -m chord.train resume={shown(run.path)}"
            print(f"stopped; to go on from the last checkpoint: {command}", file=sys.stderr)


def build_models(config: TrainConfig) -> Models:
    """The policy, and the frozen models that something in the configuration reads."""
    import torch

    from chord.gradients import Models

    kl = config.objective.kl
    policy = config.model.build()
    to_teacher = kl.coef > 0 and kl.to == "teacher"
    teacher = config.teacher.build() if config.weighting.needs_teacher or to_teacher else None
    reference = config.model.build() if kl.coef > 0 and kl.to == "reference" else None
    dtype = torch.float64 if config.trainer.precision == "64-true" else torch.float32
    for model in (policy, teacher, reference):
        if model is not None:
            model.to(dtype).eval()
    for frozen in (teacher, reference):
        if frozen is not None:
            frozen.requires_grad_(False)
    return Models(policy, teacher, reference)


if __name__ == "__main__":
    main()
