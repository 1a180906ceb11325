"""What runs in a worker process: it unpickles a reward, then scores what it is sent.

Started as `python -P -m chord.rewards.worker FD`, so that it imports neither the command that
trains nor torch. What it receives is pickled by the run; what it answers is JSON, so that nothing
a scorer does there can be unpickled in the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from chord.rewards.base import Grade, grade_one
from chord.signals import SIGNALS

# Seconds after which it looks whether the run still lives, where it was not told.
_LOOK = 5.0


@dataclass(frozen=True)
class Hello:
    """What a worker is told first. `memory`: its limit in bytes."""

    reward: bytes
    timeout: float
    memory: int | None


def main(descriptor: int) -> None:
    """Serve until the run closes its end, or is gone."""
    # The run decides when to stop; a signal to all processes of a job is the run's alone.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent, pipe = os.getppid(), Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        hello: Hello = pickle.loads(pipe.recv_bytes())
        reward = load(hello, pipe)
        while reward is not None:
            while not pipe.poll(_LOOK):
                if os.getppid() != parent:
                    return
            problem, response = pickle.loads(pipe.recv_bytes())
            # Should the run be gone while this one hangs, the alarm ends it.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 2 * hello.timeout + _LOOK)
            answer = _answer(reward, problem, response)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send_bytes(json.dumps(answer).encode())


def load(hello: Hello, pipe: Connection) -> Any:
    """The reward, ready to score; None where it can't be, which the run is told."""
    if hello.memory is not None:
        # Not every system has this limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (hello.memory, hello.memory))
    try:
        reward = pickle.loads(hello.reward)
        reward.load()
    except BaseException as error:  # whatever foreign code raises
        known = isinstance(error, ValueError)
        pipe.send_bytes(json.dumps({"error": str(error) if known else _said(error)}).encode())
        return None
    pipe.send_bytes(b"{}")
    return reward


def _answer(reward: Any, problem: Any, response: str) -> dict[str, Any]:
    try:
        grade = grade_one(reward, problem, response)
    except BaseException as error:  # also sys.exit(): it costs this answer only
        grade = Grade.failed(f"the scorer raised {_said(error)}")
    if grade.failure is not None:
        return {"error": grade.failure.reason}
    return {"score": grade.score, "reward": grade.reward}


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # Without what a scorer left behind: threads that never end, handlers at exit.
    os._exit(0)
