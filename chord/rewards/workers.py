"""Worker processes with a time limit for each answer.

Made for this, and not `concurrent.futures` or a library of process pools, for three reasons: a
worker that hangs has to be killed and replaced; multiprocessing's spawn would import the command,
or a script without a main guard, again in each worker; and nothing that scored hostile text should
be unpickled in the run. There are no threads: a call of `run` waits on the workers' sockets, and on
nothing without a limit: neither for a worker that reads nothing nor for the rest of what one says.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chord
from chord.data.batch import Problem
from chord.errors import ConfigError
from chord.io.reading import parse_json
from chord.rewards.base import Grade
from chord.rewards.modules import search_path
from chord.rewards.worker import LENGTH, Hello

# Seconds that a worker may take to import what its reward needs.
START = 120.0
# Bytes that a worker may say at once: far more than a traceback.
_MOST = 1 << 20
_CHUNK = 1 << 16
_MARK = "CHORD_WORKER"
"""The variable that a worker's mark is in."""
# So often what a worker has started is looked for: it may start more meanwhile.
_ROUNDS = 5
# One thread each: several workers share the processors with the run.
_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


# Not by PYTHONPATH: of what is there, Python runs a `sitecustomize` at its start.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from chord.rewards.worker import run; run(int(sys.argv[1]))"
)


class NonsenseError(ValueError):
    """Something in a worker's socket that the worker did not say: its verifier wrote there."""


@dataclass(eq=False)
class Worker:
    """A process, our end of its socket, and the answer it is at: `task` of the call, `number` of
    all that it was given, `token`, which only its request names. `mark`: in the environment of the
    process and of all that it starts."""

    process: subprocess.Popen[bytes]
    pipe: socket.socket
    deadline: float
    ready: bool = False
    task: int | None = None
    number: int = 0
    token: str | None = None
    mark: str = ""
    _unsent: bytearray = field(default_factory=bytearray)
    _heard: bytearray = field(default_factory=bytearray)

    @classmethod
    def launch(cls, hello: bytes, places: Sequence[str]) -> Worker:
        """Start one that looks for modules in `places`; it says itself when it is ready."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        mark = secrets.token_hex()
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(theirs.fileno()), json.dumps(places)],
            env=os.environ | _THREADS | {_MARK: mark},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is the run's, and what it starts is killed with it
        )
        theirs.close()
        worker = cls(process, ours, time.monotonic() + START, mark=mark)
        worker.send(hello)
        return worker

    def ask(self, task: int, problem: Problem, response: str, timeout: float) -> None:
        """Give it an answer to score, within `timeout` seconds."""
        self.task, self.number, self.token = task, self.number + 1, secrets.token_hex()
        self.deadline = time.monotonic() + timeout
        self.send(pickle.dumps((self.token, problem, response)))

    def send(self, message: bytes) -> None:
        """Say something to it, as far as it takes it; the rest when `flush` is called."""
        self._unsent += len(message).to_bytes(LENGTH) + message
        self.flush()

    def flush(self) -> None:
        """Say more of what it was not told yet; where it has died, its socket tells when read."""
        try:
            del self._unsent[: self.pipe.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()

    @property
    def wants(self) -> int:
        """What its socket is to be watched for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def hear(self) -> dict[str, Any] | None:
        """What it has said, once that is a line; EOFError where it has ended.

        Raises NonsenseError for anything but the answer that it owes.
        """
        try:
            part = self.pipe.recv(_CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            part = b""
        if not part:
            raise EOFError
        self._heard += part
        line, end, more = self._heard.partition(b"\n")
        if len(self._heard) > _MOST or more or (self.ready and self.task is None):
            raise NonsenseError
        if not end:
            return None
        self._heard.clear()
        try:
            said = parse_json(bytes(line))
        except ValueError:
            raise NonsenseError from None
        if not isinstance(said, dict) or not _is_grade(said):
            raise NonsenseError
        if (said.get("number"), said.get("token")) != (self.number, self.token):
            raise NonsenseError
        return said

    def is_quiet(self) -> bool:
        """Whether it lives, and has said nothing that it was not asked."""
        try:
            self.pipe.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.process.poll() is None
        except OSError:
            pass
        return False

    def kill(self) -> None:
        """End it and what it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        for _ in range(_ROUNDS):
            # Of what it has started, some may have left its session.
            if not (left := _marked(self.mark)):
                break
            for each in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()

    def end(self) -> str:
        """How it ended, where its pipe says that it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=1)
            return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return "it closed its pipe"


def _marked(mark: str) -> list[int]:
    """The processes whose environment has a worker's mark; on Linux, elsewhere none."""
    found, wanted = [], f"{_MARK}={mark}".encode()
    for place in Path("/proc").glob("[0-9]*/environ"):
        # Those of other users, and those that have just ended, can't be read.
        with contextlib.suppress(OSError):
            if wanted in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


def module_places(reward: Any) -> list[str]:
    """Where a worker looks for modules, once it has started: in the current directory, and the one
    where the run was started, only for a reward whose code may be there."""
    if reward.modules() or not type(reward).__module__.startswith("chord."):
        return search_path(reward._before)
    here, own = Path.cwd(), Path(chord.__file__).parent.parent
    return [place for place in search_path() if Path(place) != here or here == own]


def _is_grade(said: dict[str, Any]) -> bool:
    """Whether a message is a failure, two finite numbers, or the first one, which holds neither."""
    if "error" in said:
        return isinstance(said["error"], str)
    numbers = [said.get("score"), said.get("reward")]
    return said.get("number") == 0 or all(
        isinstance(value, int | float) and math.isfinite(value) for value in numbers
    )


class Pool:
    """Up to `size` workers, started when they are needed, that score with one reward.

    `reward` is a `chord.rewards.isolated.Isolated`; `timeout` seconds an answer, `memory` GB a
    worker. `beforehand` is called before each is started, and may raise.
    """

    def __init__(
        self,
        reward: Any,
        *,
        size: int,
        timeout: float,
        memory: float | None,
        beforehand: Callable[[], None] = lambda: None,
    ) -> None:
        self._beforehand = beforehand
        self.size = size
        self.timeout = timeout
        limit = None if memory is None else int(memory * 2**30)
        self._hello = pickle.dumps(Hello(pickle.dumps(reward), timeout, limit))
        self._places = module_places(reward)
        self._workers: list[Worker] = []
        # Also at the end of the interpreter.
        self.close = weakref.finalize(self, _kill, self._workers, os.getpid())

    def start(self) -> None:
        """Start a worker and wait until it can score; raises ConfigError where it never can."""
        self.run([], ready=1)

    def run(self, tasks: Sequence[tuple[Problem, str]], *, ready: int = 0) -> list[Grade]:
        """Grades of (problem, response), in their order; returns when `ready` workers are too.

        Raises ConfigError where a worker can't load the reward.
        """
        # Of one that ended, or talked, since the last answer no answer should be lost.
        self._drop([worker for worker in self._workers if worker.ready and not worker.is_quiet()])
        grades: list[Grade | None] = [None] * len(tasks)
        waiting = deque(range(len(tasks)))
        try:
            while None in grades or sum(worker.ready for worker in self._workers) < ready:
                self._fill(max(ready, grades.count(None)))
                for worker in self._workers:
                    if waiting and worker.ready and worker.task is None:
                        task = waiting.popleft()
                        worker.ask(task, *tasks[task], self.timeout)
                for worker, grade in self._next():
                    if worker.task is not None:
                        grades[worker.task], worker.task = grade, None
        except BaseException:
            # An interrupt, mostly: what they are still at must not be taken for a later answer.
            self._drop(list(self._workers))
            raise
        return [grade for grade in grades if grade is not None]

    def _fill(self, wanted: int) -> None:
        while len(self._workers) < min(self.size, wanted):
            self._beforehand()
            self._workers.append(Worker.launch(self._hello, self._places))

    def _next(self) -> list[tuple[Worker, Grade]]:
        """What has happened, once something has; those who died or took too long are dropped."""
        soonest = min(worker.deadline for worker in self._workers)
        with selectors.DefaultSelector() as watched:
            for worker in self._workers:
                watched.register(worker.pipe, worker.wants, worker)
            limit = max(0.0, soonest - time.monotonic()) if soonest < math.inf else None
            events = {key.data: event for key, event in watched.select(limit)}
        now, found = time.monotonic(), []
        for worker in list(self._workers):
            event = events.get(worker, 0)
            if event & selectors.EVENT_WRITE:
                worker.flush()
            grade = self._heard(worker) if event & selectors.EVENT_READ else None
            if grade is None and worker.deadline <= now and worker in self._workers:
                grade = self._late(worker)
            if grade is not None:
                found.append((worker, grade))
        return found

    def _late(self, worker: Worker) -> Grade:
        if not worker.ready:
            raise ConfigError(f"reward: a worker was not ready after {START:g} seconds")
        # What it has started may hold its pipe open.
        ended = worker.process.poll() is not None
        how = worker.end() if ended else ""
        self._drop([worker])
        if ended:
            return Grade.failed(f"the verifier ended its process ({how})")
        reason = f"the verifier took longer than {self.timeout:g} s"
        return Grade.failed(reason, timed_out=True)

    def _heard(self, worker: Worker) -> Grade | None:
        """The grade that a worker gives; None where it has not said all of it."""
        try:
            said = worker.hear()
        except (EOFError, NonsenseError) as error:
            how = worker.end() if isinstance(error, EOFError) else "it wrote into its pipe"
            if not worker.ready:
                raise ConfigError(f"reward: a worker could not start ({how})") from None
            self._drop([worker])
            return Grade.failed(f"the verifier ended its process ({how})")
        if said is None:
            return None
        worker.deadline = math.inf
        if not worker.ready:
            if "error" in said:
                raise ConfigError(said["error"])
            worker.ready = True
            return None
        if "error" in said:
            return Grade.failed(said["error"], traceback=str(said.get("traceback", "")))
        return Grade(said["score"], said["reward"])

    def _drop(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            self._workers.remove(worker)
            worker.kill()


def _kill(workers: list[Worker], owner: int) -> None:
    """End all workers; a fork of the run leaves them to the run."""
    if os.getpid() == owner:
        while workers:
            workers.pop().kill()
