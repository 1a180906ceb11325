"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, WRONG = "ok", "note", "wrong"
"""As it should be; worth knowing; in the way of a run."""


@dataclass(frozen=True)
class Finding:
    """One line of the report, and for what is not as it should be the `remedy`."""

    mark: str
    what: str
    remedy: str = ""
