"""Train: `python -m chord.train schedule=cosine weighting=margin`.

The flow: a composed configuration, checked (`chord.config`); a run in its directory, with
Lightning's loop over the training step (`chord.run`, `chord.step`); at the end the test split,
a table, a picture.
"""

from __future__ import annotations

from pathlib import Path

from chord.command_line.followers import follow
from chord.command_line.hydra import launch
from chord.config.overrides import given
from chord.distributed.launch import SURE, first
from chord.errors import ConfigError
from chord.io.printing import lasting_streams
from chord.io.reading import refuse_links
from chord.run.foreign import refuse_foreign
from chord.run.owner import refuse_used
from chord.run.places import refuse_a_second_run, require_run
from chord.run.resuming import refuse_settings
from chord.run.training import train
from chord.sweep.directory import in_its_directory
from chord.sweep.job import run_job
from chord.sweep.plugin import register_sweeper

__all__ = ["main", "train"]


def main() -> None:
    """Entry point of `chord-train`."""
    _launch()


def check_data() -> None:
    """Entry point of `chord-check-data`: `chord-train dry_run=true`."""
    _launch("dry_run=true")


def _launch(*more: str) -> None:
    lasting_streams()
    register_sweeper()
    launch(run_job, "train", before=lambda typed: before([*typed, *more]))


def before(arguments: list[str]) -> list[str]:
    """Check directories, and send a sweep that goes on into its own: what Hydra is to read."""
    if not first():
        # The first process has checked, and may have made the directory by now.
        return arguments if first(SURE) else follow(arguments)
    refuse_directories(arguments)
    return in_its_directory(arguments)


def refuse_directories(arguments: list[str]) -> None:
    """Refuse a wrong directory before Hydra makes it, or writes into a run that is there.

    Raises `ConfigError`.
    """
    directories = given(arguments)
    for name in ("hydra.run.dir", "hydra.sweep.dir"):
        if directories.get(name, "").startswith("~/"):
            raise ConfigError(
                f"{name}={directories[name]}: would be a directory called ~; use "
                f"{name}=$HOME{directories[name][1:]}"
            )
    resume, new = directories.get("resume", "null"), directories.get("hydra.run.dir")
    if resume != "null":
        if new is not None:
            raise ConfigError(f"hydra.run.dir={new}: a resumed run goes on in its own directory")
        require_run(Path(resume), f"resume={resume}")
        refuse_links(Path(resume), f"resume={resume}")
        refuse_linked_record(Path(resume))
        if not {"-m", "--multirun"} & {*arguments}:  # a sweep can't go on with one run
            refuse_settings(arguments)
    elif new is not None:
        refuse_used(Path(new), "hydra.run.dir")
        refuse_a_second_run(Path(new))
        refuse_links(Path(new), f"hydra.run.dir={new}")
        refuse_foreign(Path(new), f"hydra.run.dir={new}:")


def refuse_linked_record(run: Path) -> None:
    """Raise ConfigError where W&B's directory of the sweep that a run is of is a symbolic link."""
    shared = run.parent / "wandb"
    if (run.parent / "multirun.yaml").exists() and shared.is_symlink():
        raise ConfigError(
            f"resume={run}: {shared}, which the jobs of its sweep share, is a symbolic link, "
            "through which other files would be written; put the directory itself in its place"
        )


if __name__ == "__main__":
    main()
