"""The closing table: complete, right about better and worse, and safe with any model text."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from chord.data.batch import Problem
from chord.evaluation.report import Report, ScoredAnswer
from chord.run.summary import Measure, Sample, _change, gains, measures, print_summary, visible

METRICS = {
    "target_accuracy": 0.31,
    "target_mean4": 0.22,
    "rl_reward": 0.23,
    "retained/mean": 0.95,
    "retained/min": 0.91,
    "retained/sort": 0.91,
    "retained/reverse": 0.99,
    "sft_accuracy": 0.61,
    "expert_nll": 1.25,
    "expert_style": 0.08,
    "balance": 0.4,
    "balance_at_0.5": 0.42,
}
WORKED = "47*6=282;47*80=3760;282+3760=4042"


def sample(**changed: Any) -> Sample:
    values: dict[str, Any] = {
        "problem": "47*86",
        "expert": WORKED,
        "base": "4022",
        "trained": WORKED,
    }
    values |= {"key": 1, "base_finished": True, "base_tokens": 5}
    values |= {"trained_finished": True, "trained_tokens": 30}
    return Sample(**{**values, "base_right": False, "trained_right": True, **changed})


def printed(
    *args: Any, width: int = 80, color: bool = False, base: Any = METRICS, **settings: Any
) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=color, legacy_windows=False)
    trained = {**METRICS, "target_accuracy": 0.55, "retained/mean": 0.93, "expert_nll": 0.5}
    rest = args or ([sample()], "outputs/run")
    print_summary(console, base, trained, *rest, split="test", alpha=0.05, **settings)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_every_measure_stands_in_the_table_and_the_table_in_the_width(width: int) -> None:
    text = printed(width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for measure in measures(METRICS, 0.05):
        (line,) = [line for line in lines if f"│ {measure.label} " in line]
        assert "…" not in line
    assert len(measures(METRICS)) == len(METRICS)
    (target,) = [line for line in lines if "greedy accuracy" in line]
    assert [cell.strip() for cell in target.split("│")[2:5]] == ["31.0 %", "55.0 %", "+24.0"]
    assert "balance at alpha 0.05" in text


@pytest.mark.parametrize(
    ("measure", "before", "after", "text", "style"),
    [
        (Measure("x", "x"), 0.25, 0.5, "+25.0", "green"),
        (Measure("x", "x"), 0.5, 0.25, "worse -25.0", "red"),
        (Measure("x", "x"), 0.5, 0.5, "0", "dim"),
        (Measure("x", "x"), 0.5, 0.5 - 1e-9, "0", "dim"),
        (Measure("x", "x", -1, share=False), 1.25, 0.5, "-0.7500", "green"),
        (Measure("x", "x", -1, share=False), 0.5, 1.25, "worse +0.7500", "red"),
        (Measure("x", "x", 0), 0.25, 0.5, "+25.0", ""),
        (Measure("x", "x"), float("nan"), 0.5, "-", "dim"),
    ],
)
def test_a_change_is_coloured_and_named_by_whether_it_is_better(
    measure: Measure, before: float, after: float, text: str, style: str
) -> None:
    change = _change(measure, before, after)
    assert (change.plain, change.style) == (text, style)


def test_a_measure_that_was_not_taken_is_a_dash() -> None:
    base = {key: value for key, value in METRICS.items() if key != "target_mean4"}
    (line,) = [line for line in printed(base=base).splitlines() if "mean@4" in line]
    assert [cell.strip() for cell in line.split("│")[2:5]] == ["-", "22.0 %", "-"]


def test_answers_stand_side_by_side_with_their_marks() -> None:
    line = next(line for line in printed(width=120).splitlines() if "47*86" in line)
    assert line.split() == ["47*86", WORKED, "✗", "4022", "✓", WORKED]


def test_model_text_is_neither_markup_nor_a_terminal_command() -> None:
    # Otherwise: a style, an error for a closing tag, a cleared screen, a broken row.
    hostile = [
        sample(base="[red]4[/red]", trained="[/]"),
        sample(base="\x1b[2J\x07", trained="1\r\n2"),
    ]
    text = printed(hostile, "outputs/[run]")
    for shown in ("[red]4[/red]", "[/]", "\\x1b[2J\\x07", "1\\r\\n2", "outputs/[run]"):
        assert shown in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_an_empty_answer_says_so() -> None:
    assert visible("").plain == "(empty)"


def test_a_path_is_printed_on_one_line() -> None:
    path = "outputs/" + "x" * 100
    assert f"run directory: {path}" in printed([], path).splitlines()


def test_without_samples_there_is_no_table_of_them() -> None:
    assert "sample responses" not in printed([], "outputs/run")


def test_the_gain_has_its_interval_over_the_problems() -> None:
    # Of four problems one was lost and three won: 1/2, s = 1, t(3) = 3.182446, so ± 1.591223.
    text = printed(gained=[-1.0, 1.0, 1.0, 1.0])
    assert "target, greedy: +50.0 points, -109.1 to +209.1 (95 %, paired over 4 problems" in text
    assert "paired over" not in printed()


def test_a_gain_is_that_of_one_problem() -> None:
    def report(*scores: float) -> Report:
        problems = [Problem(str(n), "", n) for n in range(len(scores))]
        return Report(
            {}, [ScoredAnswer(p, "", score, ()) for p, score in zip(problems, scores, strict=True)]
        )

    assert gains(report(0, 1, 1), report(1, 1, 0)) == [1, 0, -1]
