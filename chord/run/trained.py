"""The model that a run has trained, and the alpha that it ended with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.run.files import CHECKPOINT, FINISHED, METRICS, read_rows, read_status

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


def trained_model(path: Path, config: TrainConfig, checkpoint: Path | None = None) -> Policy:
    """The model of a run: the final one, or that of its last checkpoint if it was interrupted.

    With a `checkpoint`, the model in that file. Raises ConfigError where there is none, or it can't
    be read.
    """
    # torch takes seconds to load, and the directory is looked at without it.
    from chord.models.checkpoints import load_weights
    from chord.run.checkpoint import read_saved

    policy = config.model.load(path) if checkpoint is None and ended(path) else None
    if policy is not None:
        return policy
    file = path / CHECKPOINT if checkpoint is None else checkpoint
    if not file.exists():
        raise ConfigError(f"run={path}: holds neither a final model nor a checkpoint yet")
    weights = read_saved(file, f"run={path}").weights
    assert weights is not None
    policy = config.model.build()
    load_weights(policy, weights, f"run={path}", CHECKPOINT.parent / file.name)
    return policy
