"""What a forked run takes from its source before its first step, and what it says of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.errors import ConfigError, first_line
from chord.io.contents import Contents, changed, difference
from chord.io.hashes import hash_of
from chord.io.printing import say
from chord.models.checkpoints import weights_of
from chord.run.checkpoint import CHECKPOINT, Saved, read_state
from chord.run.directory import RunDirectory
from chord.run.files import kept_file
from chord.run.fork.base import run_at
from chord.run.identity.agreement import flat
from chord.run.identity.settings import telling
from chord.run.kept import share
from chord.run.opening import open_run, tell_unknown

MODELS = ("model.path", "model.start")
"""Settings whose files belong to the model: a fork needs them as they were."""


def start_file(config: TrainConfig, run: RunDirectory) -> Path:
    """The checkpoint that a fork starts from: its own copy, or the source's.

    Raises ConfigError where it is gone, or holds something else by now.
    """
    assert config.fork is not None
    assert config.lineage is not None
    source, own = Path(config.fork), kept_file(run.path, 0)
    for file in (own, kept_file(source, config.lineage.step), source / CHECKPOINT):
        # A run that is new has no files yet, whatever is in its place.
        there = file.exists() and (file != own or config.resume is not None)
        if there and hash_of(file)[0] == config.lineage.sha256:
            return file
    raise ConfigError(
        f"fork={config.fork}: the checkpoint after step {config.lineage.step} is gone, or another "
        "one by now"
    )


def read_start(file: Path, config: TrainConfig) -> Saved:
    """What a fork begins with; tensors and plain values alone are read.

    Raises ConfigError where the file is damaged.
    """
    assert config.lineage is not None
    try:
        state = read_state(file)
        states = state["optimizer_states"] if config.lineage.optimizer else ()
        return Saved(weights=weights_of(state), optimizers=states)
    except Exception as error:
        raise ConfigError(
            f"fork={config.fork}: {file} can't be read ({first_line(error)})"
        ) from error


def begin_fork(config: TrainConfig, run: RunDirectory, now: Contents) -> None:
    """Keep the checkpoint as that of step 0, so that the source is not needed any more.

    `now`: what the files hold that the configuration names. Raises ConfigError where those of the
    model are not what they were.
    """
    if config.resume is None:
        refuse_another_base(Path(config.fork or ""), "fork", now)
        tell_fork(config, run)
    file = start_file(config, run)
    if file != kept_file(run.path, 0):
        share(file, kept_file(run.path, 0))


class TakingOver(Callback):
    """Gives the optimizers the states of the source; their settings are those of the fork."""

    def __init__(self, states: Sequence[Mapping[str, Any]]) -> None:
        self.states = states

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states = [
            {**state, "param_groups": optimizer.state_dict()["param_groups"]}
            for optimizer, state in zip(trainer.strategy.optimizers, self.states, strict=True)
        ]
        trainer.strategy.load_optimizer_state_dict({"optimizer_states": states})
        self.states = ()


def refuse_another_base(source: Path, setting: str, now: Contents) -> None:
    """Raise `ConfigError` where the files of the model are not those that the source has read.

    The source was trusted before, if it had to be.
    """
    contents = open_run(source, trust=True).contents
    known = {name: content for name, content in contents.items() if name in MODELS}
    for name in changed(known, now):
        raise ConfigError(
            f"{name}={now[name]['path']}: {difference(known[name], now[name])} since "
            f"{setting}={source} began, and what starts from it needs the same model; restore it"
        )


def begin_from_model(config: TrainConfig, now: Contents) -> None:
    """Say with which model of which run a new one begins; nothing of one with a base.

    `now`: what the files hold that the configuration names. Raises ConfigError where the model, or
    what its adapters belong to, is another one by now.
    """
    run, start = (getattr(config.model, name, None) for name in ("run", "start"))
    if run is None or config.lineage is None:
        return
    content = now.get("model.path" if start is None else "model.start", {})
    if content.get("sha256") != config.lineage.sha256:
        raise ConfigError(f"model.run={run}: its model has changed since it was looked up")
    source = run_at(Path(run))
    if source is not None:
        tell_unknown(open_run(source, trust=True), f"model.run={run}")
    if source is not None and start is not None:
        refuse_another_base(source, "model.run", now)
    steps = f" after {config.lineage.step} train steps" if config.lineage.fingerprint else ""
    say(f"begins with the model of {run}{steps}")


def open_source(config: TrainConfig) -> RunDirectory:
    """The run that is forked, which was trusted before, if it had to be."""
    assert config.fork is not None
    return open_run(Path(config.fork), trust=True)


def tell_fork(config: TrainConfig, run: RunDirectory) -> None:
    """Say from what a new fork starts, and in which settings it differs from its source."""
    lineage, source = config.lineage, open_source(config)
    assert lineage is not None
    tell_unknown(source, f"fork={config.fork}")
    state = "and the optimizer's state" if lineage.optimizer else "with a new optimizer"
    say(f"fork of {config.fork} after {lineage.step} train steps: its weights {state}")
    for line in differences(source, run):
        say(f"  {line}")
    if source.config.seed == config.seed:
        order = "the data come in the order of its first steps; another seed gives another order"
        say(f"  seed={config.seed} as in the source: {order}")


def differences(source: RunDirectory, fork: RunDirectory) -> Iterator[str]:
    """In sentences, what can change a number and is another in a fork: options, then settings."""
    kinds, former = schema_names(fork.config), schema_names(source.config)
    others = [name for name in sorted({*kinds, *former}) if kinds.get(name) != former.get(name)]
    others = [name for name in others if name != "tracking"]
    for name in others:
        yield f"{name}={kinds.get(name)}, where the source has {former.get(name)}"
    old, new = (
        {name: value for name, value in flat(telling(run.settings())).items() if value != {}}
        for run in (source, fork)
    )
    for name in sorted({*old, *new}):
        of_another = any(name == other or name.startswith(f"{other}.") for other in others)
        if not (of_another or name.startswith("lineage")) and old.get(name) != new.get(name):
            yield f"{name}={new.get(name)}, where the source has {old.get(name)}"
