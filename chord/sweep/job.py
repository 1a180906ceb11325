"""One run, as Hydra calls it: the only one of a command, or a job of a sweep."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from chord.config.composing import register_options
from chord.config.messages import EXPECTED, stop
from chord.config.schemas import schema_names
from chord.config.trust.code import check_composed
from chord.distributed.launch import leads
from chord.distributed.signals import Signals
from chord.errors import ConfigError
from chord.io.printing import say, writable_streams
from chord.run.claim import refuse_dry_run, refuse_sweep_settings
from chord.run.directory import RunDirectory
from chord.run.dry import dry_run
from chord.run.files import FAILED, read_status
from chord.run.fork.base import is_foreign
from chord.run.fork.model import register_sources
from chord.run.identity.contents import contents, refuse_changed
from chord.run.identity.frozen import literal
from chord.run.lock import held
from chord.run.opening import open_run, refuse_contradiction, tell_edited
from chord.run.places import holds_run
from chord.run.resuming import resume_run, writes
from chord.run.status import fingerprint, reason, record, recorded, stored_metric
from chord.sweep.devices import take_gpu
from chord.sweep.directory import read_sweep
from chord.sweep.equal_runs import is_finished, known_contents
from chord.sweep.launchers import SERIAL
from chord.sweep.naming import chosen, name_in_tracking, run_name
from chord.sweep.points import typed

# A launcher's process has imported nothing else of ours when it composes a job.
register_options()
register_sources()

OUTPUT = "output.txt"


class JobError(ConfigError):
    """Why a job failed, in one line that goes from one process to another."""


def run_job(cfg: DictConfig) -> float:
    """Train as composed and return the metric that a sweep is judged by."""
    # A launcher's process has streams of its own.
    writable_streams()
    name_from_start(cfg)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        refuse_dry_run(cfg, "-m")  # not every sweeper is chord's
        return _sweep_job(cfg)
    try:
        return _single(cfg)
    except EXPECTED as error:
        # Hydra would add a line of its own.
        stop(error)


def start() -> Path:
    """The directory that the command was started in: hydra.job.chdir=true leaves it."""
    return Path(HydraConfig.get().runtime.cwd)


def name_from_start(cfg: DictConfig) -> None:
    """Let the runs that were typed be found where Hydra has left the directory of the command."""
    if start() == Path.cwd():
        return
    for name in ("resume", "fork", "model.run"):
        value = OmegaConf.select(cfg, name)
        if value is not None:
            OmegaConf.update(cfg, name, literal(str(start() / value)))


def _single(cfg: DictConfig) -> float:
    # Here and below: torch takes seconds to load, and mistakes are said before.
    from chord.run.training import train

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    if cfg.dry_run:
        check_composed(cfg, job)
        dry_run(_new(cfg, "").checked())
        return math.nan
    if cfg.resume is not None:
        run = resume_run(Path(cfg.resume), cfg, overrides)
    else:
        name_in_tracking(cfg)
        run = _new(cfg, run_name(job.runtime.choices, cfg.seed))
        check_composed(cfg, job)
    config = run.checked()
    outcome = train(config, run)
    return math.nan if outcome is None else outcome.metric(config.sweep_metric)


def _new(cfg: DictConfig, name: str) -> RunDirectory:
    """The run that was composed, in the directory that Hydra has made for it."""
    job = HydraConfig.get()
    path, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    run = RunDirectory(path, cfg, name, overrides, started_in=start())
    run.options = chosen(job.runtime.choices)
    run.foreign = is_foreign(cfg)
    return run


def _sweep_job(cfg: DictConfig) -> float:
    """A job of a sweep: whatever it raises fits one line, and the sweep goes on."""
    job = HydraConfig.get()
    path = Path(job.runtime.output_dir)
    sweep = start() / job.sweep.dir
    number, label = _place(path, sweep)
    if not writes(cfg, list(job.overrides.task)):
        # SLURM has started it beside the first process of the same job, which does the rest.
        return _train(cfg, path, number, label)
    if path.is_symlink():
        # It was an equal run, finished elsewhere, when the sweep looked.
        if (value := _stored(path, cfg)) is None:
            raise JobError(
                f"hydra.sweep.dir={path.parent}: {path.name} is a symbolic link, but "
                "not to a finished run that is equal to this job; remove the link"
            )
        return value
    beside_others = not job.launcher._target_.endswith(SERIAL)
    with held(path, "hydra.sweep.dir"):
        if (value := _stored(path, cfg)) is not None:
            return value
        with _output(path, label) if beside_others else nullcontext():
            try:
                refuse_sweep_settings(cfg)
                if cfg.trainer.accelerator != "cpu":
                    take_gpu(sweep)
                return _train(cfg, path, number, label)
            except Exception as error:
                if not isinstance(error, EXPECTED):
                    # The place of a traceback is the job's own log.
                    logging.getLogger(__name__).info("the job failed", exc_info=True)
                raise JobError(reason(error)) from None


def _stored(path: Path, cfg: DictConfig) -> float | None:
    """The metric of a job that is finished in its directory, and read the same files."""
    if not is_finished(path, fingerprint(cfg)):
        return None
    now = contents(_new(cfg, "").checked(), schema_names(cfg))
    since = f"the run in {path} began"
    refuse_changed(known_contents(path), now, cfg.allow_changed, since=since)
    return stored_metric(path, cfg.sweep_metric)


def _place(path: Path, sweep: Path) -> tuple[int, str]:
    """A job's number in its sweep, and what tells it from the others."""
    for known in read_sweep(sweep).get("jobs", []):
        if (sweep / known["directory"]).absolute() == path.absolute():
            return known["job"], typed(known["varied"])
    return HydraConfig.get().job.num, ""


def _train(cfg: DictConfig, path: Path, number: int, label: str) -> float:
    from chord.run.training import train_unrecorded

    run = _directory(cfg, path, label)
    run.sweep, run.job = HydraConfig.get().sweep.dir, number
    with Signals() as signals, ExitStack() as stack:
        # Its own directory is held already.
        leader = leads(run.config.trainer.strategy)
        if leader and run.path.resolve() != path.resolve():
            try:
                stack.enter_context(held(run.path, "resume"))
            except ConfigError as error:
                # The status there is that of the run at work.
                record(replace(run, path=path), FAILED, reason(error))
                raise
        if leader:
            stack.enter_context(recorded(run, signals, path))
        config = run.checked()
        outcome = train_unrecorded(config, run, signals)
        return math.nan if outcome is None else outcome.metric(config.sweep_metric)


def _directory(cfg: DictConfig, path: Path, label: str) -> RunDirectory:
    """The job's run: a new one, or the one in its directory, which goes on."""
    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    if cfg.resume is not None:
        return resume_run(Path(cfg.resume), cfg, overrides)
    name_in_tracking(cfg, Path(job.sweep.dir).name)
    name = label or run_name(job.runtime.choices, cfg.seed)
    new = _new(cfg, name)
    if not holds_run(path):
        return new
    old = open_run(path, trust=cfg.trust)
    refuse_contradiction(old, f"hydra.sweep.dir={path.parent}: {path.name}")
    tell_edited(old)
    if fingerprint(old.config, old.lengths) != fingerprint(new.config):
        raise ConfigError(
            f"hydra.sweep.dir={path.parent}: {path.name} holds a run of another configuration"
        )
    OmegaConf.update(old.config, "resume", literal(str(path)))
    OmegaConf.update(old.config, "tracking", cfg.tracking, merge=False)
    OmegaConf.update(old.config, "allow_changed", cfg.allow_changed, merge=False)
    old.freeze()
    return old


@contextmanager
def _output(path: Path, label: str) -> Iterator[None]:
    """What a job prints goes into its directory: beside others it would be a jumble."""
    with (path / OUTPUT).open("a", encoding="utf-8", buffering=1) as file:
        try:
            with redirect_stdout(file), redirect_stderr(file):
                yield
        finally:
            facts = read_status(path)
            error = f": {facts['error']}" if facts.get("error") else ""
            line = f"{path.name}  {label}  {facts.get('status')}{error}"
            say(line, file=sys.__stdout__, flush=True)
