"""How much W&B's server has acknowledged, according to the log of W&B's own process.

W&B's Python client does not report a refused upload: `finish` returns as if it had succeeded.
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
    """The state of an upload.

    `rows`: how many history rows the server has, including those from before a resume; None if none
    was sent. `error`: why the server refused the rest, if known.
    """

    rows: int | None
    error: str = ""


def read_upload(log: Path) -> Upload | None:
    """Return what the server has acknowledged; None if the log does not say.

    Requests with status 200 count, repeated ones once: if offsets 0 and 10 had 10 and 5 rows and
    the second request was refused, the server has 10 rows.
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
                # The first offset is the number of rows that the server already had.
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
            continue  # cut off by a kill
        if isinstance(entry, dict):
            yield entry
