"""What W&B's server has acknowledged, read off the log of W&B's own process.

Its Python side says nothing of a refused upload: `finish` returns as after a good one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SENT, _ANSWERED, _FATAL = "filestream: sending request", "filestream: request sent", "fatal error"


@dataclass(frozen=True)
class Upload:
    """`rows`: how many history rows the server has, those from before a resume included, None where
    none was sent; `error`: why the rest was not taken, where known."""

    rows: int | None
    error: str = ""


def read_upload(log: Path) -> Upload | None:
    """What the server has acknowledged; None where the log does not tell.

    A request that was answered with 200 brought its rows, one that was tried again counts once:
    offsets 0 and 10 with 10 and 5 rows, the second one refused, are 10 rows.
    """
    reached: int | None = None
    pending, error, told = 0, "", False
    for entry in _entries(log):
        said = str(entry.get("msg", ""))
        if said == _SENT:
            told = True
            lines = int(entry.get("history_lines", 0))
            if lines:
                offset = int(entry.get("history_offset", 0))
                # It counts on from what the server had.
                reached = offset if reached is None else reached
                pending = offset + lines
        elif said == _ANSWERED and str(entry.get("status", "")).startswith("200"):
            reached = None if reached is None else pending
        elif said.startswith("filestream:") and _FATAL in said:
            error = said.partition("fatal error: ")[2].removeprefix("filestream: ")
    if not told:
        return None
    return Upload(reached, error.strip().partition("\n")[0])


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a kill has cut it in half
        if isinstance(entry, dict):
            yield entry
