"""From which model of which run a new run starts: of `fork=RUN` or `model.run=RUN`."""

from __future__ import annotations

from dataclasses import dataclass

from chord.errors import ConfigError


@dataclass(kw_only=True)
class Lineage:
    """What tells a run that starts from another one: its source, and how it starts from it.

    `fingerprint` is the source's, and `recipe` is the same for all of its seeds; empty for a
    model that belongs to no run. `step` and `sha256` are those of the model or the checkpoint.
    `optimizer`: whether its state is taken over, as only a fork does.
    """

    fingerprint: str
    recipe: str
    step: int
    sha256: str
    optimizer: bool


def check_lineage(
    fork: str | None,
    model: str | None,
    lineage: Lineage | None,
    checkpoint: str | None,
    *,
    fresh_optimizer: bool,
) -> None:
    """Raise ConfigError for settings of a source without one, or that chord did not look up.

    `fork` and `model`: the runs of `fork=` and of `model.run=`.
    """
    if fork is None and fresh_optimizer:
        raise ConfigError("fresh_optimizer=true: is only for a fork; give fork=RUN")
    if fork is None and model is None:
        for name, value in {"checkpoint": checkpoint, "lineage": lineage}.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value}: is of the run in fork=RUN or model.run=RUN; give one of them"
                )
    elif lineage is None:
        named, does = (
            (f"model.run={model}", "start from a run's model")
            if fork is None
            else (f"fork={fork}", "fork a run")
        )
        raise ConfigError(
            f"{named}: must be typed for chord.train, chord.plan or with dry_run=true; other "
            f"commands and files can't {does}"
        )
