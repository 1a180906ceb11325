"""From which checkpoint of which run a forked run starts."""

from __future__ import annotations

from dataclasses import dataclass

from chord.errors import ConfigError


@dataclass(kw_only=True)
class Lineage:
    """What tells a fork from others: its source, and how it starts from it.

    `fingerprint` is the source's, and `recipe` is the same for all of its seeds. `step` and
    `sha256` are those of the checkpoint. `optimizer`: whether its state is taken over.
    """

    fingerprint: str
    recipe: str
    step: int
    sha256: str
    optimizer: bool


def check_fork(
    fork: str | None, lineage: Lineage | None, checkpoint: str | None, *, fresh_optimizer: bool
) -> None:
    """Raise ConfigError for settings of a fork without one, or that chord did not look up."""
    if fork is None:
        given = {"checkpoint": checkpoint, "lineage": lineage}
        given["fresh_optimizer"] = "true" if fresh_optimizer else None
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name}={value}: is only for a fork; give fork=RUN")
    elif lineage is None:
        raise ConfigError(
            f"fork={fork}: must be typed for chord.train, chord.plan or with dry_run=true; other "
            "commands and files can't fork a run"
        )
