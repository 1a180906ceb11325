"""Callbacks around a real Lightning loop in manual optimisation, two optimizer steps a batch."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from chord.io.signs import Signs
from chord.run.callbacks import Recording
from chord.run.files import COMPLETIONS, METRICS, TIMINGS, read_rows
from chord.run.loop import stage
from chord.run.progress import Progress
from chord.run.recorder import Recorder
from chord.step.record import StepRecord
from chord.tracking import Tracker

# Lightning's own use of torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")

STEPS = 20
SHOW_CURSOR = "\x1b[?25h"


class Module(LightningModule):
    """Pure imitation up to step 4, mixed from there; `fails` at a given step."""

    def __init__(self, first: int = 0, fails: int | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(1, 1)
        self.record: StepRecord | None = None
        self.step = first
        self.fails = fails

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for _ in range(2):
            optimizer.zero_grad()
            self.manual_backward(self.layer(torch.ones(1)).sum())
            optimizer.step()
        if self.step == self.fails:
            raise RuntimeError("out of luck")
        metrics: dict[str, Any] = {"alpha": 1 - self.step / STEPS, "loss/sft": torch.tensor(0.25)}
        if self.step > 4:
            metrics |= {"rollout/reward": 0.5, "loss/rl": -0.0125}
        self.record = StepRecord(
            step=self.step,
            metrics=metrics,
            timings={"tokens_per_second": 12345.6},
            completions=[{"problem": "1+1", "response": "[red]2"}] if self.step == 7 else [],
        )
        self.step += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Kept(Tracker):
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log(self, step: int, row: Any) -> None:
        self.rows.append((step, dict(row)))


def fit(module: Module, *used: Callback, steps: int = STEPS) -> None:
    Trainer(
        accelerator="cpu",
        max_steps=2 * steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(used),
    ).fit(module, range(steps))


def screen(*, terminal: bool, width: int = 80) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=width, legacy_windows=False), file


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_every_train_step_is_recorded_once_under_its_own_number(tmp_path: Path) -> None:
    tracker = Kept()
    fit(Module(), Recording(Recorder(tmp_path), tracker))
    rows = read_rows(tmp_path / METRICS)
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[3] == {"step": 3, "alpha": 0.85, "loss/sft": 0.25}
    assert read_rows(tmp_path / TIMINGS)[3] == {"step": 3, "tokens_per_second": 12345.6}
    assert read_rows(tmp_path / COMPLETIONS) == [
        {"step": 7, "problem": "1+1", "response": "[red]2"}
    ]
    assert [step for step, _ in tracker.rows] == list(range(STEPS))
    assert tracker.rows[3][1] == {"alpha": 0.85, "loss/sft": 0.25, "tokens_per_second": 12345.6}


def test_elsewhere_than_on_a_terminal_each_tenth_of_the_run_is_a_line() -> None:
    console, file = screen(terminal=False)
    fit(Module(), Progress(STEPS, console=console))
    lines = file.getvalue().splitlines()
    # 20 steps: a tenth is 2 of them.
    assert [line.split("/")[0].split()[1] for line in lines] == [str(n) for n in range(2, 21, 2)]
    assert lines[0].startswith(
        "step  2/20  alpha 0.950  reward     -  sft 0.2500  rl       -  12,346"
    )
    assert "reward 0.500  sft 0.2500  rl -0.0125  12,346 tok/s" in lines[-1]
    assert lines[-1].endswith("done")
    assert "\x1b" not in file.getvalue()


def test_where_steps_take_long_each_is_a_line_and_so_is_what_goes_on_within_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    signs = Signs("", clock=lambda: now[0])

    class Slow(Module):
        def training_step(self, batch: int, batch_idx: int) -> None:
            now[0] += 16
            signs.look()
            super().training_step(batch, batch_idx)
            now[0] += 16

    console, file = screen(terminal=False)
    fit(Slow(first=14), Progress(STEPS, done=14, console=console, signs=signs), steps=6)
    numbers = range(15, 21)
    assert [line[:10] for line in file.getvalue().splitlines()] == [f"step {n}/20" for n in numbers]
    within = [f"step {n} of 20: 16 s so far" for n in numbers]
    assert capsys.readouterr().out.splitlines() == within


def test_the_live_lines_of_a_terminal_are_the_only_signs_of_a_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    signs = Signs("preparing the first step", clock=iter(range(0, 10**6, 20)).__next__)

    class Looks(Module):
        def training_step(self, batch: int, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            signs.look()

    console, _ = screen(terminal=True)
    fit(Looks(), Progress(STEPS, console=console, signs=signs))
    assert capsys.readouterr().out == ""


def test_a_run_of_fewer_than_ten_steps_prints_each_and_a_long_one_ten_lines() -> None:
    for total, expected in ((3, 3), (7, 7), (10, 10), (101, 10), (1234, 10)):
        progress = Progress(total)
        lines = 0
        for step in range(total):
            progress._done = step + 1
            lines += progress._reached_a_tenth()
        assert lines == expected


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_two_live_lines_fit_its_width(width: int) -> None:
    console, file = screen(terminal=True, width=width)
    fit(Module(), Progress(STEPS, console=console))
    bar, numbers = without_codes(file.getvalue()).splitlines()[-2:]
    assert bar.startswith("step 20/20 ━")
    assert bar.rstrip().endswith("done")
    assert numbers.rstrip() == "alpha 0.050  reward 0.500  sft 0.2500  rl -0.0125  12,346 tok/s"
    assert max(len(bar.rstrip()), len(numbers.rstrip())) <= width
    assert file.getvalue().rstrip().endswith(SHOW_CURSOR)


def test_an_exception_gives_the_terminal_back() -> None:
    console, file = screen(terminal=True)
    progress = Progress(STEPS, console=console)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(Module(fails=3), progress)
    assert progress._live is None
    assert file.getvalue().rstrip().endswith(SHOW_CURSOR)
    console.print("free again")
    assert file.getvalue().endswith("free again\n")


def test_time_left_counts_the_steps_of_this_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # Resumed at step 10 of 20; a step takes 60 s. After 3 steps 7 are left: 420 s.
    progress = Progress(STEPS)
    progress._started, progress._before, progress._done = 0.0, 10, 13
    monkeypatch.setattr("time.monotonic", lambda: 180.0)
    assert progress._time_left() == "0:07:00 left"


def test_a_resumed_run_shows_where_it_is() -> None:
    console, file = screen(terminal=False)
    fit(Module(first=14), Progress(STEPS, console=console), steps=6)
    assert [line[:10] for line in file.getvalue().splitlines()] == [
        "step 16/20", "step 18/20", "step 20/20",
    ]  # fmt: skip


def test_between_steps_the_second_live_line_says_how_far_an_evaluation_is() -> None:
    console, file = screen(terminal=True, width=100)
    progress = Progress(STEPS, console=console)

    class Evaluates(Module):
        def training_step(self, batch: int, batch_idx: int) -> None:
            super().training_step(batch, batch_idx)
            with progress.evaluation("val", announced=True) as on_progress:
                on_progress(3, 40)
                assert progress._live is not None
                progress._live.refresh()

    fit(Evaluates(), progress)
    text = without_codes(file.getvalue())
    assert "evaluating val: 3 of 40 responses" in text
    # Afterwards the numbers are there again.
    assert "tok/s" in text.splitlines()[-1]


def test_outside_the_steps_an_evaluation_is_announced_if_it_is_to_be() -> None:
    for announced, expected in ((True, "evaluating base [x]\n"), (False, "")):
        console, file = screen(terminal=False)
        with Progress(STEPS, console=console).evaluation("base [x]", announced=announced):
            pass
        assert file.getvalue() == expected


def test_an_evaluation_is_named_by_what_has_been_trained() -> None:
    assert stage("base", "test", 0) == "base, test split"
    assert stage("trained", "val", 0) == "model at the start, val split"
    assert stage("trained", "val", 7) == "trained, val split, after 7 steps"
