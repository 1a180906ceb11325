"""Signals that ask a run to stop: it finishes its step, writes a checkpoint, and then obeys.

SIGINT is Ctrl-C, and SIGHUP a closed terminal. SIGTERM comes from a shell, SLURM or `wandb agent`;
SIGUSR1 and SIGUSR2 come from SLURM before a time limit or a preemption. If there is no step to wait
for, before the first or after the last, a signal takes effect at once; so does a second signal.
A signal that was ignored when the run began, as SIGHUP is under `nohup`, stays ignored.

In a run of one process, a signal interrupts an evaluation: the checkpoint is written without it,
and the resumed run starts with it. In a run of several processes, those that the first one started
hold signals back from the beginning, and all stop together once they are connected.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
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
_PATIENCE = "\nstopping after this {}; press Ctrl-C again to stop at once\n"


class BrokenOff(BaseException):
    """A signal interrupted an evaluation; it has not taken effect yet."""


class Stopped(SystemExit):
    """The run ends because of a signal, with its checkpoint written.

    `__cause__` is what the signal's former handler raised, if there was one.
    """


class Signals:
    """The signals of a run, handled within a `with` block around the whole run.

    A signal ends the run at once, as its former handler would, but as an exception, so that the end
    can be recorded. After `watch` it is held back until the run can act on it. A process that the
    first one started holds signals back from the beginning.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        # If it ended before the processes are connected, Lightning would kill the first.
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
        """Hold signals back from now on. Outside the main thread this does nothing."""
        self._waits = True
        self._set(lambda number: self._handle)

    def unwatch(self) -> None:
        """Let signals take effect at once again."""
        self._waits, self._awaited = False, None
        self._set(lambda number: self._handle)

    def steps(self) -> None:
        """Tell the user, from now on, that a signal waits for the end of a step."""
        self._awaited = "step"

    @contextmanager
    def evaluating(self, *, alone: bool) -> Iterator[None]:
        """Mark the block as an evaluation; `alone`: this is the only process.

        If `alone`, raises `BrokenOff` on a signal, including one received before the block.
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
        """Restore the former handlers."""
        self._set(lambda number: self._before[number])

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Hold signals back within the block and act on them after it."""
        self._waits, waited = True, self._waits
        self.received = None
        try:
            yield
        finally:
            self._waits = waited
        self.act_late()

    def act_late(self) -> None:
        """Act on a signal that was held back, if there is one."""
        if self.received is not None:
            self.act()

    def agree(self) -> bool:
        """Return whether any process of the run got a signal, and set it in all of them."""
        # Processes that wait for no others do without torch.
        import torch

        from chord.distributed.collectives import all_max

        number = int(all_max(torch.tensor(self.received or 0)))
        self.received = number or None
        return number > 0

    def act(self) -> None:
        """Do what the signal asks for; return if its former handler lets the run continue.

        Raises `Stopped` otherwise.
        """
        assert self.received is not None
        number, self.received = self.received, None
        before = self._before[number]
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
                # A handler must not print, because it may interrupt a print.
                os.write(2, _PATIENCE.format(self._awaited).encode())
            return
        self.received = number
        self.act()

    def _set(self, handler: Callable[[int], Any]) -> None:
        try:
            for number, before in self._before.items():
                ignored = before is signal.SIG_IGN
                # Set all the same: Lightning has a handler of its own for SIGTERM.
                signal.signal(number, before if ignored else handler(number))
        except ValueError:
            return


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
