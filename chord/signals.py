"""Signals that ask a run to stop: it checkpoints after the step it is in, then does as it is asked.

SIGTERM comes from a shell, SLURM or `wandb agent`, SIGUSR1 and SIGUSR2 from SLURM before a time
limit or a pre-emption. A second one does not wait.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch

from chord.distributed import all_max

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


class Stopped(SystemExit):
    """The run ends after a signal, its checkpoint written. Its cause is what the signal's former
    handler raised, if it had one."""


class Signals:
    """Remembers a signal until the run can act on it. Made before the loop takes over signals."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def watch(self) -> None:
        """Note signals from now on; outside the main thread there are none."""
        self._set(lambda number: self._note)

    def restore(self) -> None:
        """Leave signals to whom they were left before."""
        self._set(lambda number: self._before[number])

    def agree(self) -> bool:
        """Whether any process of the run was signalled; then all have been."""
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

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.act()
        self.received = number

    def _set(self, handler: Callable[[int], Any]) -> None:
        try:
            for number in SIGNALS:
                signal.signal(number, handler(number))
        except ValueError:
            return
