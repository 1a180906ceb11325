"""The run directories that this user's chord made, and what others may not say.

The list lies in the user's state directory, `$CHORD_STATE` or what the system has for it
(`~/.local/state/chord`): a file for each run whose configuration has to be trusted, named by a hash
of where the run is and of all that its `run.json` says. So a directory that was moved, or whose
`run.json` is another by now, is from elsewhere, and processes that write the list at the same time
don't meet. A run that had to be trusted never gets on the list.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from platformdirs import user_state_path

from chord.config.trust.code import entrusted, shipped, what
from chord.config.trust.files import forbidden, leaves
from chord.io.printing import say
from chord.io.writing import UnwrittenError, write_atomically


def state() -> Path:
    """Where this user's list is."""
    return Path(os.environ.get("CHORD_STATE") or user_state_path("chord")) / "runs"


def remember(run: Path, facts: Mapping[str, Any], config: DictConfig) -> None:
    """Put a run on the list, if it is ever to be asked for: most runs name nothing to be trusted.

    Where the list can't be written the run goes on, and the user is told what that means.
    """
    if not entrusted(config) and not any(forbidden(text) for _, text in leaves(facts["config"])):
        return
    entry = _entry(run, facts)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not entry.exists():
            write_atomically(entry, f"{run.resolve()}\n".encode())
    except (OSError, UnwrittenError) as error:
        why = error.why if isinstance(error, UnwrittenError) else str(error.strerror)
        say(
            f"warning: {entry.parent}: can't be written ({why}), so {run}, which names code to "
            "import, a server or a place to write to, can be resumed or evaluated only with "
            "trust=true",
            file=sys.stderr,
        )


def made_here(run: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the run is on the list as it is now."""
    return _entry(run, facts).is_file()


def _entry(run: Path, facts: Mapping[str, Any]) -> Path:
    said = json.dumps(json.loads(json.dumps(facts)), sort_keys=True)
    return state() / hashlib.sha256(f"{run.resolve()}\n{said}".encode()).hexdigest()


def reads_outside(run: Path, facts: Mapping[str, Any]) -> str | None:
    """Why a run from elsewhere needs trust: resolvers read the environment, or call anything."""
    for key, text in leaves(facts["config"]):
        if reason := forbidden(text):
            return f"{key}={text}: {run / 'run.json'} {reason}, {_otherwise()}"
    return None


def needs_trust(run: Path, config: DictConfig) -> str | None:
    """The same for what it names: code to import, where prompts and weights go, or what
    writes elsewhere."""
    for setting, name in entrusted(config).items():
        if not shipped(name):
            return f"{setting}={name}: {run / 'run.json'} {what(setting)}, {_otherwise()}"
    return None


def _otherwise() -> str:
    return (
        "and it is not a run that your chord made (or it was moved or edited); if you trust it, "
        "add trust=true (--trust for chat, doctor, export and replay)"
    )
