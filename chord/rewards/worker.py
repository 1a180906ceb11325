"""What runs in a worker process: it unpickles a reward, then scores what it is sent.

Started by `workers.Worker.launch` in a Python of its own, so that it imports neither the command
that trains nor torch. What it receives is pickled by the run; what it answers is JSON, so that
nothing a verifier does there can be unpickled in the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import select
import signal
import socket
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

from chord.distributed.signals import SIGNALS
from chord.rewards.base import Grade, grade_one

# Seconds after which it looks whether the run still lives, where it was not told.
_LOOK = 5.0
LENGTH = 8
"""Bytes before a message of the run that say how long it is."""
# Characters of a traceback that are passed on: its end says most.
_TRACEBACK = 8000


@dataclass(frozen=True)
class Hello:
    """What a worker is told first. `memory`: its limit in bytes."""

    reward: bytes
    timeout: float
    memory: int | None


def main(descriptor: int) -> None:
    """Serve until the run closes its end, or is gone."""
    # The run decides when to stop; a signal to all processes of a job is the run's alone.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    parent, own, pipe = os.getppid(), os.getpid(), socket.socket(fileno=descriptor)
    with contextlib.suppress(EOFError, OSError):
        hello: Hello = pickle.loads(receive(pipe))
        reward = load(hello, pipe)
        number = 0
        while reward is not None:
            while not select.select([pipe], [], [], _LOOK)[0]:
                if os.getppid() != parent:
                    return
            token, problem, response = pickle.loads(receive(pipe))
            number += 1
            # Should the run be gone while this one hangs, the alarm ends it.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 2 * hello.timeout + _LOOK)
            answer = _answer(reward, problem, response)
            if os.getpid() != own:
                return  # a fork that the verifier left behind
            signal.setitimer(signal.ITIMER_REAL, 0)
            send(pipe, {"number": number, "token": token, **answer})


def receive(pipe: socket.socket) -> bytes:
    """A message of the run; EOFError at its end."""
    return _exactly(pipe, int.from_bytes(_exactly(pipe, LENGTH)))


def _exactly(pipe: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = pipe.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def send(pipe: socket.socket, facts: dict[str, Any]) -> None:
    """Say something to the run."""
    pipe.sendall(json.dumps(facts).encode() + b"\n")


def load(hello: Hello, pipe: socket.socket) -> Any:
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
        send(pipe, {"number": 0, "error": _text(error, 2000) if known else _said(error)})
        return None
    send(pipe, {"number": 0})
    return reward


def _answer(reward: Any, problem: Any, response: str) -> dict[str, Any]:
    try:
        grade = grade_one(reward, problem, response)
    except BaseException as error:  # also sys.exit(): it costs this answer only
        grade = Grade.failed(f"the verifier raised {_said(error)}", traceback=_traceback(error))
    if grade.failure is not None:
        return {"error": grade.failure.reason, "traceback": grade.failure.traceback}
    return {"score": grade.score, "reward": grade.reward}


def _said(error: BaseException) -> str:
    text = _text(error, 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException, longest: int) -> str:
    try:
        return " ".join(str(error).split())[:longest]
    except BaseException:  # an error's text is foreign code, too
        return ""


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))[-_TRACEBACK:]
    except BaseException:
        return ""


def run(descriptor: int) -> NoReturn:
    """Serve, and end the process without what a verifier left behind: threads that never end,
    handlers at exit."""
    main(descriptor)
    os._exit(0)
