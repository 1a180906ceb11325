"""What the files of a run say that a step, an evaluation or the end of the run left, and lack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from chord.config.overrides import typed
from chord.config.root import TrainConfig
from chord.doctor.finding import NOTE, OK, WRONG, Finding
from chord.errors import ConfigError, first_line
from chord.io.reading import opened
from chord.run.directory import RunDirectory
from chord.run.files import (
    APPENDED,
    EVALUATIONS,
    FINISHED,
    FORMAT,
    METRICS,
    SAMPLES,
    TIMINGS,
    read_rows,
    read_status,
)
from chord.run.gaps import gaps, reports_lacking
from chord.run.trained import foreign_file, unhashed

DAMAGED = (
    "take the file from a backup, or train the run again: .hydra/overrides.yaml has its command"
)
LOST = "they can't be made again from the checkpoint; take the file from a backup"
AT_THE_END = (SAMPLES, "curves.png")


def unreadable(path: Path) -> Iterator[Finding]:
    """The files of rows that can't be read, which a run that goes on would stop at."""
    for name in APPENDED:
        try:
            read_rows(path / name)
        except (ValueError, OSError) as error:
            what, _, remedy = str(error).partition("; ")
            yield Finding(WRONG, what, remedy or "take the file from a backup")


def rows(run: RunDirectory, config: TrainConfig, completed: int | None) -> Iterator[Finding]:
    """Whether the rows on record are those of the steps up to the checkpoint, each once.

    Of a run that has finished, those of all its steps.
    """
    path, finished = run.path, read_status(run.path).get("status") == FINISHED
    taken = config.steps if finished else min(completed or 0, config.steps)
    for sentence in gaps(path, config, taken):
        yield Finding(WRONG, sentence, LOST)
    counts = []
    for name in (METRICS, TIMINGS, EVALUATIONS):
        found = read_rows(path / name)
        counts.append(f"{len(found)} in {name}")
        known = [(row.get("step"), row.get("split"), row.get("model")) for row in found]
        if len(known) > len(set(map(repr, known))):
            what = "evaluations" if name == EVALUATIONS else "steps"
            yield Finding(WRONG, f"{name} has {what} twice", "two processes wrote into the run")
    for name in APPENDED if finished else ():
        if cut_off(path / name):
            yield Finding(WRONG, f"{name} ends in the middle of a row", LOST)
    yield Finding(OK, f"rows: {', '.join(counts)}")


def cut_off(file: Path) -> bool:
    """Whether the last row of a file isn't whole, as a kill leaves it, or a copy that was cut."""
    if not file.exists() or not file.stat().st_size:
        return False
    with opened(file) as content:
        content.seek(-1, os.SEEK_END)
        return content.read() != b"\n"


def results(run: RunDirectory, config: TrainConfig, completed: int | None) -> Iterator[Finding]:
    """What a run that has finished should have left at its end, and hasn't, or not whole."""
    again = made_again(run, config, completed)
    for lacking in reports_lacking(run.path, config):
        yield Finding(WRONG, f"{EVALUATIONS} lacks the last evaluation {lacking}", again)
    for name in AT_THE_END:
        if not (run.path / name).exists():
            yield Finding(WRONG, f"{name} is missing", again)
    place = config.model.place(run.path)
    if place is None:
        return
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else [place]
    if not files or not place.exists():
        yield Finding(WRONG, f"{place.name}, the trained model, is missing", again)
        return
    for file in files:
        try:
            # It compares the file's size with its header; no weights are read.
            with opened(file), safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError, ConfigError) as error:
            what = f"{file.relative_to(run.path)} can't be read ({first_line(error)})"
            yield Finding(WRONG, what, again)
            return
    if (foreign := foreign_file(run.path)) is not None:
        yield Finding(WRONG, f"{foreign} is not as this run wrote it", again)


def author(run: RunDirectory, config: TrainConfig, completed: int | None) -> Iterator[Finding]:
    """Whether it is known that the run wrote the final model in its directory."""
    if (said := unhashed(run.path)) is None:
        return
    if run.format < FORMAT:
        what = "has no hash of its final model: an earlier version made it"
        yield Finding(NOTE, what, "whether the run wrote that model is not known")
    else:
        what = f"{said}, so whether this run wrote that model is not known"
        yield Finding(WRONG, what, made_again(run, config, completed))


def made_again(run: RunDirectory, config: TrainConfig, completed: int | None) -> str:
    """How what the end of a run leaves comes back."""
    command = f"python -m chord.train {typed('resume', run.path)}"
    can = completed == config.steps
    return f"made again from the last checkpoint by: {command}" if can else DAMAGED
