"""Signals that ask a run to stop: it checkpoints after the step it is in, then does as it is asked.

SIGINT is Ctrl-C, SIGHUP a terminal that was closed; SIGTERM comes from a shell, SLURM or
`wandb agent`, SIGUSR1 and SIGUSR2 from SLURM before a time limit or a pre-emption. Where there is
no step to wait for, before the first or after the last, a signal is acted on at once; so is a
second one. An evaluation of a run of one process is broken off: the checkpoint is written without
it, and the run that goes on begins with it. Of a run's processes, one that the first has started
waits for it from the beginning: they stop together once they know each other.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from chord.distributed.launch import started_by_the_first

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")
    if hasattr(signal, name)
)
_PATIENCE = "\nstopping after this {}; once more to stop at once\n"


class BrokenOff(BaseException):
    """An evaluation was ended by a signal, which is still to be acted on."""


class Stopped(SystemExit):
    """The run ends after a signal, its checkpoint written. Its cause is what the signal's former
    handler raised, if it had one."""


class Signals:
    """The signals of a run, within a `with` block around all of it.

    A signal ends the run at once, as its former handler would, in a way that can be put on record;
    from `watch` on it is remembered until the run can act on it, and from the beginning by a
    process that the first has started.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        # Were it to end before they know each other, Lightning would kill the first.
        self._waits = started_by_the_first(sys.argv)
        self._breaks_off = False
        self._awaited: str | None = None
        self._before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> Signals:
        self._set(lambda number: self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()
        if isinstance(error, Stopped) and error.__cause__ is not None:
            raise error.__cause__ from None

    def watch(self) -> None:
        """Note signals from now on; outside the main thread there are none."""
        self._waits = True
        self._set(lambda number: self._handle)

    def unwatch(self) -> None:
        """Act on signals at once again."""
        self._waits, self._awaited = False, None
        self._set(lambda number: self._handle)

    def steps(self) -> None:
        """From now on it is a step that a signal waits for."""
        self._awaited = "step"

    @contextmanager
    def evaluating(self, *, alone: bool) -> Iterator[None]:
        """Within, it is an evaluation; `alone` there is nobody who has to end it, too.

        Raises `BrokenOff` then where a signal has come or comes.
        """
        if not self._waits:
            yield
            return
        self._awaited, awaited = "evaluation", self._awaited
        try:
            self._breaks_off = alone
            if alone and self.received is not None:
                raise BrokenOff
            yield
        finally:
            self._breaks_off, self._awaited = False, awaited

    def restore(self) -> None:
        """Leave signals to whom they were left before."""
        self._set(lambda number: self._before[number])

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Within, nothing is interrupted; a signal is acted on after the block."""
        self._waits, waited = True, self._waits
        self.received = None
        try:
            yield
        finally:
            self._waits = waited
        self.act_late()

    def act_late(self) -> None:
        """Act on a signal that nobody has acted on yet, if there is one."""
        if self.received is not None:
            self.act()

    def agree(self) -> bool:
        """Whether any process of the run was signalled; then all have been."""
        import torch

        from chord.distributed.collectives import all_max

        number = int(all_max(torch.tensor(self.received or 0)))
        self.received = number or None
        return number > 0

    def act(self) -> None:
        """Do what the signal asks for; returns if its former handler lets the run go on.

        Raises `Stopped` otherwise.
        """
        assert self.received is not None
        number, self.received = self.received, None
        before = self._before[number]
        if before is signal.SIG_IGN:
            return
        if not callable(before):
            raise Stopped(128 + number)
        try:
            before(number, None)
        except BaseException as error:
            raise Stopped(128 + number) from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._waits and self.received is None:
            self.received = number
            if self._breaks_off:
                self._breaks_off = False
                raise BrokenOff
            if self._awaited is not None and number == signal.SIGINT:
                # A handler can't print: it may interrupt who does.
                os.write(2, _PATIENCE.format(self._awaited).encode())
            return
        self.received = number
        self.act()

    def _set(self, handler: Callable[[int], Any]) -> None:
        try:
            for number in SIGNALS:
                signal.signal(number, handler(number))
        except ValueError:
            return
