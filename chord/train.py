"""Train: `python -m chord.train schedule=cosine weighting=margin`.

The flow: a composed configuration, checked (`chord.config`); a run directory (`chord.run`);
Lightning's loop over the training step (`chord.module`); at the end the test split, a table, a
picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import hydra

from chord import cli
from chord.checks import check_training, overlap_report
from chord.config import (
    CONF_DIR,
    VERSION_BASE,
    ConfigError,
    TrainConfig,
    config_errors,
    schema_names,
)
from chord.directory.lock import held
from chord.directory.whole import remove_partials
from chord.exits import lasting_streams, say
from chord.identity.contents import contents, read_from_hub, refuse_changed
from chord.identity.histories import VERSION, Contents, changed, difference
from chord.launch import SURE, first, follow, leads
from chord.overrides import given, typed
from chord.run import RunDirectory, holds_run, refuse_a_second_run
from chord.signals import Signals
from chord.sweep.directory import in_its_directory
from chord.sweep.job import run_job
from chord.sweep.status import begin, recorded
from chord.untrusted import printable, refuse_links

if TYPE_CHECKING:
    from chord.checkpoint import Saved
    from chord.data.base import Data
    from chord.fit import Outcome
    from chord.gradients import Models
    from chord.recorder import Recorder
    from chord.tracking import Tracker


def main() -> None:
    """Entry point of `chord-train`."""
    lasting_streams()
    task = hydra.main(config_path=str(CONF_DIR), config_name="train", **VERSION_BASE)(run_job)
    cli.launch(task, "train", before=before)


def before() -> None:
    """Check directories, and send a sweep that goes on into its own."""
    if not first():
        # The first process has checked, and may have made the directory by now.
        if not first(SURE):
            sys.argv[1:] = follow(sys.argv[1:])
        return
    refuse_directories(sys.argv[1:])
    sys.argv[1:] = in_its_directory(sys.argv[1:])


def refuse_directories(arguments: list[str]) -> None:
    """Refuse a wrong directory before Hydra makes it, or writes into a run that is there.

    Raises `ConfigError`.
    """
    directories = given(arguments)
    resume, new = directories.get("resume", "null"), directories.get("hydra.run.dir")
    if resume != "null":
        if new is not None:
            raise ConfigError(f"hydra.run.dir={new}: a resumed run goes on in its own directory")
        if not holds_run(Path(resume)):
            raise ConfigError(f"resume={resume}: is not a run directory (it holds no run.json)")
        with config_errors():
            refuse_links(Path(resume), f"resume={resume}")
            refuse_linked_record(Path(resume))
    elif new is not None:
        refuse_a_second_run(Path(new))
        with config_errors():
            refuse_links(Path(new), f"hydra.run.dir={new}")


def refuse_linked_record(run: Path) -> None:
    """Raise ValueError where W&B's directory of the sweep that a run is of is a symbolic link."""
    shared = run.parent / "wandb"
    if (run.parent / "multirun.yaml").exists() and shared.is_symlink():
        raise ValueError(
            f"resume={run}: {shared}, which the jobs of its sweep share, is a symbolic link, "
            "through which other files would be written; put the directory itself in its place"
        )


def train(config: TrainConfig, run: RunDirectory) -> Outcome | None:
    """Train as configured and report; continues where `run` holds a checkpoint.

    None on a process that isn't the run's first.

    Raises `ConfigError` where a checkpoint or model can't be read, or another process writes the
    run.
    """
    with Signals() as signals, owned(run, config), recorded_by_the_first(run, config, signals):
        return train_unrecorded(config, run, signals)


def recorded_by_the_first(
    run: RunDirectory, config: TrainConfig, signals: Signals
) -> AbstractContextManager[None]:
    """A context that records how the run ends, on the one process that writes."""
    return recorded(run, signals) if leads(config.trainer) else nullcontext()


def owned(run: RunDirectory, config: TrainConfig) -> AbstractContextManager[None]:
    """A context within which no other run writes into the directory of this one.

    Of a run's several processes it is the first that has it.
    """
    if not leads(config.trainer):
        return nullcontext()
    return held(run.path, "hydra.run.dir" if config.resume is None else "resume")


def train_unrecorded(config: TrainConfig, run: RunDirectory, signals: Signals) -> Outcome | None:
    """`train`, the run's final status left to the caller, who has more to do."""
    import torch

    torch.set_num_threads(config.threads)
    from lightning.pytorch import seed_everything

    from chord.build import open_data
    from chord.checkpoint import CHECKPOINT
    from chord.fit import Run
    from chord.recorder import Recorder
    from chord.rollout.engines import open_engine
    from chord.tracking import Tracker

    leader = leads(config.trainer)
    if config.resume is None and leader:
        refuse_a_second_run(run.path)
    if leader:
        for directory in (run.path, run.path / CHECKPOINT.parent):
            remove_partials(directory)
    with config_errors():
        check_training(config)
        now = checked_contents(config, run) if leader else {}
    seed_everything(config.seed, verbose=False)
    with ExitStack() as stack:
        data = stack.enter_context(open_data(config))
        with config_errors():
            saved, models = load(config, run, data)
            completed = saved.completed
            overlap = overlap_report(data)
            models.engine = open_engine(config, data, models.policy)
            stack.enter_context(closing(models.engine))
            recorder, tracker = Recorder(run.path), Tracker()
            if leader:
                now |= read_from_hub(config, now)
                refuse_changed(run.contents, now, config.allow_changed, since="the run began")
                tell_length(config, run, saved)
                write(run, recorder, completed, now)
        if leader:
            introduce(config, data, overlap)
            tracker = stack.enter_context(tracked(config, run, recorder))
        this = Run(config, run, data, models, recorder, tracker, completed, saved.random)
        this.signals = signals
        outcome = this.complete()
        if leader:
            note_changed_meanwhile(config, run)
        return outcome


def load(config: TrainConfig, run: RunDirectory, data: Data) -> tuple[Saved, Models]:
    """What is known of the train steps that are done, and the models as they were after them.

    Raises ValueError for what can't be read, or does not go together.
    """
    from chord.build import build_models, check_answers, check_models, prepare_reward
    from chord.checkpoint import Saved, load_weights, read_checkpoint
    from chord.imitation import open_cache

    saved = Saved() if config.resume is None else read_checkpoint(run.path)
    if saved.completed > config.steps:
        raise ConfigError(f"steps={config.steps}: the run has already taken {saved.completed}")
    prepare_reward(config, data)
    if saved.completed == 0:
        # A run of old goes on: such answers cost their own responses, and are counted.
        check_answers(config, data)
    models = build_models(config)
    check_models(config, models, data)
    models.cache = open_cache(config, data)
    if saved.weights is not None:
        load_weights(models.policy, saved.weights, f"resume={run.path}")
    return saved._replace(weights=None), models


def tell_length(config: TrainConfig, run: RunDirectory, saved: Saved) -> None:
    """Say what changes in a run whose length does, before it is done."""
    from rich.console import Console

    from chord.identity.lengthening import followers, switched, table

    old = run.lengths[-1][1] if run.lengths else config.steps
    if old == config.steps or not saved.completed:
        return
    before = run.of_length(old)
    earlier = before.checked()
    found = table(earlier, config, saved.completed, saved.schedule)
    if found is not None:
        Console().print(found)
    moved = switched(earlier, config)
    for line in (
        *([] if moved is None else [moved]),
        *followers(before.settings(), run.settings()),
    ):
        say(line)


def checked_contents(config: TrainConfig, run: RunDirectory) -> Contents:
    """What the files that the configuration names hold now.

    Raises `ConfigError` where that is not what a resumed run began with.
    """
    now = contents(config, schema_names(run.config))
    if config.resume is None:
        return now
    where = f"resume={config.resume}"
    if run.format < 2 and now:
        say(
            f"warning: {where}: an earlier version made the run, without hashes of its files; "
            f"whether any has changed since it began is not known: {', '.join(now)}",
            file=sys.stderr,
        )
    refuse_changed(run.contents, now, config.allow_changed, since="the run began")
    return now


def write(run: RunDirectory, recorder: Recorder, completed: int, now: Contents) -> None:
    """Make the run directory this run's, which goes on after the `completed` steps in it.

    `now`: what the files that its configuration names hold.
    """
    from chord.tracking import new_run_id

    run.tracker_id = run.tracker_id or new_run_id()
    run.go_on(completed, now)
    for each in run.changes:
        if each["step"] == completed and each["setting"].startswith(VERSION):
            said = f"{each['setting']}: {each['before']}, now {each['after']}"
            say(f"warning: resume={run.path}: {said}; numbers may differ", file=sys.stderr)
    # A kill in between leaves a run that is not finished, whichever of its lengths is on record.
    begin(run)
    run.write()
    recorder.truncate(completed)
    if lacking := recorder.lacking(completed):
        say(
            f"warning: resume={run.path}: metrics.jsonl lacks the rows of {lacking} of the "
            f"{completed} steps that were taken",
            file=sys.stderr,
        )


def note_changed_meanwhile(config: TrainConfig, run: RunDirectory) -> None:
    """Say which files changed while the run was going on: data are read to its end.

    So may be the modules of a reward, which may import in a function. Where that began to read them
    is not known, so those are on record as changed in its last step.
    """
    now = contents(config, schema_names(run.config))
    found = changed(run.contents, now)
    for name in found:
        said = difference(run.contents[name], now[name])
        say(f"warning: {name}={now[name]['path']}: {said} while the run went on", file=sys.stderr)
        if name.partition(".")[0] in ("data", "evaluation", "reward"):
            entry = {"step": config.steps - 1, "setting": name}
            run.changes.append({**entry, "before": run.contents[name], "after": now[name]})
            run.contents[name] = now[name]
    if found:
        run.write()


def introduce(config: TrainConfig, data: Data, overlap: str) -> None:
    """What a user should know before the first step."""
    from rich.console import Console

    from chord.data.preview import preview

    note = config.weighting.note
    for line in (*([] if note is None else [note]), *data.report(), overlap):
        say(printable(line))
    if config.data.preview:
        Console().print(preview(data, config.seed, config.data.preview))


@contextmanager
def tracked(config: TrainConfig, run: RunDirectory, recorder: Recorder) -> Iterator[Tracker]:
    """The run's tracker, which is told how the block ends; so is the user."""
    from chord.checkpoint import CHECKPOINT
    from chord.stepping import DivergedError
    from chord.tracking import by_agent, open_tracker
    from chord.tracking.base import near
    from chord.weightings.base import WeightError

    resolved = run.settings()
    facts = run.facts()
    if by_agent():
        # Over what a sweep of W&B has set under the same names, W&B keeps the sweep's.
        facts["settings"] = resolved
    with config_errors():
        tracker = open_tracker(
            config.tracking,
            run.path,
            config=resolved | {"run": facts},
            run_name=run.name,
            run_id=run.tracker_id,
            resume_rows=recorder.history(),
        )
    exit_code, goes_on = 1, True
    try:
        yield tracker
        exit_code = 0
    except ConfigError as error:
        # What a step can't be taken for would be met again.
        goes_on = not isinstance(error.__cause__, DivergedError | WeightError)
        raise
    finally:
        tracker.finish(exit_code)
        # Only now is it known whether an upload went through.
        for line in tracker.messages():
            say(printable(line))
        if exit_code and goes_on and (run.path / CHECKPOINT).exists():
            command = f"python -m chord.train {typed('resume', near(run.path))}"
            say(f"stopped; to go on from the last checkpoint: {command}", file=sys.stderr)


if __name__ == "__main__":
    main()
