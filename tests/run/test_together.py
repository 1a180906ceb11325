"""A complete run stays complete, however slowly its other processes end."""

from __future__ import annotations

import signal
from subprocess import TimeoutExpired
from types import SimpleNamespace
from typing import Any

import pytest

from chord.run.together import ending_together


class Child:
    """A process that ends when it gets one of some signals."""

    def __init__(self, *ends_at: int) -> None:
        self.ends_at, self.got = ends_at, [0]

    def wait(self, timeout: float | None = None) -> int:
        if not {*self.ends_at} & {*self.got}:
            assert timeout is not None, "it would wait for ever"
            raise TimeoutExpired("chord.train", timeout)
        return -self.got[-1]

    def terminate(self) -> None:
        self.got.append(signal.SIGTERM)

    def kill(self) -> None:
        self.got.append(signal.SIGKILL)


def trainer(*children: Child) -> Any:
    launcher = SimpleNamespace(procs=list(children))
    return SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))


def test_a_process_that_does_not_end_is_ended_and_the_run_is_complete(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompt, slow, stuck = Child(0), Child(signal.SIGTERM), Child(signal.SIGKILL)
    this = trainer(prompt, slow, stuck)
    with ending_together(this):
        pass
    assert prompt.got == [0]
    assert slow.got == [0, signal.SIGTERM]
    assert stuck.got == [0, signal.SIGTERM, signal.SIGKILL]
    # Lightning kills this process when it sees that another was.
    assert this.strategy.launcher.procs == []
    said = [line.partition(" has ")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == [f"note: process {number} of the run" for number in (2, 3, 3)]
