"""A grid: every combination of the values that were typed."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from chord.errors import ConfigError
from chord.io.printing import say
from chord.run.claim import is_fresh
from chord.sweep.beforehand import check_beforehand
from chord.sweep.directory import refuse_another, write_sweep
from chord.sweep.jobs import Jobs
from chord.sweep.launchers import launcher_name
from chord.sweep.launching import launch
from chord.sweep.opening import finished, its_directory, refuse_taken, resuming, skipping
from chord.sweep.places import refuse_shared, refuse_strangers
from chord.sweep.points import check_points
from chord.sweep.space import count

MANY = 50
"""So many jobs take some seconds to check."""
MOST_JOBS = 10_000
"""Each job is composed and checked before the first one starts."""


def run_grid(jobs: Jobs, own: Mapping[str, str]) -> None:
    """Every combination of the values that were typed."""
    combinations = grid(jobs.typed, jobs.loader)
    if len(combinations) > MANY:
        say(f"checking {len(combinations)} jobs", file=sys.stderr)
    points = check_points(combinations, jobs.config, jobs.loader)
    refuse_shared(points, jobs.subdir)
    if resuming(own):
        refuse_another(jobs.directory, points)
    else:
        refuse_taken(jobs)
    if not is_fresh(jobs.config, "sweep"):
        refuse_strangers(jobs.directory, points)
    open_points = [point for point in points if not jobs.is_finished(point)]
    check_beforehand(open_points, launcher_name(jobs.config))
    with its_directory(jobs, own, points):
        OmegaConf.save(jobs.config, jobs.directory / "multirun.yaml")
        write_sweep(jobs.directory, jobs.typed, jobs.config.sweep_metric, points)
        jobs.points = points
        jobs.notes = finished(jobs, points, skip=skipping(own))
        with jobs.shown():
            launch(jobs, [point for point in points if point.number not in jobs.notes])


def grid(arguments: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """The overrides of each job: every combination of the values that were typed."""
    choices: dict[str, list[str]] = {}
    jobs = 1.0
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(arguments)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            jobs *= count(override.value())
            if jobs > MOST_JOBS:
                raise ConfigError(
                    f"{override.input_line}: makes more than {MOST_JOBS:,} jobs, the most that a "
                    "sweep can have; give fewer values"
                )
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            if not choices[key]:
                raise ConfigError(
                    f"{override.input_line}: stands for no value, so there is no job to run"
                )
        else:
            raise ConfigError(
                f"{override.input_line}: is an interval to search, not a list of values; use "
                "hparams_search=alpha_optuna"
            )
    return [list(job) for job in itertools.product(*choices.values())]
