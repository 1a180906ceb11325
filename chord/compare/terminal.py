"""Prints a comparison: scores, differences to the baseline, costs, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from chord.compare.layout import Row, print_table
from chord.compare.model import Comparison, RunGroup
from chord.evaluation.statistics import Estimate
from chord.run.summary import MEAN, measures, visible

ROWS = 40
LEFT_OUT = 15
_SHARES = {measure.key for measure in measures([]) if measure.share}
# The mean over the samples, however many, is the same number, so this is only shown where not.
_TWIN = "rl_reward"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the tables of each split, the costs, what was left out, and the notes.

    Names come from files and are printed literally, never interpreted as markup.
    """
    groups = comparison.groups[:ROWS]
    for split in dict.fromkeys(name.partition("/")[0] for name in comparison.metrics):
        metrics = _columns(comparison, split)
        own = [group for group in groups if any(name in group.final for name in metrics)]
        _print_scores(console, comparison, own, metrics)
        if comparison.baseline is not None and any(group.differences for group in own):
            _print_differences(console, comparison, own, metrics)
    _print_costs(console, groups)
    _say_more(console, len(comparison.groups) - len(groups), "groups", "groups.csv")
    missing = [group for group in comparison.groups if group.missing]
    if missing:
        _heading(console, "missing seeds")
        for group in missing[:LEFT_OUT]:
            _line(console, f"{group.label}: {', '.join(map(str, group.missing))}")
        _say_more(console, len(missing) - LEFT_OUT, "groups", "groups.csv")
    if comparison.left_out:
        _heading(console, "left out")
        for each in comparison.left_out[:LEFT_OUT]:
            _line(console, f"{each.what}: {each.reason}")
        _say_more(console, len(comparison.left_out) - LEFT_OUT, "entries", "left_out.csv")
    if comparison.notes:
        _heading(console, "notes")
        for note in comparison.notes:
            _line(console, note)
    console.print()


def is_share(metric: str) -> bool:
    """Return whether a metric is a share within [0, 1], which is shown in per cent."""
    key = metric.partition("/")[2]
    return key in _SHARES or key.startswith(("retained/", "source/", MEAN))


def estimate_text(estimate: Estimate, metric: str, *, runs: int | None = None) -> str:
    """Format an estimate as `61.2 ± 1.3`, and a single seed's as `61.2`.

    The number of seeds is added if it differs from `runs`.
    """
    scale = 100 if is_share(metric) else 1
    mean = _number(estimate.mean * scale, metric)
    if estimate.n > 1:
        # A bootstrap interval need not be symmetric: show the longer side.
        half = max(estimate.high - estimate.mean, estimate.mean - estimate.low)
        mean += f" ± {_number(half * scale, metric)}"
    return mean if runs in (None, estimate.n) else f"{mean} (n={estimate.n})"


def p_text(p: float) -> str:
    """Format p as `p=.012` or `p<.001`; empty if there was no test."""
    if math.isnan(p):
        return ""
    return "p<.001" if p < 0.001 else f"p={p:.3f}".replace("=0.", "=.")


def _columns(comparison: Comparison, split: str) -> list[str]:
    names = [name for name in comparison.metrics if name.partition("/")[0] == split]
    return [name for name in names if not _repeats(comparison, name, names)]


def _repeats(comparison: Comparison, name: str, names: Sequence[str]) -> bool:
    split, _, key = name.partition("/")
    twins = [each for each in names if each.startswith(f"{split}/{MEAN}")]
    return key == _TWIN and any(
        all(group.final.get(name) == group.final.get(twin) for group in comparison.groups)
        for twin in twins
    )


def _print_scores(
    console: Console, comparison: Comparison, groups: Sequence[RunGroup], metrics: Sequence[str]
) -> None:
    split = metrics[0].partition("/")[0]
    unit = " in %" if all(is_share(name) for name in metrics) else ""
    rows = []
    base = [comparison.base.get(name) for name in metrics]
    if any(value is not None for value in base):
        cells = [
            _number((100 if is_share(name) else 1) * value, name) if value is not None else "-"
            for name, value in zip(metrics, base, strict=True)
        ]
        rows.append(Row(Text("before training"), _texts(["", *cells]), "dim"))
    for group in groups:
        cells = [
            estimate_text(group.final[name], name, runs=len(group.runs))
            if name in group.final
            else "-"
            for name in metrics
        ]
        rows.append(Row(_label(group, comparison), _texts([str(len(group.runs)), *cells])))
    title = visible(f"{split}{unit}: mean ± half the 95 % interval over n seeds")
    print_table(console, title, ["n", *map(_heading_of, metrics)], rows, repeated=1)


def _print_differences(
    console: Console, comparison: Comparison, groups: Sequence[RunGroup], metrics: Sequence[str]
) -> None:
    title = visible(f"difference to {comparison.baseline}: paired over common seeds, Holm's p")
    rows = [
        Row(visible(group.label), [_difference(group, name) for name in metrics])
        for group in groups
        if group.differences
    ]
    print_table(console, title, [_heading_of(name) for name in metrics], rows)


def _difference(group: RunGroup, metric: str) -> Text:
    """The difference with its p, and the number of pairs if not all seeds of the group have one."""
    difference = group.differences.get(metric)
    if difference is None:
        return Text("-", style="dim")
    estimate = difference.estimate
    text = estimate_text(estimate, metric)
    sign = "+" if estimate.mean > 0 and not text.startswith("-") else ""
    pairs = "" if estimate.n == len(group.runs) else f"(n={estimate.n})"
    below = " ".join(part for part in (p_text(difference.p_holm), pairs) if part)
    found = not math.isnan(difference.p_holm) and difference.p_holm < 0.05
    return Text(f"{sign}{text}" + (f"\n{below}" if below else ""), style="bold" if found else "")


def _print_costs(console: Console, groups: Sequence[RunGroup]) -> None:
    title = Text("best validation (by balance at .5) and last one, in %; cost per run")
    header = ["best at\nstep", "target\nbest / last", "retained\nbest / last", "seconds",
              "tokens\nSFT / RL"]  # fmt: skip
    rows = []
    for group in groups:
        steps = {run.best_step for run in group.runs if run.best_step is not None}
        at = "-".join(map(str, sorted({min(steps), max(steps)}))) if steps else "-"
        seconds = "-" if group.seconds is None else f"{group.seconds.mean:.0f}"
        pairs = [_best(group, name) for name in ("val/target_accuracy", "val/retained/mean")]
        cells = [at, *pairs, seconds, _tokens(group)]
        rows.append(Row(visible(group.label), _texts(cells)))
    print_table(console, title, header, rows)


def _best(group: RunGroup, metric: str) -> str:
    pair = (group.best.get(metric), group.final.get(metric))
    return " / ".join("-" if each is None else f"{100 * each.mean:.1f}" for each in pair)


def _tokens(group: RunGroup) -> str:
    """Tokens of both branches; 0 for a branch that never ran, `-` if the counts are unknown."""
    if not group.tokens:
        return "-"
    return " / ".join(_thousands(group.tokens.get(branch, 0.0)) for branch in ("sft", "rl"))


def _label(group: RunGroup, comparison: Comparison) -> Text:
    mark = " (baseline)" if group.label == comparison.baseline else ""
    return visible(group.label).append(mark, style="dim")


def _texts(cells: Sequence[str]) -> list[Text]:
    return [Text(cell) for cell in cells]


def _heading_of(metric: str) -> str:
    name = visible(metric).plain
    header = name.partition("/")[2] if "/" in name else name
    return header.replace("_", " ").replace("/", " ").replace(" ", "\n", 1)


def _number(value: float, metric: str) -> str:
    return f"{value:.1f}" if is_share(metric) and abs(value) < 1e6 else f"{value:.4g}"


def _thousands(value: float) -> str:
    return "0" if not value else f"{value / 1000:.0f}k"


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _line(console: Console, text: str) -> None:
    console.print(Text("- ").append_text(visible(text)))


def _say_more(console: Console, count: int, what: str, file: str) -> None:
    if count > 0:
        console.print(Text(f"... and {count} more {what}; all are in {file}", style="dim"))
