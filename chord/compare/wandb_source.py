"""Reads runs from Weights & Biases through its public API, as if from run directories.

A run's history holds its train steps and validations. Its summary holds the test scores, and under
`base/` those of the base model (see `chord.tracking`). Its configuration holds overrides and
versions under `run`. Sample responses exist only in run directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chord.compare.model import LeftOut, Run
from chord.compare.record import Record, is_count, scores, stride
from chord.compare.settings import flat_settings, read_contents, read_origin, recorded_choices
from chord.errors import ConfigError, first_line
from chord.io.reading import parse_json
from chord.run.files import FAILED, FINISHED, INTERRUPTED, RUNNING
from chord.run.identity.histories import version_histories
from chord.tracking.wandb_access import connect

# W&B's name of each state; every other state means that the run was stopped.
_STATES = {"finished": FINISHED, "failed": FAILED, "running": RUNNING}
ROWS = 100_000  # the number requested; a server may send only a sample


def read_wandb(address: str) -> tuple[str, list[Run], list[LeftOut]]:
    """Read `entity/project`, or one sweep or group of it; return title, runs and what was left out.

    Raises a one-line ConfigError if there is no login, no connection, no such project, or no run.
    """
    parts = address.strip("/").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ConfigError(f"--wandb {address}: must be entity/project or entity/project/sweep")
    entity, project, *group = parts
    filters = {"$or": [{"sweep": group[0]}, {"group": group[0]}]} if group else {}
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    try:
        api = connect(entity)
        found = api.runs(f"{entity}/{project}", filters=filters, lazy=False)
        for remote in found:
            run, troubles = _read(remote, f"{entity}/{project}/{remote.id}")
            left_out += troubles
            runs += [run] if run is not None else []
    # Any exception: the client passes on whatever its service, the network or the server causes.
    except Exception as error:
        raise ConfigError(f"--wandb {address}: {first_line(error)}") from error
    if not runs and not left_out:
        raise ConfigError(f"--wandb {address}: contains no run")
    return address.strip("/"), runs, left_out


def _read(remote: Any, path: str) -> tuple[Run | None, list[LeftOut]]:
    config = dict(remote.config)
    facts = config.pop("run", None)
    facts = facts if isinstance(facts, Mapping) else {}
    # The configuration of a W&B agent's run is the sweep's, without config groups.
    config = facts.get("settings") or config
    steps: Any = config.get("steps")
    seed: Any = config.get("seed")
    if not is_count(steps) or not is_count(seed):
        return None, [LeftOut(what=path, reason="its configuration has no steps or no seed")]
    rows = remote.history(samples=ROWS, pandas=False)
    record = Record(stride(steps))
    troubles = _fill(record, rows, _plain(remote.summary_metrics), steps)
    left_out = [LeftOut(what=path, reason=f"{text}: left out") for text in dict.fromkeys(troubles)]
    final = record.final(steps)
    partial = record.drop_partial(steps) if final else {}
    count = getattr(remote, "historyLineCount", None)
    reasons = []
    if isinstance(count, int) and len(rows) < count:
        reasons.append(f"W&B sent {len(rows)} of {count} rows")
    if partial:
        held = f"the history holds {min(partial.values())} of {steps} steps"
        reasons.append(f"{held}: {' and '.join(partial)} are left out")
    if (disagreement := record.disagreement()) is not None:
        left_out.append(LeftOut(what=path, reason=disagreement))
    if reasons:
        left_out.append(LeftOut(what=path, reason="; ".join(reasons)))
    overrides = tuple(map(str, facts.get("overrides") or ()))
    best, best_step = record.best()
    run = Run(
        path=path,
        name=str(remote.name),
        seed=seed,
        status=_STATES.get(remote.state, INTERRUPTED),
        steps=record.steps,
        planned_steps=steps,
        settings=flat_settings(config, facts),
        choices=recorded_choices(facts, overrides),
        versions=version_histories(facts.get("versions"), facts.get("changes")),
        final=final,
        base=record.base(),
        best=best,
        best_step=best_step,
        curves=record.curves(),
        seconds=record.seconds,
        tokens=record.tokens,
        overrides=overrides,
        origin=read_origin(config),
        contents=read_contents(config, facts),
    )
    return run, left_out


def _fill(
    record: Record, rows: Iterable[Mapping[str, Any]], summary: Mapping[str, Any], steps: int
) -> list[str]:
    """Fill the record with W&B's rows, as if from a run directory; return problems with them."""
    troubles = []
    for raw in rows:
        row = {**raw, "step": raw.get("_step")}
        if "alpha" in row:
            troubles += [record.train(row), record.timing(row)]
        validation = {key: value for key, value in row.items() if key.startswith("val/")}
        if validation:
            named = {"step": row["step"], "split": "val", "model": "trained"}
            troubles.append(record.evaluation({**validation, **named}))
    for prefix, model, step in (("test/", "trained", steps), ("base/", "base", 0)):
        found = {key: value for key, value in scores(summary).items() if key.startswith(prefix)}
        if found:
            names = {key.removeprefix("base/"): value for key, value in found.items()}
            row = {**names, "step": step, "split": "test", "model": model}
            troubles.append(record.evaluation(row))
    return [trouble for trouble in troubles if trouble is not None]


def _plain(summary: Any) -> dict[str, Any]:
    return dict(summary) if isinstance(summary, Mapping) else dict(parse_json(summary.encode()))
