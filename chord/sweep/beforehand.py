"""What the runs of a sweep would refuse after they had started, found out before the first does.

A run reads its files, and puts its data beside its models, once it has begun; of a sweep that would
be hours later. So it is done here too, as far as it takes no weights.
"""

from __future__ import annotations

import shutil
from contextlib import closing

from chord.config.consistency import (
    check_training,
    imitates_experts,
    overlap_report,
    reads_teacher,
    refused_at_first,
    scores_answers,
)
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.sweep.devices import tasks_each
from chord.sweep.launchers import LOCAL
from chord.sweep.points import Point, for_each


def check_beforehand(points: list[Point], launcher: str) -> None:
    """Check the jobs of a launcher that starts them on this machine; of others, that there is one.

    Raises `ConfigError` for the first that can't be run here, naming it. Jobs that don't differ in
    what is looked at are checked once, as an hour's sweep often has hundreds of one model.
    """
    if launcher == "SlurmLauncher" and not all(map(shutil.which, ("sbatch", "srun"))):
        raise ConfigError(
            "hydra/launcher=submitit_slurm: needs SLURM's sbatch and srun, which are not on this "
            "machine; use hydra/launcher=submitit_local or joblib"
        )
    if launcher == "SlurmLauncher":
        tasks_each(points)
    if launcher not in LOCAL:
        return
    known: set[str] = set()

    def check(point: Point) -> None:
        config = point.config
        # One that goes on with a run takes the settings of that.
        if config is None or config.resume is not None:
            return
        key = _looked_at(config)
        if key not in known:
            check_run(config)
            known.add(key)

    for_each(points, check, lambda point: point.label)


def _looked_at(config: TrainConfig) -> str:
    """All settings that `check_run` reads."""
    return repr(
        [
            (config.trainer.accelerator, config.trainer.devices),
            (config.model, config.data, config.evaluation, config.rollout.max_new_tokens),
            (reads_teacher(config) and config.teacher, imitates_experts(config)),
            scores_answers(config),
            (config.target.cache_path, refused_at_first(config), config.trainer.keep.best),
        ]
    )


def check_run(config: TrainConfig) -> None:
    """Check machine, files, and whether data and models go together, without reading weights.

    Raises ConfigError.
    """
    check_training(config)
    shape = config.model.shape()
    teacher = config.teacher.shape() if reads_teacher(config) else None
    if shape is None:
        # Here and below: only jobs whose models are at hand need torch.
        from chord.data.files import open_rows

        for setting, path in config.data.files().items():
            open_rows(setting, path)
        return
    from chord.run.build import build_data, check_shapes
    from chord.run.kept import check_metric_known
    from chord.step.demonstrations import open_cache

    with closing(build_data(config)) as data:
        overlap_report(data)
        check_metric_known(config, data)
        check_shapes(config, shape, teacher, data)
        open_cache(config, data)
