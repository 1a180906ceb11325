"""The jobs that a command stands for, each composed and checked before the first one starts."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from chord.config.composing import check_chosen
from chord.config.messages import EXPECTED, one_line
from chord.config.parse import parse
from chord.config.root import OF_THE_SWEEP, TrainConfig
from chord.config.schemas import schema_names
from chord.config.trust.code import check_composed
from chord.errors import ConfigError
from chord.run.claim import refuse_dry_run
from chord.run.resuming import resume_run
from chord.run.status import fingerprint

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One job: its number, what was typed for it, what of that tells it from the others, its
    directory in the sweep's, its configuration with the class of each group, the fingerprint of
    that, how many threads it takes.
    """

    number: int
    overrides: list[str]
    varied: dict[str, str]
    directory: str
    fingerprint: str
    threads: int = 1
    config: TrainConfig | None = None
    schemas: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tells the job from the others, as it was typed."""
        return typed(self.varied)


def typed(varied: Mapping[str, str]) -> str:
    """Settings and their values, as one types them."""
    return " ".join(f"{name}={value}" for name, value in varied.items())


def own_settings(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The sweep's own settings among what was typed, and the rest."""
    parts = [argument.lstrip("+").partition("=") for argument in arguments]
    own = {name: value for name, _, value in parts if name in OF_THE_SWEEP}
    rest = [
        argument
        for (name, _, _), argument in zip(parts, arguments, strict=True)
        if name not in OF_THE_SWEEP
    ]
    return own, rest


def varying(jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """What tells each job from the others: the settings that not all of them have alike."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    split = [dict(override.split("=", 1) for override in job) for job in jobs]
    for job in split:
        for name, value in job.items():
            values[name].add(value)
    return [{name: value for name, value in job.items() if len(values[name]) > 1} for job in split]


def check_points(
    jobs: Sequence[Sequence[str]],
    master: DictConfig,
    loader: ConfigLoader,
    *,
    first: int = 0,
    varied: Sequence[dict[str, str]] | None = None,
) -> list[Point]:
    """Compose and check every job; `first` is the number of the first.

    Raises `ConfigError` for the first that can't be run, naming it.
    """
    numbered = list(enumerate(zip(jobs, varied or varying(jobs), strict=True), start=first))
    composer = Composer(master, loader)

    def point(job: tuple[int, tuple[Sequence[str], dict[str, str]]]) -> Point:
        number, (overrides, differs) = job
        return _point(number, list(overrides), differs, composer, len(jobs))

    return for_each(numbered, point, lambda job: typed(job[1][1]))


def for_each(jobs: Sequence[J], check: Callable[[J], R], label: Callable[[J], str]) -> list[R]:
    """What `check` makes of each job.

    Raises `ConfigError` for the first that it refuses: with its label, unless it is the first of
    all and the last has the same mistake.
    """
    found: list[R] = []
    for job in jobs:
        try:
            found.append(check(job))
        except EXPECTED as error:
            line, name = one_line(error), label(job)
            if found or _mistake(check, jobs[-1]) != line:
                line = line if line.startswith(name) else f"{name}: {line}"
            raise ConfigError(line) from error
    return found


def _mistake(check: Callable[[J], object], job: J) -> str | None:
    """What is wrong with a job, if anything is."""
    try:
        check(job)
    except EXPECTED as error:
        return one_line(error)
    return None


class Composer:
    """Composes jobs; those that differ by their seed alone once, as Hydra takes a tenth of a second
    for each."""

    def __init__(self, master: DictConfig, loader: ConfigLoader) -> None:
        self.master = master
        self.loader = loader
        self.directory = str(master.hydra.sweep.dir)
        """The sweep's, read before any job is composed: a job has the time that is read by then."""
        subdir = OmegaConf.to_container(master.hydra.sweep, resolve=False)["subdir"]  # type: ignore[index,call-overload]
        self._reuses = subdir == "${hydra.job.num}"
        self._known: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: list[str]) -> DictConfig:
        """The configuration of a job."""
        seeds = [override for override in overrides if override.startswith("seed=")]
        value = seeds[0].partition("=")[2] if seeds else ""
        if not self._reuses or len(seeds) != 1 or not value.isdigit():
            return self.loader.load_sweep_config(self.master, overrides)
        key = tuple(override for override in overrides if override not in seeds)
        if key not in self._known:
            self._known[key] = self.loader.load_sweep_config(self.master, overrides)
        cfg = copy.deepcopy(self._known[key])
        cfg.seed = int(value)
        return cfg


def _point(
    number: int, overrides: list[str], varied: dict[str, str], composer: Composer, jobs: int
) -> Point:
    cfg = composer(overrides)
    with read_write(cfg), open_dict(cfg):
        cfg.hydra.job.num = number
        cfg.hydra.job.id = str(number)
        before = HydraConfig.instance().cfg
        try:
            HydraConfig.instance().set_config(cfg)
            directory = str(OmegaConf.select(cfg, "hydra.sweep.subdir"))
            sweep = str(OmegaConf.select(cfg, "hydra.sweep.dir"))
        finally:
            HydraConfig.instance().cfg = before
        launcher = str(cfg.hydra.launcher._target_).rpartition(".")[2]
        # What a search of a file varies was not typed, although it is an override of its job.
        check_composed(cfg, cfg.hydra, composer.master.hydra.overrides.task)
        check_chosen(cfg, cfg.hydra)
        del cfg["hydra"]
    if sweep != composer.directory:
        raise ConfigError(
            f"hydra.sweep.dir={sweep}: must be the same for all jobs; hydra.sweep.subdir names the "
            "directory of each job"
        )
    if cfg.resume is None:
        config = parse(cfg, TrainConfig)
    elif jobs > 1:
        raise ConfigError(
            f"resume={cfg.resume}: {jobs} jobs can't all continue one run; to continue a sweep, "
            "add resume_sweep=DIRECTORY to its own command"
        )
    else:
        # The run's own settings, with what is typed over them.
        config = resume_run(Path(cfg.resume), cfg, overrides).checked()
    refuse_strategy(config, launcher)
    refuse_dry_run(config, "-m")
    return Point(
        number=number,
        overrides=overrides,
        varied=varied,
        directory=directory,
        fingerprint=fingerprint(cfg),
        threads=config.threads,
        config=config,
        schemas=schema_names(cfg),
    )


def refuse_strategy(config: TrainConfig, launcher: str) -> None:
    """Refuse a strategy that starts this command again for each of its processes.

    In a multirun each of them would run the whole sweep; an optimiser of settings would hand them
    different ones, and they would train one model together with these.
    """
    strategy = config.trainer.strategy
    if strategy != "auto" and launcher != "SlurmLauncher":
        several = {"devices": config.trainer.devices, "num_nodes": config.trainer.num_nodes}
        fewer = [f"trainer.{name}=1" for name, count in several.items() if count > 1]
        one = " ".join([*fewer, "trainer.strategy=auto"])
        raise ConfigError(
            f"trainer.strategy={strategy}: starts the command again for each process, and with -m "
            "each of these would run the whole sweep, with settings of its own; use "
            f"hydra/launcher=submitit_slurm, or one process: {one}"
        )
