"""The run directory is claimed before Hydra writes into it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from chord.config.composing import checked
from chord.config.consistency import check_training
from chord.config.messages import EXPECTED, stop
from chord.config.root import OF_THE_SWEEP, TrainConfig
from chord.errors import ConfigError
from chord.run.lock import claim, claim_new
from chord.run.neighbours import refuse_others
from chord.run.places import refuse_a_second_run, refuse_within_a_run
from chord.run.resuming import writes

NOW = "${now:"


class ClaimDirectory(Callback):
    """Hydra's callback: a run has a directory of its own, and nobody else writes into it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hold the directory of the run that is composed, or end the process in one line."""
        try:
            with read_write(config), open_dict(config):
                if writes(config, list(config.hydra.overrides.task)):
                    check_single(config)
                    (_write_nothing if config.dry_run else _claim)(config)
                else:
                    _write_nothing(config)
        except EXPECTED as error:
            # Hydra would make a warning of it.
            stop(error)


def check_single(config: DictConfig) -> None:
    """Refuse what a single run can't be, while nothing of it is there; raises `ConfigError`."""
    refuse_sweep_settings(config)
    refuse_job_settings(config.hydra.overrides.hydra)
    if any(config.hydra.sweeper.get(name) for name in ("trials", "params", "conditional")):
        raise ConfigError("hparams_search: a search is a sweep; give -m")
    if config.resume is not None:
        refuse_dry_run(config, f"resume={config.resume}")
        return
    if config.allow_changed:
        given = ",".join(config.allow_changed)
        raise ConfigError(f"allow_changed=[{given}]: is only for a resumed run; give resume=RUN")
    # What is composed stays as it is: Hydra goes on with it.
    found = checked(copy.deepcopy(config), list(config.hydra.overrides.task))
    if not found.dry_run:
        check_training(found)


def refuse_sweep_settings(config: DictConfig) -> None:
    """A sweep takes these out of its jobs; elsewhere they would do nothing."""
    for name in OF_THE_SWEEP:
        if config[name]:
            raise ConfigError(f"{name}={config[name]}: is for a sweep; give -m and what it varies")


def refuse_job_settings(typed: Sequence[str]) -> None:
    """Refuse what Hydra would ignore in a single run, among the settings of its own."""
    for word in typed:
        name = word.lstrip("+").partition("=")[0]
        if name.startswith(("hydra/launcher", "hydra.launcher.")):
            raise ConfigError(f"{word}: starts the jobs of a sweep; give -m and what it varies")
        if name in ("hydra.job.num", "hydra.job.id"):
            raise ConfigError(f"{word}: a sweep numbers its jobs by itself; leave it out")


def refuse_dry_run(config: DictConfig | TrainConfig, beside: str) -> None:
    """Refuse `dry_run=true` with what is no single new run; raises `ConfigError`."""
    if config.dry_run:
        raise ConfigError(
            f"dry_run=true: shows the data of one new run; leave out dry_run or {beside}"
        )


def is_fresh(config: DictConfig, kind: str) -> bool:
    """Whether the directory of a `run` or `sweep` is named after the time, so that two commands of
    the same second have to be told apart."""
    directories = OmegaConf.to_container(config.hydra[kind], resolve=False)
    assert isinstance(directories, dict)
    return NOW in str(directories["dir"])


def _claim(config: DictConfig) -> None:
    path = Path(config.hydra.run.dir)
    if config.resume is not None:
        claim(path, "resume")
    elif is_fresh(config, "run"):
        refuse_within_a_run(path, f"hydra.run.dir={path}:")
        config.hydra.run.dir = str(claim_new(path, "hydra.run.dir", refuse_others))
    else:
        # Once before the first file is written, and once when nobody else can start there.
        refuse_a_second_run(path)
        claim(path, "hydra.run.dir", check=refuse_others)


def _write_nothing(config: DictConfig) -> None:
    """The directory of a run of several processes is the first one's; a dry run has none."""
    if config.resume is None:
        config.hydra.run.dir = "."
    config.hydra.output_subdir = None
    handlers = config.hydra.job_logging.get("handlers") or {}
    handlers.pop("file", None)
    config.hydra.job_logging.root.handlers = list(handlers)
