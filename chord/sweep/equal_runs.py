"""Runs that are finished already and equal to a job, in its directory or elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chord.io.contents import changed
from chord.io.printing import say
from chord.io.reading import read_json
from chord.run.files import FINISHED, STATUS, read_status
from chord.run.identity.agreement import contradiction
from chord.run.identity.contents import contents
from chord.run.identity.versions import equal_versions, versions
from chord.run.places import holds_run
from chord.sweep.points import Point
from chord.tracking.base import shown

OUTPUTS = Path("outputs")


def is_finished(path: Path, fingerprint: str) -> bool:
    """Whether the run of this fingerprint is the one in a directory, and went to its end."""
    facts = read_status(path) if holds_run(path) else {}
    return facts.get("status") == FINISHED and facts.get("fingerprint") == fingerprint


def known_contents(path: Path) -> dict[str, Any]:
    """What the files of a run held, as it has it on record; empty for a run of old."""
    try:
        found = read_json(path / "run.json").get("contents", {})
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def equal_run(point: Point, runs: Sequence[Path]) -> Path | None:
    """The first of some runs of a job's fingerprint that read the files which the job would read.

    One that has no hashes of them on record counts, with a warning.
    """
    if not runs or point.config is None:
        return None
    now = contents(point.config, point.schemas)
    for path in runs:
        known = known_contents(path)
        # Of what can't be found it is not known whether it is what it was.
        if changed(known, now) or known.keys() - now.keys():
            continue
        if missing := now.keys() - known.keys():
            say(
                f"warning: {name_of(path)} counts as equal to job {point.number}, but "
                f"has no hashes of {', '.join(sorted(missing))}, so these may differ",
                file=sys.stderr,
            )
        return path
    return None


def finished_runs(root: Path = OUTPUTS) -> dict[str, list[Path]]:
    """The finished runs under `root` by fingerprint, those of these very package versions.

    And of one course: what a run read after its files were changed in mid-run is no other's. One
    whose files contradict each other is left out, with a warning.
    """
    found: dict[str, list[Path]] = {}
    here = versions()
    for file in sorted(root.rglob(STATUS)):
        facts = read_status(file.parent)
        if facts.get("status") != FINISHED or file.parent.is_symlink():
            continue
        try:
            run = read_json(file.parent / "run.json")
            theirs, changes = run["versions"], run.get("changes")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if equal_versions(theirs, here) and not changes:
            if (said := contradiction(file.parent, run, resolve=False)) is not None:
                where = name_of(file.parent)
                say(f"warning: {where} counts as no finished run: {said}", file=sys.stderr)
                continue
            found.setdefault(str(facts.get("fingerprint")), []).append(file.parent)
    return found


def take_over(path: Path, finished: Path) -> None:
    """Let a job's directory be that of an equal run: a link, so that whoever reads the sweep
    finds its numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(finished.resolve(), path.parent.resolve()))


def name_of(path: Path) -> str:
    """A run directory as one would type it here."""
    return shown(path.resolve())
