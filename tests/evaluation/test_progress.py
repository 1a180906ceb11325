"""How far an evaluation is, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from rich.console import Console

import chord.evaluation.report as evaluation
from chord.config.root import TrainConfig
from chord.evaluation.progress import counted, shown_progress
from chord.io.signs import Signs
from chord.run.build import build_data


def test_an_evaluation_counts_all_its_responses(small_config: Callable[..., TrainConfig]) -> None:
    config = small_config()
    data, told = build_data(config), list[tuple[int, int]]()
    evaluation.evaluate(
        config.model.build(), data, config.evaluation, config.reward,
        split="val", alpha=0.5, samples=3, rows_at_a_time=5,
        on_progress=lambda sampled, total: told.append((sampled, total)),
    )  # fmt: skip
    kept = data.retained("validation").values()
    responses = config.evaluation.val_problems * (1 + 3)
    responses += sum(len(each[: config.evaluation.val_retained]) for each in kept)
    assert [total for _, total in told] == [responses] * len(told)
    assert told[-1][0] == responses
    steps = [after - before for (before, _), (after, _) in pairwise(told)]
    assert all(0 < step <= 5 for step in steps)


def test_elsewhere_than_on_a_terminal_the_signs_of_life_say_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    signs = Signs("step 3 of 9", clock=lambda: now[0])
    with shown_progress("base [x]", Console(file=io.StringIO()), signs) as on_progress:
        for second in (10, 14, 15, 20, 31):
            now[0] = second
            on_progress(second, 100)
            signs.look()
    lines = [
        "base [x]: 15 of 100 responses, 15 s so far",
        "base [x]: 31 of 100 responses, 31 s so far",
    ]
    assert capsys.readouterr().out.splitlines() == lines
    assert signs.what == "step 3 of 9"


@pytest.mark.parametrize("sampled", [7, 20])  # of 20, expert responses are still to be scored
def test_a_terminal_shows_a_bar_that_moves_and_goes_away(sampled: int) -> None:
    out, signs = io.StringIO(), Signs("step 3 of 9")
    console = Console(file=out, force_terminal=True, width=60)
    with shown_progress("base", console, signs) as on_progress:
        on_progress(sampled, 20)
        assert not signs.what
    shown = out.getvalue()
    assert re.search(rf"[⠀-⣿]\S* base .*{sampled}/20", shown)
    # The line is erased at the end.
    assert "\x1b[2K" in shown[shown.rindex(f"{sampled}/20") :]


def test_nothing_is_counted_for_nobody() -> None:
    assert counted(None, 3) is None
