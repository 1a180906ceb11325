"""The report of a specification.

It can only be built with an account, because its run sets refer to the server's id of the project.
"""

from __future__ import annotations

from typing import Any

import wandb_workspaces.reports.v2 as wr

from chord.dashboard.charts import columns, filters, panel
from chord.dashboard.specification import Spec


def report(spec: Spec) -> Any:
    """Build a new report: each section has a heading, its text, and its charts of all run sets."""
    blocks: list[Any] = [wr.P(spec["text"]), wr.TableOfContents()]
    for section in spec["sections"]:
        panels = [panel(chart, index) for index, chart in enumerate(section["charts"])]
        runs = [_run_set(spec, run_set) for run_set in spec["run_sets"]]
        blocks += [
            wr.H2(section["name"]), wr.P(section["text"]), wr.PanelGrid(runsets=runs, panels=panels)
        ]  # fmt: skip
    return wr.Report(
        entity=spec["entity"],
        project=spec["project"],
        title=spec["title"],
        blocks=blocks,
        width="fluid",
    )


def _run_set(spec: Spec, run_set: Spec) -> Any:
    made = wr.Runset(
        entity=spec["entity"],
        project=spec["project"],
        name=run_set["name"],
        groupby=spec["group_by"],
        pinned_columns=columns(spec),
    )
    made._stashed_filters_v2 = filters(spec, run_set)
    made._stashed_filter_string = made.filters
    return made
