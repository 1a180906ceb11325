"""The parts that a workspace and a report share, built with wandb-workspaces.

Filters of run sets are built as a tree, not as a string: wandb-workspaces' parser of strings
doubles every `=` inside a name and fails on quotes.
"""

from __future__ import annotations

from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from chord.dashboard.sections import BAR, LINE, SCATTER
from chord.dashboard.specification import STEP, Spec

GROUPS = 60  # W&B's default is ten
GROUPED: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
# A report is 24 units wide, which makes three charts per row.
WIDTH, HEIGHT = 8, 6


def panel(chart: Spec, index: int = 0) -> Any:
    """Build a chart of the specification, at its position in the grid of a report."""
    metrics, bounds = chart["metrics"], tuple(chart["range"])
    place = wr.Layout(x=index % 3 * WIDTH, y=index // 3 * HEIGHT, w=WIDTH, h=HEIGHT)
    if chart["kind"] == LINE:
        return wr.LinePlot(
            title=chart["title"],
            x="Step" if chart["x"] == STEP else chart["x"],
            y=metrics,
            range_y=bounds,
            title_x="train step",
            smoothing_type="exponential" if chart["smoothing"] else "none",
            smoothing_factor=chart["smoothing"],
            max_runs_to_show=GROUPS,
            layout=place,
            **GROUPED,
        )
    if chart["kind"] == BAR:
        return wr.BarPlot(
            title=chart["title"],
            metrics=metrics,
            range_x=bounds,
            max_runs_to_show=GROUPS,
            max_bars_to_show=GROUPS,
            layout=place,
            **GROUPED,
        )
    assert chart["kind"] == SCATTER
    across, up = map(wr.SummaryMetric, metrics)
    return wr.ScatterPlot(title=chart["title"], x=across, y=up, layout=place)


def columns(spec: Spec) -> list[str]:
    """Return the pinned columns of the table of runs."""
    return ["run:displayName", *(f"summary:{name}" for name in spec["columns"])]


def filters(spec: Spec, *run_sets: Spec) -> dict[str, Any]:
    """Build a filter for the runs that are in any of the run sets.

    Run sets of one specification have the same keys and differ only in the allowed values, so their
    union is taken key by key.
    """
    values: dict[tuple[str, ...], list[str]] = {}
    for run_set in run_sets:
        for condition in run_set["where"]:
            found = values.setdefault(tuple(condition["keys"]), [])
            found += [value for value in condition["in"] if value not in found]
    conditions = [
        expr.Or(*(metric(key).isin(names) for key in keys))
        if len(keys) > 1
        else metric(keys[0]).isin(names)
        for keys, names in values.items()
    ]
    return dict(expr.filters_tree_to_v2(expr.And(*conditions).to_model()))


def metric(key: str) -> Any:
    """Translate a key of the specification: `group`, `sweep`, or `config.` and a setting."""
    section, _, name = key.partition(".")
    if section != "config":
        return expr.Metric(key.capitalize())
    # W&B stores the value of each top-level setting under `value`.
    first, *rest = name.split(".")
    return expr.Config(".".join([first, "value", *rest]))
