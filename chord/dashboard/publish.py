"""The steps that need an account: checking that the sweep exists, saving workspace and report."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

from chord.dashboard.specification import PanelRequest, Spec
from chord.errors import ConfigError, first_line, suggest
from chord.tracking.wandb import INIT_SECONDS
from chord.tracking.wandb_access import connect

NAMED = 200  # runs whose groups are suggested if the requested one is unknown


def publish(request: PanelRequest, spec: Spec, made: Any) -> Iterator[str]:
    """Save the workspace `made` and the report of `spec`, and yield a line with the URL of each.

    Raises a one-line ConfigError if the project or the sweep does not exist, or if W&B refuses or
    does not respond; each request has a time limit.
    """
    # It needs an optional package, whose absence has been said by now.
    from chord.dashboard.report import report

    try:
        api = connect(request.entity, timeout=INIT_SECONDS)
        # wandb-workspaces connects anew for each request and prompts if it finds no key.
        os.environ.setdefault("WANDB_API_KEY", api.api_key)
        _check(api, request)
        yield f"W&B workspace: {made.save().url}"
        yield f"W&B report: {report(spec).save().url}"
    # Any exception: the client passes on whatever its service, the network or the server causes.
    except Exception as error:
        raise ConfigError(f"{request.address}: {first_line(error)}") from error


def _check(api: Any, request: PanelRequest) -> None:
    """Raise ConfigError if the project does not exist or has no run of the sweep."""
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
