"""Signs of life: while something takes long, a line from time to time says what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chord.io.printing import say

EVERY = 15.0
"""Seconds without a line after which there is one."""


class Signs:
    """Says what goes on if nothing was said for `EVERY` seconds; nothing outside `shown`."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.what, self._how_far = what, ""
        self._told = self._since = clock()

    def now(self, what: str, how_far: str = "") -> None:
        """Set what goes on, and how far it is if that is known. "": nothing is to be said."""
        if what != self.what:
            self.what, self._since = what, self._clock()
        self._how_far = how_far

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """A context in which something else goes on for a while."""
        before = self.what, self._how_far, self._since
        self.now(what)
        try:
            yield
        finally:
            self.what, self._how_far, self._since = before

    def told(self) -> None:
        """Note that a line was printed just now."""
        self._told = self._clock()

    def due(self) -> bool:
        """Whether there was no line for so long that it is time for one."""
        return self._clock() - self._told >= EVERY

    def look(self) -> None:
        """Print what goes on, if a line is due."""
        if self.due():
            self.told()
            if self.what:
                took = f"{self._clock() - self._since:.0f} s so far"
                say(f"{self.what}: {', '.join(filter(None, (self._how_far, took)))}", flush=True)

    @contextmanager
    def shown(self) -> Iterator[Signs]:
        """A context in which a thread looks every second, whatever the program is doing."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(1):
                self.look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
