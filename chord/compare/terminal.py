"""A comparison on the terminal: scores, differences to the baseline, costs, what was left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chord.compare.model import Comparison, Difference, Estimate, Group
from chord.summary import measures, visible

ROWS = 40
LEFT_OUT = 15
_SHARES = {measure.key for measure in measures([]) if measure.share}
# On the test bed these are one number; the second says nothing more then.
_TWINS = {"rl_reward": "target_mean4"}


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the tables of each split, costs, what was left out, and the notes.

    Names come from files and are shown as they are, never read as markup.
    """
    groups = comparison.groups[:ROWS]
    for split in dict.fromkeys(name.partition("/")[0] for name in comparison.metrics):
        metrics = _columns(comparison, split)
        own = [group for group in groups if any(name in group.final for name in metrics)]
        console.print(_scores(comparison, own, metrics, split))
        if comparison.baseline is not None and any(group.differences for group in own):
            console.print(_differences(comparison, own, metrics))
    console.print(_costs(groups))
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
    """Whether a metric is within [0, 1] and shown in per cent."""
    key = metric.partition("/")[2]
    return key in _SHARES or key.startswith("retained/")


def estimate_text(estimate: Estimate, metric: str, *, runs: int | None = None) -> str:
    """`61.2 ± 1.3`, without ± for one seed; with the number of seeds where it isn't `runs`."""
    scale = 100 if is_share(metric) else 1
    mean = _number(estimate.mean * scale, metric)
    if estimate.n > 1:
        # Of a bootstrap's two sides, the longer.
        half = max(estimate.high - estimate.mean, estimate.mean - estimate.low)
        mean += f" ± {_number(half * scale, metric)}"
    return mean if runs in (None, estimate.n) else f"{mean} (n={estimate.n})"


def p_text(p: float) -> str:
    """`p=.012`, `p<.001`; nothing where no test was made."""
    if math.isnan(p):
        return ""
    return "p<.001" if p < 0.001 else f"p={p:.3f}".replace("=0.", "=.")


def _columns(comparison: Comparison, split: str) -> list[str]:
    names = [name for name in comparison.metrics if name.partition("/")[0] == split]
    return [name for name in names if not _repeats(comparison, name, names)]


def _repeats(comparison: Comparison, name: str, names: Sequence[str]) -> bool:
    split, _, key = name.partition("/")
    twin = f"{split}/{_TWINS.get(key)}"
    return twin in names and all(
        group.final.get(name) == group.final.get(twin) for group in comparison.groups
    )


def _scores(
    comparison: Comparison, groups: Sequence[Group], metrics: Sequence[str], split: str
) -> Table:
    unit = " in %" if all(is_share(name) for name in metrics) else ""
    table = _table(f"{split}{unit}: mean ± half of the 95 % interval over n seeds")
    table.add_column("n", justify="right")
    _metric_columns(table, metrics)
    base = [comparison.base.get(name) for name in metrics]
    if any(value is not None for value in base):
        cells = [
            _number((100 if is_share(name) else 1) * value, name) if value is not None else "-"
            for name, value in zip(metrics, base, strict=True)
        ]
        table.add_row(Text("before training", style="dim"), "", *cells, style="dim")
    for group in groups:
        cells = [
            estimate_text(group.final[name], name, runs=len(group.runs))
            if name in group.final
            else "-"
            for name in metrics
        ]
        table.add_row(_label(group, comparison), str(len(group.runs)), *cells)
    return table


def _differences(comparison: Comparison, groups: Sequence[Group], metrics: Sequence[str]) -> Table:
    table = _table(f"minus {comparison.baseline}: paired over common seeds, Holm's p")
    _metric_columns(table, metrics)
    for group in groups:
        if group.differences:
            cells = [_difference(group.differences.get(name), name) for name in metrics]
            table.add_row(visible(group.label), *cells)
    return table


def _difference(difference: Difference | None, metric: str) -> Text:
    if difference is None:
        return Text("-", style="dim")
    text = estimate_text(difference.estimate, metric)
    sign = "+" if difference.estimate.mean > 0 and not text.startswith("-") else ""
    p = p_text(difference.p_holm)
    found = not math.isnan(difference.p_holm) and difference.p_holm < 0.05
    return Text(f"{sign}{text}" + (f"\n{p}" if p else ""), style="bold" if found else "")


def _costs(groups: Sequence[Group]) -> Table:
    table = _table("best validation (by balance at .5) against the last, in %; cost of a run")
    for name in ("best at\nstep", "target\nbest / last", "retained\nbest / last", "seconds",
                 "tokens\nSFT / RL"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        steps = {run.best_step for run in group.runs if run.best_step is not None}
        at = "-".join(map(str, sorted({min(steps), max(steps)}))) if steps else "-"
        tokens = " / ".join(_thousands(group.tokens.get(branch)) for branch in ("sft", "rl"))
        seconds = "-" if group.seconds is None else f"{group.seconds.mean:.0f}"
        pairs = [_best(group, name) for name in ("val/target_accuracy", "val/retained/mean")]
        table.add_row(visible(group.label), at, *pairs, seconds, tokens)
    return table


def _best(group: Group, metric: str) -> str:
    pair = (group.best.get(metric), group.final.get(metric))
    return " / ".join("-" if each is None else f"{100 * each.mean:.1f}" for each in pair)


def _label(group: Group, comparison: Comparison) -> Text:
    mark = " (baseline)" if group.label == comparison.baseline else ""
    return visible(group.label).append(mark, style="dim")


def _table(title: str) -> Table:
    table = Table(
        title=Text("", style="bold").append_text(visible(title)),
        title_justify="left",
        box=HORIZONTALS,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", overflow="fold", min_width=16)
    return table


def _metric_columns(table: Table, metrics: Sequence[str]) -> None:
    for name in metrics:
        header = name.partition("/")[2] if "/" in name else name
        words = header.replace("_", " ").replace("/", " ").replace(" ", "\n", 1)
        table.add_column(Text(words), justify="right", no_wrap=True)


def _number(value: float, metric: str) -> str:
    return f"{value:.1f}" if is_share(metric) and abs(value) < 1e6 else f"{value:.4g}"


def _thousands(value: float | None) -> str:
    return "0" if not value else f"{value / 1000:.0f}k"


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _line(console: Console, text: str) -> None:
    console.print(Text("- ").append_text(visible(text)))


def _say_more(console: Console, count: int, what: str, file: str) -> None:
    if count > 0:
        console.print(Text(f"... and {count} more {what}; all are in {file}", style="dim"))
