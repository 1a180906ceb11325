"""The model that a run has trained, and the alpha that it ended with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.io.hashes import file_hash
from chord.run.files import (
    CHECKPOINT,
    FINISHED,
    METRICS,
    STATUS,
    kept_step,
    read_rows,
    read_status,
)

if TYPE_CHECKING:
    from chord.models.policy import Policy


def last_alpha(path: Path, config: TrainConfig) -> float:
    """Alpha at the end of the run; of a controller, whatever it was in the last step on record."""
    rows = read_rows(path / METRICS) if config.schedule.needs else []
    if not rows:
        return config.schedule(config.steps - 1)
    if (alpha := rows[-1].get("alpha")) is None:
        raise ConfigError(f"{path / METRICS}: its last row has no alpha; take it from a backup")
    return float(alpha)


def ended(path: Path) -> bool:
    """Whether the final model in a run directory is that of the run as it is.

    A run that was lengthened, and interrupted then, still has that of its former end.
    """
    return read_status(path).get("status") in (FINISHED, None)


def model_file(run: Path) -> Path:
    """Where the model of a run is that is evaluated if no checkpoint is chosen."""
    if not ended(run):
        return run / CHECKPOINT
    found = (run / "model", run / "model.safetensors", run / CHECKPOINT)
    return next((file for file in found if file.exists()), run / CHECKPOINT)


def final_files(path: Path) -> list[Path]:
    """The files with the weights of the final model in a run directory."""
    alone = path / "model.safetensors"
    return [*sorted((path / "model").glob("*.safetensors")), *([alone] if alone.exists() else [])]


def final_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of each of these files, by its place in the run directory; raises OSError."""
    return {file.relative_to(path).as_posix(): file_hash(file) for file in final_files(path)}


def foreign_file(path: Path) -> str | None:
    """The first of these files that the run has not left so; None if it has, or does not say."""
    known = read_status(path).get("model")
    if not isinstance(known, dict):
        return None
    now = final_hashes(path)
    return next((name for name, digest in now.items() if known.get(name) != digest), None)


def unhashed(path: Path) -> str | None:
    """Why it is not known whether the run in a directory wrote the final model there; None where
    it is, or there is no such model."""
    if not ended(path) or "model" in read_status(path) or not final_files(path):
        return None
    there = (path / STATUS).exists()
    return f"{STATUS} {'has no hash of the final model' if there else 'is missing'}"


def refuse_foreign_model(path: Path, setting: str = "run") -> None:
    """Raise ConfigError where the final model in a run directory is not the one that it wrote."""
    if (name := foreign_file(path)) is not None:
        raise ConfigError(
            f"{setting}={path}: {name} is not as this run wrote it; put this run's own model back"
        )


def refuse_foreign_start(file: Path, started_from: str | None, setting: str = "run") -> None:
    """Raise ConfigError where the checkpoint of step 0 is not the one that a fork started from.

    `started_from`: the hash of that one; None for a run that is no fork.
    """
    if kept_step(file) == 0 and file_hash(file) != started_from:
        run = file.parents[1]
        raise ConfigError(
            f"{setting}={run}: {file.relative_to(run)} is not the checkpoint that this run started "
            "from; put that back"
        )


def trained_model(path: Path, config: TrainConfig, checkpoint: Path | None = None) -> Policy:
    """The model of a run: the final one, or that of its last checkpoint if it was interrupted.

    With a `checkpoint`, the model in that file. Raises ConfigError where there is none, or it can't
    be read.
    """
    # torch takes seconds to load, and the directory is looked at without it.
    from chord.models.checkpoints import load_weights
    from chord.run.checkpoint import read_saved

    if checkpoint is None and ended(path):
        refuse_foreign_model(path)
        if (policy := config.model.load(path)) is not None:
            return policy
    file = path / CHECKPOINT if checkpoint is None else checkpoint
    if not file.exists():
        raise ConfigError(f"run={path}: holds neither a final model nor a checkpoint yet")
    refuse_foreign_start(file, config.lineage.sha256 if config.lineage else None)
    weights = read_saved(file, f"run={path}").weights
    assert weights is not None
    policy = config.model.build()
    load_weights(policy, weights, f"run={path}", CHECKPOINT.parent / file.name)
    return policy
