"""The run at a glance, while it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chord.evaluation.progress import OnProgress, shown_progress
from chord.io.signs import Signs
from chord.run.callbacks import record_of

# What is shown of a step: label, metric, format (its number is the width).
SHOWN = (
    ("alpha", "alpha", "5.3f"),
    ("reward", "rollout/reward", "5.3f"),
    ("sft", "loss/sft", "6.4f"),
    ("rl", "loss/rl", "+7.4f"),
)
SPEED = "tokens_per_second"


class Progress(Callback):
    """The run at a glance: step, alpha (the SFT share), reward, both losses, tokens per second,
    time left. Two live lines on a terminal; elsewhere a printed line for each tenth of the run, and
    whenever one is due: see `chord.io.signs`.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        console: Console | None = None,
        signs: Signs | None = None,
    ) -> None:
        self.total = total
        self.console = console or Console()
        self.signs = signs or Signs("")
        self._spinner = Spinner("dots")  # moves while a step takes long
        self._done = done
        self._metrics: Mapping[str, Any] = {}
        self._live: Live | None = None
        self._evaluating = ""  # takes the place of the numbers
        self._started = 0.0
        self._before: int | None = None  # steps done when this process took over

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4)
            self._live.start()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._before is None:
            # An evaluation of the base model may come before the first step: not a step's time.
            self._started = time.monotonic()
        # The live lines are a sign of life themselves.
        self.signs.now("" if self._live else f"step {self._done + 1} of {self.total}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        record = record_of(trainer, pl_module)
        if record is None:
            return
        if self._before is None:
            self._before = record.step
        self._done = record.step + 1
        self._metrics = {**record.metrics, **record.timings}
        if self._live is None and (self._reached_a_tenth() or self.signs.due()):
            self.signs.told()
            line = f"{self._step()}  {self._numbers(self._metrics)}"
            self.console.print(f"{line}  {self._time_left()}", markup=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The two live lines: how far, and how it goes."""
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(width=1)
        table.add_row(
            Text(self._step(), style="bold"),
            ProgressBar(total=self.total, completed=self._done),
            Text(self._time_left(), style="cyan"),
            self._spinner if self._done < self.total else "",
        )
        yield table
        second = self._evaluating or self._numbers(self._metrics)
        yield Text(second, no_wrap=True, overflow="ellipsis")

    @contextmanager
    def evaluation(self, what: str, *, announced: bool) -> Iterator[OnProgress]:
        """Show how far an evaluation is; `announced`: a line says so before it begins.

        Only one thing on a terminal can be live: between train steps it is the run's own lines.
        """
        if self._live is None:
            if announced:
                self.console.print(
                    f"evaluating {what}", markup=False, highlight=False, soft_wrap=True
                )
                self.signs.told()
            with shown_progress(what, self.console, self.signs) as on_progress:
                yield on_progress
            return

        def note(sampled: int, total: int) -> None:
            self._evaluating = f"evaluating {what}: {sampled} of {total} responses"

        try:
            yield note
        finally:
            self._evaluating = ""

    def _reached_a_tenth(self) -> bool:
        return self._done * 10 // self.total > (self._done - 1) * 10 // self.total

    def _step(self) -> str:
        return f"step {self._done:>{len(str(self.total))}}/{self.total}"

    def _time_left(self) -> str:
        if self._before is None:
            return "-:--:-- left"
        if self._done >= self.total:
            return "done"
        pace = (time.monotonic() - self._started) / (self._done - self._before)
        seconds = round(pace * (self.total - self._done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"

    @staticmethod
    def _numbers(metrics: Mapping[str, Any]) -> str:
        return "  ".join(_shown(metrics))

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def _shown(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A skipped branch shows a dash and keeps its place, so that the line does not jump."""
    for label, key, form in SHOWN:
        value = metrics.get(key)
        width = int(form.strip("+").split(".")[0])
        yield f"{label} {'-' if value is None else format(float(value), form):>{width}}"
    speed = metrics.get(SPEED)
    if speed is not None and math.isfinite(speed):
        yield f"{round(speed):,} tok/s"
