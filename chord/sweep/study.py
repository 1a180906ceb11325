"""Optuna's study, whose trials are jobs of a sweep."""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chord.config.search import SearchConfig
from chord.errors import ConfigError, first_line
from chord.run.files import FAILED, FINISHED
from chord.run.status import stored_metric
from chord.sweep.best import words_for_test
from chord.sweep.directory import write_sweep
from chord.sweep.jobs import Jobs
from chord.sweep.launching import launch
from chord.sweep.opening import finished, skipping
from chord.sweep.places import refuse_strangers
from chord.sweep.points import Point, check_points
from chord.sweep.space import (
    Choice,
    Range,
    Space,
    choose,
    typed_number,
)
from chord.sweep.table import status_of

JOB, DIRECTORY, VARIED = "job", "sweep", "varied"
AGAIN = "again"
"""Marks a trial that is another one, which failed, once more: it has the same job."""


class Study:
    """Optuna's study, whose trials are jobs of a sweep."""

    def __init__(
        self,
        jobs: Jobs,
        settings: SearchConfig,
        fixed: Sequence[str],
        may: Callable[[str, str], bool],
    ) -> None:
        """`may`: whether this search chooses such a value for such a setting.

        Raises `ConfigError` where the study can't be read.
        """
        # Here and below: an optional package.
        import optuna

        self.may = may
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.jobs, self.settings, self.fixed = jobs, settings, list(fixed)
        storage = settings.storage or str(jobs.directory / "study.db")
        try:
            self.study = optuna.create_study(
                storage=storage if "://" in storage else f"sqlite:///{storage}",
                study_name=settings.study,
                direction="minimize" if settings.direction == "minimize" else "maximize",
                load_if_exists=True,
            )
            self.study.get_trials(deepcopy=False)
        except Exception as error:  # Optuna's, SQLAlchemy's, or the database's own
            raise ConfigError(
                f"hydra.sweeper.storage={storage}: can't be used ({first_line(error)}); give "
                "another file, or another hydra.sweep.dir"
            ) from error

    def ours(self) -> list[Any]:
        """The trial of each job of this sweep, its last; a study may have those of others too."""
        here = str(self.jobs.directory)
        found = [trial for trial in self.study.trials if trial.user_attrs.get(DIRECTORY) == here]
        return list({trial.user_attrs[JOB]: trial for trial in found}.values())

    def refuse_others(self) -> None:
        """Raise `ConfigError` for a trial with settings that this search would not have chosen.

        They are typed for a job as the user's own are, and the study may be somebody else's file.
        """
        named = f"hydra.sweeper.study={self.settings.study}"
        for trial in self.study.trials:
            if trial.user_attrs.get(DIRECTORY) != str(self.jobs.directory):
                continue
            job, varied = trial.user_attrs.get(JOB), self.varied(trial)
            if type(job) is not int or job < 0 or varied is None:
                raise ConfigError(f"{named}: trial {trial.number} was not made by a search")
            for name, value in varied.items():
                if not self.may(name, value):
                    raise ConfigError(
                        f"{named}: trial {trial.number} has {name}={value}, which this search "
                        "can't choose"
                    )

    @staticmethod
    def varied(trial: Any) -> dict[str, str] | None:
        """What a trial has chosen; None where it does not say, or is none of a search."""
        found = trial.user_attrs.get(VARIED)
        if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
            return found
        return None

    def taken(self) -> int:
        """How many trials the study has had; one that is run again counts once."""
        return sum(AGAIN not in trial.user_attrs for trial in self.study.trials)

    def undone(self) -> list[Any]:
        """The trials that were interrupted, and for those that failed one more of each."""
        import optuna

        ended = {p.number for p in self.jobs.points if self.jobs.is_finished(p)}
        for trial in self.ours():
            # One that finished without a value would do so again.
            if trial.state.name == "FAIL" and trial.user_attrs[JOB] not in ended:
                again = optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={**trial.user_attrs, AGAIN: trial.number},
                )
                self.study.add_trial(again)
        return [trial for trial in self.ours() if trial.state.name == "RUNNING"]

    def ask(self, count: int, space: Space, conditional: Mapping[str, Space]) -> list[Any]:
        """New trials, on record before they run."""
        import optuna

        taken = self.taken()
        with warnings.catch_warnings():
            # Trials that are chosen together keep their distance.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(
                seed=self.settings.seed + 1_000_003 * taken,
                n_startup_trials=self.settings.startup,
                constant_liar=count > 1,
            )
        first = len(self.jobs.points)
        for number in range(first, first + count):
            trial = self.study.ask()
            chosen = choose(space, conditional, lambda n, d, trial=trial: suggest(trial, n, d))  # type: ignore[misc]
            for name, value in ((JOB, number), (DIRECTORY, str(self.jobs.directory))):
                trial.set_user_attr(name, value)
            trial.set_user_attr(VARIED, chosen)
        new = [trial for trial in self.ours() if trial.user_attrs[JOB] >= first]
        self.remember(new)
        return new

    def remember(self, trials: Sequence[Any]) -> None:
        """Make trials jobs of the sweep."""
        jobs = self.jobs
        for trial in sorted(trials, key=lambda trial: int(trial.user_attrs[JOB])):
            number, varied = trial.user_attrs[JOB], trial.user_attrs[VARIED]
            overrides = [*self.fixed, *words(varied)]
            try:
                new = check_points(
                    [overrides], jobs.config, jobs.loader, first=number, varied=[varied]
                )
            except ConfigError as error:
                point = Point(
                    number=number,
                    overrides=overrides,
                    varied=varied,
                    directory=str(number),
                    fingerprint="",
                )
                refuse_strangers(jobs.directory, [point])
                jobs.points.append(point)
                jobs.record_failure(point, str(error))
            else:
                refuse_strangers(jobs.directory, new)
                jobs.points += new
        write_sweep(jobs.directory, jobs.typed, jobs.config.sweep_metric, jobs.points)

    def run(self, trials: Sequence[Any], own: Mapping[str, str]) -> None:
        """Run trials that are jobs already, and tell the study how they went."""
        import optuna

        jobs, numbers = self.jobs, {trial.user_attrs[JOB]: trial for trial in trials}
        points = [point for point in jobs.points if point.number in numbers]
        jobs.notes |= finished(jobs, points, skip=skipping(own))
        launch(jobs, [p for p in points if p.fingerprint and p.number not in jobs.notes])
        for point in points:
            path, trial = jobs.path(point), numbers[point.number]
            done = jobs.is_finished(point)
            value = stored_metric(path, jobs.config.sweep_metric) if done else None
            if value is not None and not math.isnan(value):
                self.study.tell(trial.number, value)
            elif status_of(path) in (FINISHED, FAILED):
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def best(self) -> list[str]:
        """A line that says which trial is the best, and how to run it again; none before that."""
        # The command is to be typed: of others' trials only one that this search could have made.
        done = [
            (trial.value, varied)
            for trial in self.study.trials
            if trial.value is not None and (varied := self.varied(trial)) is not None
            if all(self.may(*each) for each in varied.items())
        ]
        if not done:
            return []
        choose_best = min if self.settings.direction == "minimize" else max
        value, chosen = choose_best(done, key=lambda each: each[0])
        again = words_for_test([*self.fixed, *words(chosen)], self.jobs.composed)
        command = shlex.join(["python", "-m", "chord.train", *self.jobs.flags, *again])
        return [f"best of {len(done)}: {value:.4f}; to score it on the test split: {command}"]


def suggest(trial: Any, name: str, found: Range | Choice) -> str:
    """What the sampler chooses, as it is typed."""
    if isinstance(found, Choice):
        return str(trial.suggest_categorical(name, found.values))
    if found.whole:
        return str(trial.suggest_int(name, int(found.low), int(found.high), log=found.log))
    return typed_number(trial.suggest_float(name, found.low, found.high, log=found.log))


def words(chosen: Mapping[str, str]) -> list[str]:
    """Settings as they are typed."""
    return [f"{name}={value}" for name, value in chosen.items()]
