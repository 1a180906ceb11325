"""A search for the best settings with Optuna's TPE: `-m hparams_search=alpha_optuna`.

Every trial is a job of the sweep, checked, run and recorded like one of a grid. The study lies in
`study.db` in the sweep's directory, so that `resume_sweep` goes on with it: interrupted and failed
trials first, then new ones. The sampler is seeded anew before each batch, so an interrupted search
proposes what it would have proposed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

from omegaconf import OmegaConf

from chord.config.search import WHERE, SearchConfig
from chord.errors import ConfigError
from chord.io.extras import install
from chord.run.places import refuse_around_runs
from chord.sweep.beforehand import check_beforehand
from chord.sweep.devices import shared_gpus
from chord.sweep.directory import read_sweep
from chord.sweep.jobs import Jobs
from chord.sweep.launchers import at_a_time, launcher_name
from chord.sweep.opening import its_directory, refuse_taken, resuming
from chord.sweep.places import refuse_shared
from chord.sweep.points import check_points
from chord.sweep.space import (
    corners,
    may_choose,
    read_settings,
)
from chord.sweep.study import Study, words


def search(jobs: Jobs, own: Mapping[str, str], settings: SearchConfig) -> None:
    """Search until the study has `trials` trials; raises `ConfigError` before anything is written.

    A failed trial counts as one; `resume_sweep` runs it again, with the same settings.
    """
    if find_spec("optuna") is None:
        raise ConfigError(f"hparams_search: needs Optuna; {install('optuna')}")
    fixed, space, conditional = read_settings(jobs.typed, settings)
    if not space and not any(conditional.values()):
        raise ConfigError(
            f"{WHERE}.trials={settings.trials}: nothing is varied; give a range or choices, such "
            f"as 'schedule.final=interval(0.0,0.5)', or set {WHERE}.params in a search file"
        )
    ends = corners(space, conditional)
    checked = check_points(
        [[*fixed, *words(each)] for each in ends], jobs.config, jobs.loader, varied=ends
    )
    # Trials may choose alike, so their numbers alone have to keep them apart.
    twin = check_points([checked[0].overrides], jobs.config, jobs.loader, first=1, varied=[{}])
    refuse_shared([replace(checked[0], varied={}), *twin], jobs.subdir)
    if resuming(own):
        refuse_another_search(jobs)
    else:
        refuse_taken(jobs)
        refuse_around_runs(jobs.directory, f"hydra.sweep.dir={jobs.directory}:")
    check_beforehand(checked, launcher_name(jobs.config))
    gpus = len(shared_gpus(checked, launcher_name(jobs.config)))
    most = min(settings.trials, gpus or settings.trials)
    batch = settings.batch or at_a_time(jobs.config, jobs=most, threads=checked[0].threads)
    with its_directory(jobs, own):
        OmegaConf.save(jobs.config, jobs.directory / "multirun.yaml")
        study = Study(
            jobs, settings, fixed, lambda name, value: may_choose(name, value, space, conditional)
        )
        study.refuse_others()
        study.remember(study.ours())
        jobs.last_words = study.best
        with jobs.shown():
            study.run(study.undone(), own)
            while room := max(0, settings.trials - study.taken()):
                study.run(study.ask(min(room, batch), space, conditional), own)


def refuse_another_search(jobs: Jobs) -> None:
    """Raise `ConfigError` unless what was typed is the sweep's own command."""

    def told(words: Sequence[str]) -> list[str]:
        return sorted(word for word in words if not word.startswith("tracking"))

    theirs = read_sweep(jobs.directory).get("command", [])
    if told(theirs) != told(jobs.typed):
        command = f"python -m chord.train -m {shlex.join(theirs)}"
        raise ConfigError(f"resume_sweep={jobs.directory}: belongs to another command: {command}")
