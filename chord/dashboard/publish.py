"""What needs an account: looking whether the sweep is there, and saving workspace and report."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from chord.dashboard.specification import PanelRequest, Spec
from chord.errors import ConfigError, first_line, suggest
from chord.tracking.wandb import INIT_SECONDS, connect

NAMED = 200  # runs whose groups are named where the one asked for is unknown


def publish(request: PanelRequest, spec: Spec, made: Any) -> Iterator[str]:
    """Save the workspace `made` and the report of `spec`, and say where each is.

    Raises ConfigError, in one line, without a project or the sweep, or where W&B refuses or does
    not answer: each request has a time limit.
    """
    from chord.dashboard.report import report

    try:
        api = connect(request.entity, timeout=INIT_SECONDS)
        # wandb-workspaces connects anew for each request, and would ask where it finds no key.
        os.environ.setdefault("WANDB_API_KEY", api.api_key)
        _check(api, request)
        yield f"W&B workspace: {made.save().url}"
        yield f"W&B report: {report(spec).save().url}"
    # Any: its client raises what its service, the network or the server happens to cause.
    except Exception as error:
        raise ConfigError(f"{request.address}: {first_line(error)}") from error


def _check(api: Any, request: PanelRequest) -> None:
    """Raise ConfigError where there is no such project, or no run of the sweep in it."""
    name = request.sweep
    which = {"$or": [{"sweep": name}, {"group": name}]} if name else {}
    if len(api.runs(request.address, filters=which)) or not name:
        return
    known = {
        found
        for run in itertools.islice(api.runs(request.address), NAMED)
        for found in (run.group, run.sweep_name)
        if found
    }
    hint = suggest(name, sorted(known)) if known else "; the project has none"
    raise ConfigError(f"--sweep {name}: no such sweep or group{hint}")
