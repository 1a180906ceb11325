"""Worker processes with a time limit for each answer.

Made for this, and not `concurrent.futures` or a library of process pools, for three reasons: a
worker that hangs has to be killed and replaced; multiprocessing's spawn would import the command,
or a script without a main guard, again in each worker; and nothing that scored hostile text should
be unpickled in the run. There are no threads: a call of `run` waits on the workers' pipes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from chord.data.batch import Problem
from chord.rewards.base import Grade
from chord.rewards.worker import Hello

# Seconds that a worker may take to import what its reward needs.
START = 120.0
# One thread each: several workers share the processors with the run.
_THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


@dataclass(eq=False)
class Worker:
    """A process, our end of its pipe, and the number of the answer it is at."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    deadline: float
    ready: bool = False
    task: int | None = None

    @classmethod
    def launch(cls, hello: bytes) -> Worker:
        """Start one; it says itself when it is ready."""
        ours, theirs = Pipe()
        # Also where the command is a script, whose path the current directory is not on.
        paths = [path or os.getcwd() for path in [*sys.path, ""]]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "chord.rewards.worker", str(theirs.fileno())],
            env=os.environ | _THREADS | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is the run's, and what it starts is killed with it
        )
        theirs.close()
        worker = cls(process, ours, time.monotonic() + START)
        worker.send(hello)
        return worker

    def send(self, message: bytes) -> None:
        """Say something to it; where it has died, its pipe tells when it is read."""
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(message)

    def kill(self) -> None:
        """End it and what it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.pipe.close()

    def end(self) -> str:
        """How it ended, where its pipe says that it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=1)
            return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return "it closed its pipe"


class Pool:
    """Up to `size` workers, started when they are needed, that score with one reward.

    `reward` is a `chord.rewards.isolated.Isolated`; `timeout` seconds an answer, `memory` GB a
    worker.
    """

    def __init__(self, reward: Any, *, size: int, timeout: float, memory: float | None) -> None:
        self.size = size
        self.timeout = timeout
        limit = None if memory is None else int(memory * 2**30)
        self._hello = pickle.dumps(Hello(pickle.dumps(reward), timeout, limit))
        self._workers: list[Worker] = []
        # Also at the end of the interpreter.
        self.close = weakref.finalize(self, _kill, self._workers, os.getpid())

    def start(self) -> None:
        """Start a worker and wait until it can score; raises ValueError where it never can."""
        self.run([], ready=1)

    def run(self, tasks: Sequence[tuple[Problem, str]], *, ready: int = 0) -> list[Grade]:
        """Grades of (problem, response), in their order; returns when `ready` workers are too.

        Raises ValueError where a worker can't load the reward.
        """
        # Of one that ended since the last answer no answer should be lost.
        self._drop([worker for worker in self._workers if worker.process.poll() is not None])
        grades: list[Grade | None] = [None] * len(tasks)
        waiting = deque(range(len(tasks)))
        try:
            while None in grades or sum(worker.ready for worker in self._workers) < ready:
                self._fill(max(ready, grades.count(None)))
                for worker in self._workers:
                    if waiting and worker.ready and worker.task is None:
                        worker.task = waiting.popleft()
                        worker.deadline = time.monotonic() + self.timeout
                        worker.send(pickle.dumps(tasks[worker.task]))
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
            self._workers.append(Worker.launch(self._hello))

    def _next(self) -> list[tuple[Worker, Grade]]:
        """What has happened, once something has; those who died or took too long are dropped."""
        soonest = min(worker.deadline for worker in self._workers)
        pipes: list[Any] = [worker.pipe for worker in self._workers]
        ready = wait(pipes, max(0.0, soonest - time.monotonic()) if soonest < math.inf else None)
        now, found = time.monotonic(), []
        for worker in list(self._workers):
            if worker.pipe in ready:
                found.append((worker, self._heard(worker)))
            elif worker.deadline <= now:
                if not worker.ready:
                    raise ValueError(f"reward: a worker was not ready after {START:g} seconds")
                reason = f"the scorer took longer than {self.timeout:g} s"
                found.append((worker, Grade.failed(reason, timed_out=True)))
                self._drop([worker])
        return found

    def _heard(self, worker: Worker) -> Grade:
        try:
            said = json.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            how = worker.end()
            if not worker.ready:
                raise ValueError(f"reward: a worker could not start ({how})") from None
            self._drop([worker])
            return Grade.failed(f"the scorer ended its process ({how})")
        worker.deadline = math.inf
        if not worker.ready:
            if "error" in said:
                raise ValueError(said["error"])
            worker.ready = True
            return Grade(0.0, 0.0)  # to no answer
        if "error" in said:
            return Grade.failed(said["error"])
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
