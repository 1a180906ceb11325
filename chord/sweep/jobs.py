"""Running a sweep's jobs, whoever chose them: side by side, none stopped by another."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from chord.config.overrides import setting, typed
from chord.distributed.signals import SIGNALS
from chord.errors import ConfigError
from chord.io.printing import say
from chord.run.files import FAILED, INTERRUPTED, RUNNING, STATUS, read_status
from chord.run.lock import held
from chord.run.status import reason, write_status
from chord.sweep.devices import gpus_each, shared_gpus, told
from chord.sweep.directory import is_finished
from chord.sweep.launchers import all_awaited, launcher_name, parts, prepared
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
                    say(f"to go on with what is not finished: {self.command()}", file=sys.stderr)
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

    def run(self, points: Sequence[Point]) -> None:
        """Launch jobs; those that went without a word are tried once more, one at a time."""
        if not points:
            return
        threads = max(point.threads for point in points)
        gpus = shared_gpus(points, launcher_name(self.config))
        most = min(len(points), len(gpus) or len(points))
        config, notes = prepared(self.config, jobs=most, threads=threads, gpus=gpus_each(points))
        for note in notes:
            say(f"warning: {note}", file=sys.stderr)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task, config=config
        )
        # Hydra 1.4 refuses jobs whose launcher has other settings than the sweep's.
        launcher.setup(hydra_context=self.context, task_function=self.task, config=self.config)

        def launch(points: Sequence[Point]) -> tuple[dict[int, int], dict[int, str], str]:
            before = {point.number: self.written(point) for point in points}
            errors: dict[int, str] = {}
            death = "its process died"
            try:
                for part in parts(self.config, points, most=most, threads=threads):
                    with all_awaited(self.config), told(gpus):
                        errors |= refusals(part, launcher.launch(*numbered(part)))
            except Exception as error:  # whatever a launcher's dead process happens to cause
                death = f"its process died ({reason(error)})"
            return before, errors, death

        before, _, _ = launch(points)
        for point in [p for p in points if self.silent(p, before[p.number])]:
            since, errors, death = launch([point])
            self.record_death(point, since[point.number], errors.get(point.number), death)

    def written(self, point: Point) -> int:
        """When a job's status was written last."""
        with suppress(OSError):
            return (self.path(point) / STATUS).stat().st_mtime_ns
        return 0

    def silent(self, point: Point, before: int) -> bool:
        """Whether a job has not said how it ended."""
        unchanged = self.written(point) == before or not self.has_ended(point)
        return unchanged and not self.is_finished(point)

    def has_ended(self, point: Point) -> bool:
        """Whether a job's status says that it ended, in whatever way."""
        return status_of(self.path(point)) != RUNNING

    def record_death(self, point: Point, before: int, error: str | None, death: str) -> None:
        """Of a job that is silent `before` and after: its `error`, or a process that was killed.

        Where another process had the directory, which may have finished the job by now, the status
        is that process's.
        """
        error = error or str(read_status(self.path(point)).get("error") or death)
        with suppress(ConfigError):  # it lives, and somebody else's word was wrong
            self.record(point, FAILED, error, unless=lambda each: not self.silent(each, before))
        if not self.is_finished(point):
            self.notes[point.number] = error

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
            raise ConfigError(f"hydra.sweep.dir={self.directory}: {point.directory} is a link")
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


def refusals(points: Sequence[Point], returned: Sequence[Any]) -> dict[int, str]:
    """Why jobs failed, by number, as far as a launcher tells."""
    return {
        point.number: reason(each._return_value)
        for point, each in zip(points, returned, strict=False)
        if isinstance(each, JobReturn) and each.status == JobStatus.FAILED
    }


def numbered(points: Sequence[Point]) -> tuple[list[list[str]], int]:
    """The overrides of jobs and the number of the first, as a launcher wants them.

    It counts on from the first; where the numbers don't, each job's directory is said.
    """
    first = points[0].number
    jobs = [list(point.overrides) for point in points]
    if [point.number for point in points] != list(range(first, first + len(points))):
        for point, overrides in zip(points, jobs, strict=True):
            overrides.append(f"hydra.sweep.subdir='{point.directory}'")
    return jobs, first


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """A signal ends the block as Ctrl-C does: whoever works beside this process is stopped too."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # signals don't arrive here
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        # One that somebody has thought of already, as nohup of SIGHUP, is left alone.
        if handler is signal.SIG_DFL:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
