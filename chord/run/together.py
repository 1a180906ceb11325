"""Processes that end together: one that fails says why, and the first one says it to the user."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from chord.config.messages import EXPECTED
from chord.distributed.collectives import rank, world_size
from chord.distributed.launch import first, started_by_the_first
from chord.distributed.signals import Stopped
from chord.errors import ConfigError
from chord.io.printing import ERROR, INTERRUPTED, say
from chord.io.reading import printable
from chord.run.status import reason
from chord.step.optimizer import DivergedError
from chord.weightings.base import WeightError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from chord.config.trainer import TrainerConfig

_KEY = "chord/why"
_CODE = "chord/stopped"
"""What a process leaves that a signal ends: its exit code."""
_PATIENCE = 60
"""Seconds in which another process should have ended once its work is done."""


class ProcessError(ConfigError):
    """Another process of the run has failed."""


@contextmanager
def ending_together(trainer: Trainer) -> Iterator[None]:
    """The processes that Lightning has started end with the block, however it ends.

    Where one of them fails, the first raises `ProcessError` with its reason. The others leave
    quietly: what they would raise is at best a broken connection.
    """
    if not first():
        try:
            yield
        except BaseException as error:
            _leave(error)
        return
    try:
        yield
    except (*EXPECTED, DivergedError, WeightError, KeyboardInterrupt, SystemExit):
        _end(trainer)
        raise
    except Exception as error:
        code = _stopped()
        why = _why(trainer) if code is None else None
        _end(trainer)
        if code is not None:
            # The broken connection is that of a process that was asked to stop.
            raise Stopped(code) from None
        if why is None:
            raise
        raise ProcessError(why) from error
    _see_off(trainer)


@contextmanager
def heard_by_the_first(trainer: TrainerConfig) -> Iterator[None]:
    """What one of the processes that the first waits for raises before they have met, the first
    raises when they meet; else it would wait on, or be killed by Lightning.
    """
    try:
        yield
    except Exception as error:
        if not started_by_the_first(sys.argv) or dist.is_initialized():
            raise
        with suppress(Exception):  # once they have met, a strategy may ask for a module
            trainer.build(max_steps=1, callbacks=[]).strategy.setup_environment()
        _leave(error)


def _leave(error: BaseException) -> None:
    """Let the first process know why this one ends, if it is the first to end, and end."""
    if isinstance(error, Exception) and dist.is_initialized():
        text = f"process {rank()} of {world_size()}: {reason(error)}"
        try:
            _store().compare_set(_KEY, "", text)
        except RuntimeError:
            sys.exit(1)  # the first one has ended before
        if started_by_the_first(sys.argv) and dist.get_backend() == "gloo":
            # The broken connection is noticed at once. A code would get the first one killed before
            # it has closed its files.
            sys.exit(0)
        say(f"error: {printable(text)}", file=sys.stderr)
    elif not isinstance(error, Exception) and dist.is_initialized():
        with suppress(RuntimeError):  # the first one has ended before
            _store().set(_CODE, str(exit_code(error)))
        if started_by_the_first(sys.argv):
            sys.exit(0)
    raise error


def exit_code(error: BaseException) -> int:
    """With which code a process ends that was asked to."""
    given = getattr(error, "code", INTERRUPTED)
    return given if isinstance(given, int) else ERROR


def _stopped() -> int | None:
    """The exit code of a process that a signal has ended, if there is one."""
    if world_size() == 1 or not _store().check([_CODE]):
        return None
    return int(_store().get(_CODE))


def _why(trainer: Trainer) -> str | None:
    """What another process has said, or how it ended; None where none has failed."""
    if world_size() == 1:
        return None
    if _store().check([_KEY]):
        text: bytes = _store().get(_KEY)
        return text.decode()
    for number, child in enumerate(_children(trainer), start=1):
        try:
            # Its connection breaks a moment before it is gone.
            code = child.wait(1)
        except TimeoutExpired:
            continue
        return f"process {number} of {world_size()}: ended with code {code}"
    return None


def _see_off(trainer: Trainer) -> None:
    """Wait for the other processes of a run that is complete, and end one that does not end."""
    for number, child in enumerate(_unwatched(trainer), start=1):
        for end, how in ((child.terminate, "asked to end"), (child.kill, "killed")):
            try:
                child.wait(_PATIENCE)
            except TimeoutExpired:
                say(
                    f"note: process {number} of the run has not ended {_PATIENCE} seconds after "
                    f"its work was done, and is {how}; the run is complete",
                    file=sys.stderr,
                )
                end()
        child.wait()


def _end(trainer: Trainer) -> None:
    """End the other processes."""
    for child in _unwatched(trainer):
        child.kill()
        child.wait()


def _unwatched(trainer: Trainer) -> list[Popen[bytes]]:
    """The other processes, without Lightning's watch over them, which would kill this one."""
    children = list(_children(trainer))
    _children(trainer).clear()
    return children


def _children(trainer: Trainer) -> list[Popen[bytes]]:
    found: list[Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    return found


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()
