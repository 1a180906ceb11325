"""What is printed of a comparison: whole numbers at any width, and nothing that names could do."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from compare_runs import make_run
from rich.console import Console

from chord.compare.grouping import compare
from chord.compare.model import Comparison, Run
from chord.compare.terminal import estimate_text, p_text, print_comparison
from chord.evaluation.statistics import t_interval


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    print_comparison(console, comparison)
    return console.export_text()


def test_markup_and_control_characters_in_names_are_shown_as_they_are() -> None:
    name = "[red]a[/] \x1b[31m"
    runs = [make_run(choices={"experiment": each}, error="x") for each in (name, "b")]
    stopped = make_run(seed=1, status="failed", error="[bold]no[/nothing] \x1b[31m")
    text = printed(compare([*runs, stopped]), 140)
    assert "[red]a[/] \\x1b[31m" in text
    assert "[bold]no[/nothing] \\x1b[31m" in text
    assert "\x1b" not in text


def test_many_groups_are_cut_and_it_says_so() -> None:
    runs = [make_run(settings={"optimizer.lr": lr / 100}) for lr in range(50)]
    text = printed(compare(runs))
    assert "... and 10 more groups; all are in groups.csv" in text


def test_estimates_are_shown_with_their_half_interval_and_their_number() -> None:
    estimate = t_interval([0.1, 0.3])
    # s / √2 = .1, times tan(.475 π) = 12.706
    assert estimate_text(estimate, "test/target_accuracy") == "20.0 ± 127.1"
    assert estimate_text(estimate, "test/expert_nll", runs=3) == "0.2 ± 1.271 (n=2)"
    assert estimate_text(t_interval([0.25]), "test/retained/sort") == "25.0"
    assert [p_text(p) for p in (0.0004, 0.0123, 1.0, float("nan"))] == [
        "p<.001", "p=.012", "p=1.000", ""
    ]  # fmt: skip


@pytest.mark.parametrize("samples", [4, 8])
def test_the_mean_over_the_samples_has_one_column_under_either_name(samples: int) -> None:
    def run(reward: float) -> Run:
        final = {"test/target_accuracy": 0.5, f"test/target_mean{samples}": 0.25}
        return replace(make_run(), final={**final, "test/rl_reward": reward})

    metrics = ["test/target_accuracy", f"test/target_mean{samples}", "test/rl_reward"]
    same, other = (printed(compare([run(reward)], metrics=metrics)) for reward in (0.25, 0.3))
    assert f"mean{samples}" in same
    assert "reward" not in same
    assert "reward" in other


def long_labels() -> Comparison:
    """Two groups of three seeds, whose labels are far wider than their numbers."""
    return compare(
        [
            make_run(
                seed=seed,
                accuracy=0.3 + 0.1 * seed + 0.01 * seed * (schedule == "cosine"),
                choices={"schedule": schedule, "weighting": "adaptive_with_a_long_name"},
                overrides=[f"schedule={schedule}", "optimizer.lr=x", "a.rather.long.setting=x"],
                settings={"optimizer.lr": schedule, "a.rather.long.setting": schedule * 3},
            )
            for schedule in ("exponential", "cosine")
            for seed in range(3)
        ],
        metrics=["test/target_accuracy", "test/retained/mean", "val/target_accuracy"],
    )


@pytest.mark.parametrize("width", [200, 80, 60])
def test_no_number_is_cut_and_labels_break_at_spaces_alone(width: int) -> None:
    comparison = long_labels()
    text = printed(comparison, width)
    lines = text.splitlines()
    tables = lines[: lines.index("notes")]
    assert max(map(len, tables)) <= width
    words = text.split()
    for group in comparison.groups:
        # In the tables of test and validation scores, of costs, and in two of differences.
        assert all(words.count(word) >= 3 for word in group.label.split())
        for name in comparison.metrics:
            assert estimate_text(group.final[name], name) in text
    assert "+1.0 ± 2.5" in text
    assert text.count("40.0 ± 24.8") == 2, "of test and validation"
    assert text.count("0k / 0k") == 2


def test_columns_that_fit_nowhere_stand_in_further_tables() -> None:
    def heads(width: int) -> list[list[str]]:
        lines = printed(long_labels(), width).splitlines()
        return [line.split() for line in lines if line.startswith("  n ")]

    # Two spaces and `n`, two and `40.0 ± 24.8`, two and `90.0 ± 6.2`: 28. Validation is a table
    # of its own.
    assert heads(28) == [["n", "accuracy", "mean"], ["n", "accuracy"]]
    assert heads(27) == [["n", "accuracy"], ["n", "mean"], ["n", "accuracy"]]
    assert heads(5) == heads(27)


def test_fewer_pairs_than_seeds_are_said() -> None:
    runs = [make_run(seed=seed, accuracy=0.1 * seed) for seed in range(3)]
    other = [
        make_run(seed=seed, accuracy=0.1 * seed + gain, choices={"schedule": "linear"})
        for seed, gain in ((1, 0.1), (2, 0.11), (3, 0.2))
    ]
    metrics = ["test/target_accuracy"]
    # .1 and .11: mean .105, s / √2 = .005, times 12.706.
    assert re.search(
        r"\+10\.5 ± 6\.4\n.* \(n=2\)", printed(compare([*runs, *other], metrics=metrics))
    )
    assert "(n=" not in printed(compare([*runs, *other[:2]], metrics=metrics))


def test_tokens_that_are_not_known_are_no_zero() -> None:
    known = [make_run(tokens={"sft": 40_000.0}), make_run(choices={"schedule": "linear"})]
    assert "40k / 0\n" in printed(compare(known))
    unknown = [make_run(tokens={}), make_run(tokens={}, choices={"schedule": "linear"})]
    assert len(re.findall(r"  2 +-\n", printed(compare(unknown)))) == 2
