"""A run from its first line to its last: data, models, the loop over its steps, the reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

from chord.config.consistency import check_training, overlap_report
from chord.config.overrides import typed
from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.distributed.launch import leads
from chord.distributed.signals import Signals
from chord.errors import ConfigError
from chord.io.contents import Contents, changed, difference
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.signs import Signs
from chord.io.writing import remove_partials
from chord.run.directory import RunDirectory
from chord.run.experts import grade_experts, tell_rewards
from chord.run.identity.contents import contents, read_from_hub, refuse_changed
from chord.run.identity.histories import VERSION
from chord.run.lock import claim, held
from chord.run.neighbours import refuse_others
from chord.run.places import refuse_a_second_run
from chord.run.status import begin, recorded
from chord.run.telling import introduce, tell_length, tell_lost
from chord.tracking import Tracker, by_agent, new_run_id, open_tracker
from chord.tracking.base import near
from chord.weightings.base import WeightError

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.models.models import Models
    from chord.run.checkpoint import Saved
    from chord.run.loop import Outcome
    from chord.run.recorder import Recorder


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
    return recorded(run, signals) if leads(config.trainer.strategy) else nullcontext()


def owned(run: RunDirectory, config: TrainConfig) -> AbstractContextManager[None]:
    """A context within which no other run writes into the directory of this one.

    Of a run's several processes it is the first that has it.
    """
    if not leads(config.trainer.strategy):
        return nullcontext()
    if config.resume is not None:
        return held(run.path, "resume")
    claim(run.path, "hydra.run.dir", check=refuse_others)
    return held(run.path, "hydra.run.dir")


def train_unrecorded(config: TrainConfig, run: RunDirectory, signals: Signals) -> Outcome | None:
    """`train`, the run's final status left to the caller, who has more to do."""
    signs = Signs(f"loading the data and {named(config)}")
    if not leads(config.trainer.strategy):
        return train_in_sight(config, run, signals, signs)
    # Before what is slow: importing torch, and a model of gigabytes.
    say(signs.what, flush=True)
    with signs.shown():
        return train_in_sight(config, run, signals, signs)


def train_in_sight(
    config: TrainConfig, run: RunDirectory, signals: Signals, signs: Signs
) -> Outcome | None:
    """`train_unrecorded`; `signs` are told what it does."""
    leader = leads(config.trainer.strategy)
    # Here and below: torch takes seconds to load, and a sweep's jobs are checked without it.
    import torch

    torch.set_num_threads(config.threads)
    from lightning.pytorch import seed_everything

    from chord.run.build import open_data
    from chord.run.checkpoint import CHECKPOINT
    from chord.run.fork.start import begin_fork, begin_from_model
    from chord.run.loop import Training
    from chord.run.recorder import Recorder
    from chord.run.together import heard_by_the_first
    from chord.step.engine import open_engine

    with ExitStack() as stack:
        stack.enter_context(heard_by_the_first(config.trainer))
        if config.resume is None and leader:
            refuse_a_second_run(run.path)
        if leader:
            for directory in (run.path, run.path / CHECKPOINT.parent):
                remove_partials(directory)
        check_training(config)
        now = checked_contents(config, run) if leader else {}
        seed_everything(config.seed, verbose=False)
        data = stack.enter_context(open_data(config))
        saved, models = load(config, run, data, signs)
        completed = saved.completed
        signs.now("preparing the first step")
        overlap = overlap_report(data)
        engine = open_engine(config, data, models.policy)
        stack.enter_context(closing(engine))
        recorder, tracker = Recorder(run.path), Tracker()
        if leader:
            now |= read_from_hub(config, now)
            refuse_changed(run.contents, now, config.allow_changed, since="the run began")
            tell_length(config, run, saved)
            if config.fork is not None and not completed:
                begin_fork(config, run, now)
            elif config.resume is None:
                begin_from_model(config, now)
            write(run, recorder, completed, now)
        if leader:
            introduce(config, data, overlap, models.policy.context)
            if getattr(config.model, "compile", False):
                say(
                    "model.compile=true: the first step compiles the layers, for minutes",
                    flush=True,
                )
            tracker = stack.enter_context(tracked(config, run, recorder))
        this = Training(
            config, run, data, models, engine, recorder, tracker, completed, saved.random,
            signals=signals, signs=signs,
        )  # fmt: skip
        this.optimizers = saved.optimizers
        outcome = this.complete()
        if leader:
            note_changed_meanwhile(config, run)
        return outcome


def named(config: TrainConfig) -> str:
    """The model that the run starts from, in words."""
    return printable(f"the model {next(iter(config.model.files().values()), '')}".strip())


def load(config: TrainConfig, run: RunDirectory, data: Data, signs: Signs) -> tuple[Saved, Models]:
    """What is known of the train steps that are done, and the models as they were after them.

    Raises ConfigError for what can't be read, or does not go together.
    """
    from chord.models.checkpoints import load_weights
    from chord.run.build import build_models, check_answers, check_models, check_start
    from chord.run.checkpoint import CHECKPOINT, Saved, read_checkpoint
    from chord.run.fork.start import read_start, start_file
    from chord.run.kept import refuse_without_last
    from chord.run.losing import refuse_loss
    from chord.step.demonstrations import open_cache

    saved = Saved()
    if config.resume is not None:
        refuse_without_last(run.path)
        saved = read_checkpoint(run.path)
    if saved.completed > config.steps:
        raise ConfigError(f"steps={config.steps}: the run has already taken {saved.completed}")
    origin, file = f"resume={run.path}", CHECKPOINT
    if config.fork is not None and not saved.completed:
        file = start_file(config, run)
        origin, saved = f"fork={config.fork}", read_start(file, config)
    if config.resume is not None:
        refuse_loss(run, saved.completed, config.resume)

    def look_at_answers() -> None:
        # A run of old goes on: such answers cost their own responses, and are counted.
        if saved.completed == 0:
            signs.now("scoring the expert responses")
            check_answers(config, data)
            if leads(config.trainer.strategy):
                tell_rewards(config, data, grade_experts(config, data))

    def build() -> Models:
        signs.now(f"loading {named(config)}")
        models = build_models(config)
        check_models(config, models, data)
        return models

    models, _ = check_start(config, data, fit=build, look=look_at_answers)
    models.cache = open_cache(config, data)
    if saved.weights is not None:
        load_weights(models.policy, saved.weights, origin, file)
    return saved._replace(weights=None), models


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
    run.tracker_id = run.tracker_id or new_run_id()
    run.go_on(completed, now)
    for each in run.changes:
        if each["step"] == completed and each["setting"].startswith(VERSION):
            said = f"{each['setting']}: {each['before']}, now {each['after']}"
            say(f"warning: resume={run.path}: {said}; numbers may differ", file=sys.stderr)
    # A kill in between leaves a run that is not finished, whichever of its lengths is on record.
    begin(run)
    run.write()
    run.before = ""
    if run.config.resume is not None:
        tell_lost(run, completed)
    recorder.truncate(completed)


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


@contextmanager
def tracked(config: TrainConfig, run: RunDirectory, recorder: Recorder) -> Iterator[Tracker]:
    """The run's tracker, which is told how the block ends; so is the user."""
    from chord.run.checkpoint import CHECKPOINT
    from chord.step.optimizer import DivergedError

    resolved = run.settings()
    facts = run.facts()
    if by_agent():
        # Over what a sweep of W&B has set under the same names, W&B keeps the sweep's.
        facts["settings"] = resolved
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
            say(f"stopped; to continue from the last checkpoint: {command}", file=sys.stderr)
