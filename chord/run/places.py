"""Which directories hold a run, and where a new one may lie."""

from __future__ import annotations

from pathlib import Path

from chord.errors import ConfigError


def holds_run(path: Path) -> bool:
    """Whether a directory is a run's."""
    return (path / "run.json").is_file()


def require_run(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` unless a directory is a run's."""
    if not path.is_dir():
        raise ConfigError(f"{named}: no such directory; give a run directory")
    if not holds_run(path):
        raise ConfigError(f"{named}: is not a run directory (it holds no run.json)")


def refuse_a_second_run(path: Path) -> None:
    """Raise `ConfigError` where a new run would be written over another, into it or around it."""
    if holds_run(path):
        # It loads Hydra, which takes time, and other callers of this module need none of it.
        from chord.config.overrides import typed

        raise ConfigError(
            f"hydra.run.dir={path}: already holds a run; {typed('resume', path)} continues it"
        )
    refuse_within_a_run(path, f"hydra.run.dir={path}:")
    refuse_around_runs(path, f"hydra.run.dir={path}:")


def refuse_around_runs(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a directory is a run's or a sweep's, or
    contains one."""
    for kind in ("run", "sweep"):
        if record := next(path.rglob(f"{kind}.json"), None):
            which = "" if record.parent == path else f" {record.parent} in it"
            raise ConfigError(
                f"{named}{which} is a {kind} directory; give a directory that contains no runs"
            )


def refuse_within_a_run(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a new directory would lie in a run's.

    Or in one called `~`, which is a mistake: a shell replaces it only where a word begins with it.
    """
    if path.parts[:1] == ("~",):
        place = Path("$HOME", *path.parts[1:])
        raise ConfigError(f"{named} would be in a directory called ~; give {place}")
    if outer := next(filter(holds_run, path.resolve().parents), None):
        raise ConfigError(
            f"{named} lies inside the run directory {outer}; give a directory outside it"
        )


def newest_run(root: Path) -> Path:
    """The run directory under `root` that was started or resumed last.

    Raises `ConfigError` where there is none.
    """
    found = sorted(root.rglob("run.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise ConfigError(
            f"RUN: none is given, and there is no run directory under {root}/ here; give the "
            "directory of a run, or start one with python -m chord.train"
        )
    return found[-1].parent
