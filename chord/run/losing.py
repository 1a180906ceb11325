"""What a run that goes on would lose: steps on record that its checkpoint does not have."""

from __future__ import annotations

import shlex
from pathlib import Path

from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.files import CHECKPOINT, FINISHED, METRICS, kept_file, read_rows, read_status


def lost(run: RunDirectory, completed: int) -> str | None:
    """What going on after `completed` steps would drop that no kill explains; None if nothing.

    A checkpoint is written every `trainer.checkpoint_every` steps and after the last, so a kill
    costs no more steps than that, and a run that has finished none. One that is kept beside the
    last one has been put in its place by somebody who wants to go on from there.
    """
    path = run.path
    if completed and kept_file(path, completed).exists():
        return None
    taken = max((row["step"] + 1 for row in read_rows(path / METRICS)), default=0)
    known, length = read_status(path), run.lengths[-1][1]
    ended = known.get("status") == FINISHED and completed < length
    if not ended and taken <= completed + run.config.trainer.checkpoint_every:
        return None
    there = f"is of step {completed}" if completed else "is missing"
    having = f"has finished all {length}" if ended else f"has taken {taken}"
    again = f"from step {completed} on" if completed else "from the first one on"
    return (
        f"{CHECKPOINT} {there}, but the run {having} train steps, which would be dropped and taken "
        f"anew {again}"
    )


def instead(run: RunDirectory) -> str:
    """What to do about it."""
    command = shlex.join(["python", "-m", "chord.train", *run.overrides])
    return f"put the checkpoint back from a backup, or start a new run: {command}"


def refuse_loss(run: RunDirectory, completed: int, named: Path | str) -> None:
    """Raise `ConfigError` where a run that goes on after `completed` steps would lose others."""
    if (said := lost(run, completed)) is not None:
        raise ConfigError(f"resume={named}: {said}; {instead(run)}")
