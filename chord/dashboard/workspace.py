"""The workspace of a specification. It can be built and written to a file without an account."""

from __future__ import annotations

import json
from typing import Any

import wandb_workspaces.workspaces as ws

from chord.dashboard.charts import GROUPS, columns, filters, metric, panel
from chord.dashboard.specification import Spec


def workspace(spec: Spec) -> Any:
    """Build a new workspace with the runs of all run sets."""
    made = ws.Workspace(
        entity=spec["entity"],
        project=spec["project"],
        name=spec["title"],
        sections=[
            ws.Section(
                name=section["name"],
                panels=[panel(chart) for chart in section["charts"]],
                is_open=True,
            )
            for section in spec["sections"]
        ],
        settings=ws.WorkspaceSettings(x_axis="Step", max_runs=GROUPS),
        runset_settings=ws.RunsetSettings(
            groupby=[metric(key) for key in spec["group_by"]], pinned_columns=columns(spec)
        ),
    )
    made._stashed_filters_v2 = filters(spec, *spec["run_sets"])
    made._stashed_filter_string = made.runset_settings.filters
    return made


def view(made: Any) -> dict[str, Any]:
    """Return what is sent to W&B for a workspace: its name and its view specification."""
    model = made._to_model()
    sent = model.spec.model_dump_json(by_alias=True, exclude_none=True)
    return {"displayName": model.display_name, "type": "project-view", "spec": json.loads(sent)}
