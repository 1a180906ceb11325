"""A run directory is read back: to go on with the run, or to look at it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from chord.config.overrides import typed
from chord.config.root import TrainConfig
from chord.config.schemas import restore, schema_names
from chord.config.trust.own import made_here, needs_trust, reads_outside
from chord.errors import ConfigError, first_line
from chord.io.contents import changed, difference
from chord.io.printing import say
from chord.io.reading import read_json, read_yaml
from chord.run.directory import RunDirectory, placed
from chord.run.files import FORMAT, STATUS
from chord.run.identity.agreement import contradiction, fingerprint_on_record
from chord.run.identity.contents import contents
from chord.run.identity.edited import edited
from chord.run.identity.frozen import freeze
from chord.run.identity.record import MISFITS, check_record, reading, refuse_newer
from chord.run.places import require_run
from chord.run.trained import unhashed


def open_run(path: Path, *, trust: bool = False) -> RunDirectory:
    """An existing run directory with its typed, unresolved configuration.

    Raises `ConfigError` where it isn't one; and where it names code to import, a server or a place
    to write to, or reads the environment, unless this user's chord has made it or `trust` is true.
    """
    require_run(path, str(path))
    try:
        known = read_json(path / "run.json")
        refuse_newer(path, known)
        check_record(known)
        own, objection = made_here(path, known), reads_outside(path, known)
        if objection and not (own or trust):
            raise ConfigError(objection)
        config = restore(OmegaConf.create(known["config"]), known["schemas"])
        # A run of old has its calls there, and their values in the other file.
        values = path / "config.yaml"
        config, calls = freeze(config, lambda: read_yaml(values) if values.exists() else None)
        own = own and not calls
        objection = objection or needs_trust(path, config)
        if objection and not (own or trust):
            raise ConfigError(objection)
        run = RunDirectory(path, config, known["name"], known["overrides"], known["tracker_id"])
        run.options = known.get("options", {})
        run.started_in = Path(known.get("started_in", run.started_in))
        # A run of old does not say.
        run.lengths = [[int(each) for each in pair] for pair in known.get("lengths", ())]
        run.lengths = run.lengths or [[0, config.steps]]
        run.contents, run.changes = dict(known.get("contents", {})), list(known.get("changes", ()))
        run.versions = dict(known.get("versions", {}))
        run.format, run.placed = known.get("format", 1), placed(config)
        run.expressions = known.get("expressions", {}) | calls
        run.foreign = objection is not None and not own
        return run
    except ConfigError:
        raise
    except (ValueError, KeyError, *MISFITS) as error:
        raise ConfigError(f"{path}: run.json can't be read ({first_line(error)})") from error


def refuse_edited(path: Path, named: str, *, resolve: bool = True) -> dict[str, Any]:
    """What the `run.json` in a directory says; `ConfigError` that begins with `named` where the
    files there contradict each other about which run it is."""
    facts = read_json(path / "run.json")
    if (said := contradiction(path, facts, resolve=resolve)) is not None:
        raise ConfigError(
            f"{named}: {said}, so it is not known which run this is; undo that edit (or take "
            "the file from a backup), or start a new run with the other value"
        )
    return facts


def refuse_contradiction(run: RunDirectory, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a run's files don't agree which run it is.

    Otherwise keep the fingerprint that it is to have until its files are written again.
    """
    facts, values = refuse_edited(run.path, named), run.path / "config.yaml"
    with suppress(OSError, ValueError, KeyError, *MISFITS):  # said by whoever checks it
        run.before = fingerprint_on_record(facts, read_yaml(values) if values.exists() else None)


def refuse_unknown(run: RunDirectory, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a run's files don't agree which run it is,
    or don't say which model it has written.

    A run of an older format can't say that: see `tell_unknown`.
    """
    refuse_edited(run.path, named)
    if run.format == FORMAT and (said := unhashed(run.path)) is not None:
        command = f"python -m chord.train {typed('resume', run.path)}"
        raise ConfigError(
            f"{named}: {said}, so whether this run wrote that model is not known; take {STATUS} "
            f"from a backup, or write the model again from the last checkpoint: {command}"
        )


def tell_unknown(run: RunDirectory, named: str) -> None:
    """Say so where a run of an older format does not tell whether it wrote its final model."""
    if run.format < FORMAT and unhashed(run.path) is not None:
        say(
            f"warning: {named}: an earlier version made the run, without a hash of its final "
            "model, so whether the run wrote the model in its directory is not known",
            file=sys.stderr,
        )


def tell_edited(run: RunDirectory) -> None:
    """Say what was edited in the run's directory, to no effect on what is read of it."""
    found = list(edited(run.path, run.config, run.options))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        say(
            f"warning: {run.path}: {found[0]}{more}; the config in run.json counts, "
            "and what else was edited has no effect",
            file=sys.stderr,
        )


def configuration(path: Path, *, trust: bool = False) -> TrainConfig:
    """The checked configuration of a run to look at, which may be of a larger machine."""
    run = open_run(path, trust=trust)
    refuse_unknown(run, f"run={path}")
    tell_unknown(run, f"run={path}")
    tell_edited(run)
    run.config.threads = min(run.config.threads, os.cpu_count() or 1)
    with reading(path):
        config = run.checked()
        now = contents(config, schema_names(run.config))
    for name in changed(run.contents, now):
        said = difference(run.contents[name], now[name])
        say(f"warning: {name}={now[name]['path']}: {said} since the run", file=sys.stderr)
    return config
