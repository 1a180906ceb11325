"""A run that goes on: what may be given beside `resume=`, and what the run becomes with it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from chord.config.trainer import NONFINITE, PLACES
from chord.distributed.launch import first, leads
from chord.errors import ConfigError
from chord.run.directory import RunDirectory
from chord.run.identity.frozen import literal
from chord.run.identity.settings import RESUME_ALLOWS, resumable
from chord.run.opening import open_run, refuse_contradiction, tell_edited


def resume_run(path: Path, composed: DictConfig, overrides: list[str]) -> RunDirectory:
    """The run in `path`, with the overrides that a resumed run may have taken from `composed`.

    Raises `ConfigError` for any other override: the run goes on as it was configured.
    """
    names = [override.lstrip("+~").partition("=")[0] for override in overrides]
    for name, override in zip(names, overrides, strict=True):
        if not resumable(name):
            settings = [f"trainer.{each}" for each in (*PLACES, *NONFINITE)]
            raise ConfigError(
                f"{override}: can't be changed in a resumed run; with resume=, only "
                f"{', '.join((*RESUME_ALLOWS[1:], *settings))} can be given"
            )
    run = open_run(path, trust=composed.trust)
    refuse_contradiction(run, f"resume={path}")
    if first():
        tell_edited(run)
    OmegaConf.update(run.config, "resume", literal(str(path)))
    OmegaConf.update(run.config, "allow_changed", composed.allow_changed, merge=False)
    for name in names:
        group, _, setting = name.partition(".")
        for place in PLACES if group == "trainer" and not setting else (setting,):
            if group == "trainer":
                value = composed.trainer[place]
                value = literal(value) if isinstance(value, str) else value
                OmegaConf.update(run.config, f"trainer.{place}", value)
    for key in {name.partition(".")[0] for name in names} - {"resume", "trainer", "trust"}:
        OmegaConf.update(run.config, key, composed[key], merge=False)
    run.freeze()
    return run


def writes(composed: DictConfig, overrides: list[str]) -> bool:
    """Whether this process writes the directory of the run that is composed: see `leads`.

    A resumed run has its own trainer, with what is typed over it. Raises as `resume_run` does.
    """
    if first():
        return True
    config = composed
    if composed.resume is not None:
        config = resume_run(Path(composed.resume), composed, overrides).config
    return leads(config.trainer.strategy)
