"""Evaluate a run's trained model and its base: `python -m chord.evaluate RUN`.

Or a model that belongs to no run: `python -m chord.evaluate model=hf model.path=DIR problems=FILE`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, flag_override

from chord.command_line.arguments import refuse_output
from chord.command_line.hydra import launch, one_line_errors
from chord.command_line.positional import run_given
from chord.config.composing import register_options
from chord.config.consistency import check_amounts
from chord.config.parse import parse
from chord.config.root import EvaluateConfig, TrainConfig
from chord.data.base import SPLITS, DataConfig
from chord.data.jsonl import FilesConfig
from chord.errors import ConfigError, first_line
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.signs import Signs
from chord.io.writing import refuse_unwritable
from chord.run.alone import GROUPS, evaluate_alone, refuse_unchosen, words_alone
from chord.run.evaluated import EVALUATED, Evaluated, digest_of_asked, reward_of
from chord.run.files import CHECKPOINT
from chord.run.kept import find_checkpoint, step_of
from chord.run.opening import configuration
from chord.run.places import newest_run, require_run
from chord.run.trained import ended, last_alpha, trained_model
from chord.tracking.base import shown

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.evaluation.report import Report

LIMIT = "evaluation.max_new_tokens"

register_options()


def main() -> None:
    """Run `chord-evaluate`."""
    launch(_main, "evaluate", before=lambda words: refuse_unchosen(run_given(words)))


@one_line_errors
def _main(cfg: DictConfig) -> float:
    words = list(HydraConfig.get().overrides.task)
    alone = words_alone(words)
    with flag_override(cfg, ["struct", "readonly"], False):
        for group in GROUPS:  # the settings of a run are composed with what they refer to
            cfg[group] = None
    config = parse(cfg, EvaluateConfig)
    if alone:
        return evaluate_alone(config, alone).metrics.get("target_accuracy", math.nan)
    if config.run is None:
        path = newest_run(Path("outputs"))
    else:
        path = Path(config.run)
        require_run(path, f"run={config.run}")
    typed = [word.lstrip("+").partition("=")[0] for word in words]
    return evaluate_run(path, config, typed)[1].metrics.get("target_accuracy", math.nan)


def evaluate_run(
    path: Path, config: EvaluateConfig, typed: Collection[str] = (LIMIT,)
) -> tuple[Report, Report]:
    """Evaluate the base and the run's trained model, and print both side by side.

    Responses may be as long as in the run's own evaluations, unless the limit is among the settings
    that were `typed`. Returns their reports, which are also saved in the run directory: see
    `chord.run.evaluated`.
    """
    signs = Signs(f"loading the data and the models of {path}")
    with signs.shown():
        return _evaluate_in_sight(path, config, typed, signs)


def _evaluate_in_sight(
    path: Path, config: EvaluateConfig, typed: Collection[str], signs: Signs
) -> tuple[Report, Report]:
    # Here and below: torch takes seconds to load; mistakes in arguments are said before.
    import torch
    from rich.console import Console

    from chord.data.lengths import OverlongError
    from chord.evaluation.progress import shown_progress
    from chord.run.build import evaluate_as, fit_data, open_data, placed, prepare_reward
    from chord.run.summary import cut_off, gains, print_summary, side_by_side

    trained = configuration(path, trust=config.trust)
    checkpoint = find_checkpoint(path, trained.trainer.keep, config.checkpoint)
    if checkpoint is not None:
        say(f"evaluating {checkpoint}")
    _warn_unwritable(path, config.to)
    if config.problems is not None:
        _refuse_other_data(config.problems, trained.data)
        assert isinstance(trained.data, FilesConfig)
        _do_without_gone(trained.data)
    check_amounts(config.evaluation, trained.data)
    if LIMIT not in typed:
        config.evaluation.max_new_tokens = trained.evaluation.max_new_tokens
    config.evaluation.retained = config.evaluation.retained or trained.evaluation.retained
    trained.evaluation = config.evaluation
    alpha = last_alpha(path, trained)
    torch.set_num_threads(config.threads or trained.threads)
    device = trained.trainer.device()
    with open_data(trained) as data:
        if config.problems is not None:
            _evaluate_on(config.problems, trained, data)
        policy = trained_model(path, trained, checkpoint)
        policies = (trained.model.reference(policy), policy)
        try:
            fit_data(trained, data, policy)
        except OverlongError as error:
            # A run's data.overlong can't be typed here.
            raise ConfigError(
                f"{LIMIT}={config.evaluation.max_new_tokens}: {error.fault}; give a smaller limit, "
                "or a file without them"
            ) from error
        if config.problems is not None:
            _tell_left_out(data)
        prepare_reward(trained, data)
        reports = []
        for name, policy in zip(("base", "trained"), policies, strict=True):
            with (
                placed(trained, device, policy),
                shown_progress(name, Console(), signs) as on_progress,
            ):
                report = evaluate_as(
                    trained,
                    policy,
                    data,
                    split=config.split,
                    alpha=alpha,
                    samples=config.samples,
                    temperature=config.temperature,
                    on_progress=on_progress,
                )
                reports.append(report)
        base, after = reports
        asked = digest_of_asked(data, config.evaluation, config.split)
    gained = gains(base, after)
    print_summary(
        Console(),
        base.metrics,
        after.metrics,
        side_by_side(data, config.split, base, after),
        path,
        split=config.split,
        problems=config.problems,
        alpha=alpha,
        temperature=config.temperature,
        gained=gained,
        cut_off=cut_off(base, after),
    )
    step = _completed(path, trained, checkpoint)
    found = Evaluated(config, reward_of(path), asked, checkpoint, step, base, after)
    _save(found, path, gained)
    return base, after


def _refuse_other_data(problems: str, data: DataConfig) -> None:
    """Raise ConfigError where the run's data are not such that a file can stand in for a split."""
    if not isinstance(data, FilesConfig):
        raise ConfigError(
            f"problems={problems}: the run's own problems are not from files, so nothing says how "
            "to read this one; use a run of data=jsonl"
        )


def _do_without_gone(data: FilesConfig) -> None:
    """Do without files of held-out problems that are gone: none of these problems is asked.

    They only told which problems were kept from training, and that is no longer known.
    """
    # As above.
    from chord.data.files import is_gone

    for split in SPLITS:
        path = getattr(data, split)
        if data.share(split) is None and is_gone(path):
            setattr(data, split, "0")
            say(
                printable(
                    f"warning: data.{split}={path}: no such file, so problems that it kept from "
                    "training count as trained on"
                )
            )


def _evaluate_on(problems: str, trained: TrainConfig, data: Data) -> None:
    """Let the problems of a file take the place of the test split, and say what is in it."""
    from chord.data.corpus import Corpus

    assert isinstance(trained.data, FilesConfig)
    assert isinstance(data, Corpus)
    table = trained.data.table("problems", problems, must=data.unanswered is None)
    known = data.hold_out("test", table)
    say(printable(f"problems={problems}: {table.counted}"))
    if known:
        say(
            printable(
                f"warning: problems={problems}: the run was trained on {known} of its "
                f"{len(table.first)} problems, so their scores say nothing about new ones"
            )
        )
    if trained.reward.checks and data.unanswered is None:
        data.check_split("test", trained.reward.check)


def _tell_left_out(data: Data) -> None:
    """Say which rows do not fit the model's context, after `fit_data`."""
    from chord.data.corpus import Corpus

    for line in data.left_out if isinstance(data, Corpus) else ():
        say(printable(line))


def _completed(path: Path, trained: TrainConfig, checkpoint: Path | None) -> int:
    """How many train steps the evaluated model has completed."""
    if checkpoint is None and ended(path):
        return trained.steps
    return step_of(checkpoint or path / CHECKPOINT) or 0


def _warn_unwritable(path: Path, to: str | None) -> None:
    """Say before the work that an evaluation of a read-only run is only printed.

    Raises ConfigError where the directory that was given can't be written into, or the run's own is
    a link.
    """
    if to is not None:
        refuse_output(Path(to) / "evaluation.json", f"to={to}")
        return
    if (path / EVALUATED).is_symlink():
        raise ConfigError(
            f"{path}: {EVALUATED} in it is a symbolic link, through which other files would be "
            "written; put the directory itself in its place, or save elsewhere with to=DIR"
        )
    try:
        refuse_unwritable(path / EVALUATED / "evaluation.json", str(path))
    except ConfigError:
        say(
            f"warning: {path / EVALUATED} can't be written, so the evaluation is only printed; "
            "to=DIR saves it elsewhere"
        )


def _save(found: Evaluated, path: Path, gained: Sequence[float]) -> None:
    to = found.config.to
    try:
        saved, replaced = found.save(path, gained, None if to is None else Path(to))
    except OSError as error:
        say(f"warning: the evaluation can't be saved in {to or path}: {first_line(error)}")
    else:
        same = " (in place of an earlier one with the same settings)" if replaced else ""
        say(f"saved: {shown(saved)}{same}")


if __name__ == "__main__":
    main()
