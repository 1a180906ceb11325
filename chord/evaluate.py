"""Evaluate: `python -m chord.evaluate run=outputs/...` scores a run's model beside its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from chord import cli
from chord.checks import check_amounts
from chord.config import (
    CONF_DIR,
    VERSION_BASE,
    EvaluateConfig,
    TrainConfig,
    config_errors,
    parse,
)
from chord.recorder import FINISHED, read_status
from chord.run import configuration, newest_run

if TYPE_CHECKING:
    from chord.evaluation import Report
    from chord.models.policy import Policy

cli.register_options()


def main() -> None:
    """Entry point of `chord-evaluate`."""
    cli.launch(_main, "evaluate")


@hydra.main(config_path=str(CONF_DIR), config_name="evaluate", **VERSION_BASE)
@cli.one_line_errors
def _main(cfg: DictConfig) -> float:
    config = parse(cfg, EvaluateConfig)
    path = Path(config.run) if config.run is not None else newest_run(Path("outputs"))
    return evaluate_run(path, config)[1].metrics["target_accuracy"]


def evaluate_run(path: Path, config: EvaluateConfig) -> tuple[Report, Report]:
    """Reports of the base and of the run's model, printed side by side; nothing is written."""
    import torch
    from rich.console import Console

    from chord.build import evaluate_as, fit_data, open_data, placed, prepare_reward
    from chord.summary import gains, print_summary, side_by_side

    trained = configuration(path, trust=config.trust)
    check_amounts(config.evaluation, trained.data)
    config.evaluation.retained = config.evaluation.retained or trained.evaluation.retained
    trained.evaluation = config.evaluation
    alpha = last_alpha(path, trained)
    torch.set_num_threads(config.threads or trained.threads)
    device = trained.trainer.device()
    with open_data(trained) as data:
        with config_errors():
            policy = trained_model(path, trained)
            policies = (trained.model.reference(policy), policy)
        fit_data(trained, data, policy)
        prepare_reward(trained, data)
        reports = []
        for policy in policies:
            with placed(trained, device, policy):
                report = evaluate_as(trained, policy, data, split=config.split, alpha=alpha)
                reports.append(report)
        base, after = reports
    print_summary(
        Console(),
        base.metrics,
        after.metrics,
        side_by_side(data, config.split, base, after),
        path,
        split=config.split,
        alpha=alpha,
        gained=gains(base, after),
    )
    return base, after


def last_alpha(path: Path, config: TrainConfig) -> float:
    """Alpha at the end of the run; of a controller, whatever it was in the last step on record."""
    from chord.recorder import METRICS, read_rows

    rows = read_rows(path / METRICS) if config.schedule.needs else []
    return float(rows[-1]["alpha"]) if rows else config.schedule(config.steps - 1)


def ended(path: Path) -> bool:
    """Whether the final model in a run directory is that of the run as it is.

    A run that was lengthened, and interrupted then, still has that of its former end.
    """
    return read_status(path).get("status") in (FINISHED, None)


def trained_model(path: Path, config: TrainConfig) -> Policy:
    """The model of a run: the final one, or that of its last checkpoint if it was interrupted.

    Raises ValueError where there is neither, or it can't be read.
    """
    from chord.checkpoint import load_weights, read_checkpoint

    policy = config.model.load(path) if ended(path) else None
    if policy is not None:
        return policy
    weights = read_checkpoint(path, "run").weights
    if weights is None:
        raise ValueError(f"run={path}: holds neither a final model nor a checkpoint yet")
    policy = config.model.build()
    load_weights(policy, weights, f"run={path}")
    return policy


if __name__ == "__main__":
    main()
