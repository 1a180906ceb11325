"""A sweep's jobs in its directory, whoever chose them: which are done, and how each ended."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from chord.config.overrides import setting, typed
from chord.distributed.signals import terminated_as_exit
from chord.errors import ConfigError
from chord.io.printing import say
from chord.run.files import FAILED, INTERRUPTED, RUNNING, read_status
from chord.run.lock import held
from chord.run.status import write_status
from chord.sweep.equal_runs import is_finished
from chord.sweep.points import Point
from chord.sweep.table import print_table, status_of
from chord.tracking.base import near

OF_DIRECTORY = "hydra.sweep.dir="


class SweepFailed(ConfigError):  # noqa: N818
    """Some jobs of a sweep did not finish; the table before it says which, and why."""


class Jobs:
    """A sweep's jobs in its directory. `notes` say of some, by number, why they are not run."""

    def __init__(
        self,
        directory: Path,
        typed: Sequence[str],
        *,
        config: DictConfig,
        context: HydraContext,
        task: TaskFunction,
    ) -> None:
        self.directory = directory
        self.typed = typed
        self.config = config
        self.context = context
        self.task = task
        self.loader = context.config_loader
        self.points: list[Point] = []
        self.notes: dict[int, str] = {}
        self.last_words: Callable[[], list[str]] = list

    @contextmanager
    def shown(self) -> Iterator[None]:
        """However it ends, all jobs are shown; `SweepFailed` unless all are finished."""
        with terminated_as_exit():
            try:
                yield
            finally:
                self.record_interruptions()
                metric = self.config.sweep_metric
                print_table(self.directory, self.points, metric, self.notes)
                for line in self.last_words():
                    say(line)
                if self.undone():
                    say(f"to run the unfinished jobs: {self.command()}", file=sys.stderr)
        if undone := self.undone():
            failed = all(status_of(self.path(point)) == FAILED for point in undone)
            how = "failed" if failed else "failed or were interrupted"
            raise SweepFailed(f"{len(undone)} of {len(self.points)} jobs {how}")

    def record_interruptions(self) -> None:
        """A launcher that is stopped may kill its jobs; they were interrupted."""
        for point in self.points:
            path = self.path(point)
            if not path.is_symlink() and read_status(path).get("status") == RUNNING:
                with suppress(ConfigError):  # it goes on, on another machine
                    self.record(point, INTERRUPTED, None, unless=self.has_ended)

    def undone(self) -> list[Point]:
        """The jobs that did not get to their end."""
        return [point for point in self.points if not self.is_finished(point)]

    def path(self, point: Point) -> Path:
        """A job's run directory."""
        return self.directory / point.directory

    def move(self, directory: Path) -> None:
        """Take another directory than the configuration names, also for what composes the jobs."""
        self.directory = directory
        with read_write(self.config):
            self.config.hydra.sweep.dir = str(directory)
            said = list(self.config.hydra.overrides.hydra)
            kept = [override for override in said if not override.startswith(OF_DIRECTORY)]
            self.config.hydra.overrides.hydra = [*kept, setting("hydra.sweep.dir", directory)]

    def is_finished(self, point: Point) -> bool:
        """Whether this job, and no other run in its directory, went to its end."""
        return is_finished(self.path(point), point.fingerprint)

    @property
    def flags(self) -> list[str]:
        """Flags that were typed and that another command needs to read the same files."""
        sources = self.config.hydra.runtime.config_sources
        given = [source.path for source in sources if source.provider == "command-line"]
        return [word for path in given for word in ("--config-dir", str(near(Path(path))))]

    def composed(self, overrides: list[str]) -> DictConfig:
        """The configuration of a job with these settings."""
        return self.loader.load_sweep_config(self.config, overrides)

    @property
    def subdir(self) -> str:
        """How the directories of jobs are named, as it was typed."""
        return str(OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"])  # type: ignore[index,call-overload]

    def command(self) -> str:
        """What to type to go on."""
        hydra = [
            override
            for override in self.config.hydra.overrides.hydra
            if not override.startswith(("hydra.mode=", OF_DIRECTORY))
        ]
        words = shlex.join([*self.flags, "-m", *self.typed, *hydra])
        goes_on = typed("resume_sweep", near(self.directory))
        return f"python -m chord.train {words} {goes_on}"

    def has_ended(self, point: Point) -> bool:
        """Whether a job's status says that it ended, in whatever way."""
        return status_of(self.path(point)) != RUNNING

    def record_failure(self, point: Point, error: str) -> None:
        """Write the status of a job that could not."""
        self.record(point, FAILED, error)

    def record(
        self,
        point: Point,
        status: str,
        error: str | None,
        *,
        unless: Callable[[Point], bool] = lambda point: False,
    ) -> None:
        """Write the status of a job; `ConfigError` where a process is at work on it.

        `unless` is asked when none is any more: the last one may have written what is true.
        """
        path = self.path(point)
        if path.is_symlink():
            raise ConfigError(
                f"hydra.sweep.dir={self.directory}: {point.directory} is a symbolic link"
            )
        path.mkdir(parents=True, exist_ok=True)
        with held(path, "hydra.sweep.dir"):
            if unless(point):
                return
            write_status(
                path,
                status=status,
                error=error,
                sweep=str(self.directory),
                job=point.number,
                fingerprint=point.fingerprint,
            )
