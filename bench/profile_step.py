"""Where the time of a train step goes: python bench/profile_step.py [--steps 12] [OVERRIDE ...].

Runs the real `train` on the composed configuration in a temporary directory and times five parts
of every step: rollout (sampling, scoring, advantages), forward (log-probabilities, weights,
losses), backward, optimizer (clipping and update), logging (metrics, files, tracker, progress
bar). The rest is the bookkeeping of Lightning and of this script.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose

from chord.config.composing import reading_conf, register
from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.run.directory import RunDirectory

PARTS = ("rollout", "forward", "backward", "optimizer", "logging")
# The first steps also pay for memory that is allocated once.
WARMUP = 2


class Clock:
    """Seconds by part; the time of an inner part is subtracted from the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `function` so that its time counts for `part`."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.book(part):
                return function(*args, **kwargs)

        return wrapped

    @contextmanager
    def book(self, part: str) -> Iterator[None]:
        """Count the time of the block for `part`."""
        start = time.perf_counter()
        self.inner.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[part] += took - self.inner.pop()
            self.inner[-1] += took


def main() -> None:
    """Train a few steps and print the table."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    register()
    with reading_conf():
        fixed = [f"steps={options.steps}", "evaluation=quick", "evaluation.every=0"]
        composed = compose("train", overrides=[*fixed, *options.overrides])
    clock, whole = Clock(), list[float]()
    instrument(clock, whole)
    from chord.run.training import train

    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory(Path(directory), composed, "profile", options.overrides)
        train(parse(composed, TrainConfig), run)
    print(f"\n{directory}, which the run names, was temporary and has been removed")
    report(clock, whole)


def instrument(clock: Clock, whole: list[float]) -> None:
    """Put clocks around the parts of a step, and one around the whole step."""
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

    from chord.run.callbacks import Recording
    from chord.run.progress import Progress
    from chord.step import module
    from chord.step.collect import Collector

    own = module.ChordModule
    Collector.__call__ = clock.timed("rollout", Collector.__call__)
    own.add_gradients = clock.timed("forward", own.add_gradients)
    own.manual_backward = clock.timed("backward", own.manual_backward)
    own.take_step = clock.timed("optimizer", own.take_step)
    module.branch_metrics = clock.timed("logging", module.branch_metrics)
    module.Rollouts.metrics = clock.timed("logging", module.Rollouts.metrics)
    Recording.on_train_batch_end = clock.timed("logging", Recording.on_train_batch_end)
    Progress.on_train_batch_end = clock.timed("logging", Progress.on_train_batch_end)
    advance = _TrainingEpochLoop.advance

    def timed_advance(*args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        advance(*args, **kwargs)
        whole.append(time.perf_counter() - start)
        if len(whole) == WARMUP:
            clock.seconds.clear()

    _TrainingEpochLoop.advance = timed_advance


def report(clock: Clock, whole: list[float]) -> None:
    """Milliseconds per step, and shares of the whole."""
    steps = len(whole) - WARMUP
    total = sum(whole[WARMUP:])
    rows = [(part, clock.seconds[part]) for part in PARTS]
    rows.append(("the rest", total - sum(seconds for _, seconds in rows)))
    print(f"\n{steps} steps, {1000 * total / steps:.0f} ms each\n")
    print("| part | ms per step | share |\n|---|---|---|")
    for part, seconds in rows:
        print(f"| {part} | {1000 * seconds / steps:.1f} | {100 * seconds / total:.1f} % |")


if __name__ == "__main__":
    main()
