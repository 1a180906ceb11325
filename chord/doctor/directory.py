"""What a run directory holds, whether its files agree, and whether and how the run can go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from chord.config.composing import register
from chord.config.overrides import typed
from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.doctor.finding import NOTE, OK, WRONG, Finding
from chord.doctor.records import DAMAGED, author, results, rows, unreadable
from chord.errors import first_line
from chord.io.contents import SHOWN, changed, difference
from chord.io.reading import read_json
from chord.run.checkpoint import CHECKPOINT, check_place, read_checkpoint
from chord.run.directory import RunDirectory
from chord.run.files import FINISHED, RUNNING, kept_file, read_status
from chord.run.identity.agreement import contradiction
from chord.run.identity.contents import contents
from chord.run.identity.edited import edited
from chord.run.identity.versions import versions
from chord.run.kept import best_step, kept_steps
from chord.run.losing import instead, lost
from chord.run.opening import open_run
from chord.run.owner import writer
from chord.run.trained import refuse_foreign_start


def directory(path: Path, *, trust: bool = False) -> list[Finding]:
    """Everything about a run directory. What can't be read ends the list: no more is known.

    `trust`: the run may name code to import though it is not of this user's making.
    """
    found: list[Finding] = []
    try:
        register()
        run = open_run(path, trust=trust)
    except ValueError as error:
        return [Finding(WRONG, str(error), "" if "trust" in str(error) else DAMAGED)]
    found += whose(path)
    if (said := contradiction(path, read_json(path / "run.json"))) is not None:
        remedy = "undo that edit: as it is, it is not known which run this is"
        found.append(Finding(WRONG, said, remedy))
    found += [
        Finding(NOTE, said, "has no effect: the config in run.json counts")
        for said in edited(path, run.config, run.options)
    ]
    found += source(run)
    found += packages(run)
    try:
        config: TrainConfig | None = run.checked()
    except ValueError as error:
        config = None
        found.append(Finding(WRONG, f"its configuration is refused here: {error}"))
    found += [] if config is None else files(run, config)
    completed, checkpoint = saved(run)
    found += checkpoint
    found += [] if config is None else kept(run, config)
    broken = list(unreadable(path))
    found += broken
    found += [] if broken or completed is None else losses(run, completed)
    # What is lost is in nobody's way.
    open_ways = not any(finding.mark == WRONG for finding in found)
    # A number of steps that is refused may be of any size.
    if config is not None and not broken:
        found += rows(run, config, completed)
        if is_finished(path):
            found += results(run, config, completed)
        found += author(run, config, completed)
    found += how_to_go_on(run, completed, open_ways=open_ways)
    return found


def is_finished(path: Path) -> bool:
    """Whether the run got to its end."""
    return read_status(path).get("status") == FINISHED


def whose(path: Path) -> Iterator[Finding]:
    """Whether somebody writes into the directory, and how the run has ended."""
    owner, known = writer(path), read_status(path)
    status, error = known.get("status"), known.get("error")
    if owner is not None:
        yield Finding(NOTE, f"is being written by {owner}", "wait until it has ended, or end it")
    elif status == RUNNING:
        yield Finding(NOTE, "the run was killed: its status is 'running', but no process writes it")
    elif status is None:
        yield Finding(NOTE, "status.json is missing or damaged: how the run ended is not known")
    else:
        yield Finding(OK, f"the run is {status}" + (f": {error}" if error else ""))


def source(run: RunDirectory) -> Iterator[Finding]:
    """The run that a fork is one of, or whose model a run has begun with."""
    lineage, model = run.config.lineage, run.config.model.get("run")
    if lineage is None:
        return
    if run.config.fork is not None:
        state = "with the optimizer's state" if lineage.optimizer else "with a new optimizer"
        what = f"a fork of {run.config.fork} after {lineage.step} train steps, {state}"
    else:
        steps = f" after {lineage.step} train steps" if lineage.fingerprint else ""
        what = f"began with the model of {model}{steps}, sha256 {lineage.sha256[:SHOWN]}"
    known = f"; the source has the fingerprint {lineage.fingerprint}" if lineage.fingerprint else ""
    yield Finding(OK, f"{what}{known}")


def packages(run: RunDirectory) -> Iterator[Finding]:
    """The versions that the run was made with, where others are installed now."""
    now = versions()
    others = [
        f"{name} {before} (now {now.get(name, 'not installed')})"
        for name, before in run.versions.items()
        if now.get(name) != before
    ]
    if others:
        yield Finding(
            NOTE,
            f"was made with {', '.join(others)}",
            "install those versions for the same numbers; with others the last digits differ",
        )
    else:
        yield Finding(OK, "the installed versions are those that the run was made with")


def files(run: RunDirectory, config: TrainConfig) -> Iterator[Finding]:
    """The files that the configuration names: whether they are unchanged."""
    now = contents(config, schema_names(run.config))
    if not run.contents:
        yield Finding(NOTE, "has no hashes of its files: an earlier version made it")
        return
    for name, content in run.contents.items():
        if name not in now:
            yield Finding(WRONG, f"{name}={content.get('path')} is gone", "put it back")
    others = changed(run.contents, now)
    for name in others:
        yield Finding(
            WRONG,
            f"{name}={now[name]['path']} {difference(run.contents[name], now[name])}",
            f"restore it, or resume with allow_changed=[{name}]",
        )
    if not others and not set(run.contents) - set(now):
        yield Finding(OK, f"unchanged files: {', '.join(run.contents)}")


def saved(run: RunDirectory) -> tuple[int | None, list[Finding]]:
    """Completed train steps of the last checkpoint (None where it is damaged), and what of it."""
    path, file = run.path, run.path / CHECKPOINT
    if not file.exists():
        if is_finished(path):
            return 0, [Finding(NOTE, "has no checkpoint: it can't be made longer")]
        return 0, [Finding(NOTE, "has no checkpoint: resumed, the run begins at its first step")]
    try:
        completed = read_checkpoint(path).completed
    except ValueError as error:
        return None, [Finding(WRONG, first_line(error), instead(run))]
    size, free = file.stat().st_size, shutil.disk_usage(path).free
    what = f"{CHECKPOINT}: {completed} train steps, {size / 1e6:,.1f} MB"
    if free < 2 * size:
        # The next one is written beside it before it takes its place; then comes the model.
        room = f"; {free / 1e6:,.1f} MB are free, and the next ones need twice its size"
        return completed, [Finding(WRONG, what + room, "make room before the run goes on")]
    return completed, [Finding(OK, what)]


def kept(run: RunDirectory, config: TrainConfig) -> Iterator[Finding]:
    """The checkpoints that are kept beside the last one, and which of them is the best."""
    steps, keep = kept_steps(run.path), config.trainer.keep
    if steps:
        size = sum(kept_file(run.path, step).stat().st_size for step in steps)
        what = f"kept checkpoints: of steps {', '.join(map(str, steps))}, {size / 1e6:,.1f} MB"
        yield Finding(OK, what)
    for step in steps:
        file = kept_file(run.path, step)
        try:
            refuse_foreign_start(file, config.lineage.sha256 if config.lineage else None)
            check_place(file, str(run.path))
        except ValueError as error:
            yield Finding(WRONG, first_line(error), "put this run's own back, or remove it")
    if keep.best is None:
        return
    best = best_step(run.path, keep)
    if best is not None and best not in steps:
        what = f"checkpoints/step-{best}.ckpt, the best by {keep.best}, is missing"
        yield Finding(NOTE, what, "take it from a backup; a run that goes on keeps the next best")
    elif best is not None:
        yield Finding(OK, f"the best by {keep.best} is that of step {best}")


def losses(run: RunDirectory, completed: int) -> Iterator[Finding]:
    """What a run that goes on after `completed` steps would lose, and is refused for."""
    # Without a checkpoint a run that has finished stays as it is, and is whole.
    done = is_finished(run.path) and not (run.path / CHECKPOINT).exists()
    said = None if done else lost(run, completed)
    if said is not None:
        yield Finding(WRONG, said, instead(run))


def how_to_go_on(run: RunDirectory, completed: int | None, *, open_ways: bool) -> Iterator[Finding]:
    """The command that goes on with the run, if nothing found so far is in the way."""
    planned, command = int(run.config.steps), f"python -m chord.train {typed('resume', run.path)}"
    if not open_ways or completed is None:
        yield Finding(NOTE, "can't be resumed until what is wrong has been fixed")
    elif writer(run.path) is not None:
        yield Finding(NOTE, "can't be resumed while another process writes it")
    elif is_finished(run.path):
        longer = f"to make it longer: {command} steps=N" if completed else ""
        yield Finding(OK, f"all {planned} train steps are done", longer)
    elif completed < planned:
        what = f"can be resumed: {planned - completed} of {planned} train steps are left"
        yield Finding(OK, what, command)
    else:
        yield Finding(OK, "can be resumed: its last evaluation is left", command)
