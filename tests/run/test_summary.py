"""The closing table: complete, right about better and worse, and safe with any model text."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from chord.data.batch import Pair, Problem, Turn
from chord.evaluation.report import Report, ScoredAnswer
from chord.run.summary import (
    Measure,
    Sample,
    _change,
    cut_off,
    gains,
    measures,
    print_summary,
    side_by_side,
    visible,
)

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
    *args: Any,
    width: int = 80,
    color: bool = False,
    base: Any = METRICS,
    trained: Any = None,
    **settings: Any,
) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=color, legacy_windows=False)
    changed = {"target_accuracy": 0.55, "retained/mean": 0.93, "expert_nll": 0.5}
    trained = trained or {**METRICS, **changed}
    rest = args or ([sample()], "outputs/run")
    print_summary(console, base, trained, *rest, split="test", alpha=0.05, **settings)
    return file.getvalue()


def test_only_a_picture_that_was_drawn_now_is_named(tmp_path: Path) -> None:
    (tmp_path / "curves.png").touch()
    assert "curves" not in printed([], tmp_path)
    text = printed([], tmp_path, picture=tmp_path / "curves.png", width=300)
    assert f"curves: {tmp_path}/curves.png\n" in text


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


def test_a_file_of_problems_is_the_heading_and_no_expert_is_no_column() -> None:
    assert printed().splitlines()[1].strip() == "test split"
    assert "expert" in printed().partition("sample responses")[2]
    text = printed([sample(expert="")], "outputs/run", problems="[b]/harder.jsonl")
    assert text.splitlines()[1].strip() == "problems=[b]/harder.jsonl"
    below = text.partition("sample responses")[2]
    assert "trained" in below
    assert "expert" not in below
    assert "(empty)" not in below


def test_of_a_conversation_the_expert_response_to_what_was_asked_is_shown() -> None:
    problem = Problem("2+3?", "5", key=1)
    said = (Turn("assistant", "5"), Turn("user", "+1?"), Turn("assistant", "6"))
    data: Any = SimpleNamespace(held_out_pairs=lambda part: [Pair(problem, "6", turns=said)])
    report: Any = SimpleNamespace(
        answers=[SimpleNamespace(problem=problem, text="", score=0, cut_off=False, entropies=[])]
    )
    (shown,) = side_by_side(data, "test", report, report)
    assert (shown.problem, shown.expert) == ("2+3?", "5")


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
    # Of ten problems five were won: 1/2, s² = 10 / 4 / 9, t(9) = 2.262157, so ± .377026.
    text = printed(gained=[1.0, 0.0] * 5)
    assert "target, greedy: +50.0 points, +12.3 to +87.7 (95 %, paired over 10 problems" in text
    assert "paired over" not in printed()


def test_of_few_problems_a_gain_has_no_interval() -> None:
    text = printed(gained=[-1.0, 1.0, 1.0, 1.0])
    assert "target, greedy: +50.0 points on 4, too few problems for an interval\n" in text
    assert "95 %" not in text


def test_a_quantity_has_one_row_and_one_that_no_model_has_none() -> None:
    # SFT alone, without right answers.
    alone = {name: METRICS[name] for name in ("sft_accuracy", "expert_nll")}
    lines = printed(base=alone, trained=alone).splitlines()
    assert [line.split("│")[1].strip() for line in lines if "│" in line] == [
        "expert tokens predicted (sft_accuracy)",
        "expert tokens: nll",
    ]
    twins = {"target_mean8": 0.23, "rl_reward": 0.23}
    text = printed(base=twins, trained=twins)
    assert "mean@8" in text
    assert "rl_reward" not in text
    assert "rl_reward" in printed(base=twins, trained={**twins, "rl_reward": 0.24})


def test_responses_without_an_end_are_counted() -> None:
    def report(*ends: bool) -> Report:
        return Report({}, [ScoredAnswer(Problem("", "", 0), "", 0, (), None, end) for end in ends])

    counts = cut_off(report(True, True, False), report(False, True, False))
    (line,) = [line for line in printed(cut_off=counts).splitlines() if "without an end" in line]
    assert [cell.strip() for cell in line.split("│")[2:5]] == ["2 of 3", "1 of 3", "-1"]


def test_a_gain_is_that_of_one_problem() -> None:
    def report(*scores: float) -> Report:
        problems = [Problem(str(n), "", n) for n in range(len(scores))]
        return Report(
            {}, [ScoredAnswer(p, "", score, ()) for p, score in zip(problems, scores, strict=True)]
        )

    assert gains(report(0, 1, 1), report(1, 1, 0)) == [1, 0, -1]
