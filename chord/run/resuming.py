"""A run that goes on: what may be given beside `resume=`, and what the run becomes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.config.overrides import given, parsed
from chord.config.registry import SCHEMAS, SECOND
from chord.config.trainer import NONFINITE, PLACES
from chord.distributed.launch import first, leads
from chord.errors import ConfigError
from chord.io.reading import read_json
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
        refuse_setting(name, override, path)
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
    for key in set(names) - {"resume", "trust"}:
        group, _, setting = key.partition(".")
        # A setting of an option that is not chosen anew is one of the run's own option.
        if group != "trainer" and (not setting or group not in names):
            value = OmegaConf.select(composed, key)
            OmegaConf.update(run.config, key, value, merge=False)
    run.freeze()
    return run


def refuse_settings(words: Sequence[str]) -> None:
    """Refuse what can't be given with the `resume=` among some words, before Hydra composes it.

    Hydra would add it to the options of a new run, and name those. Raises `ConfigError`.
    """
    path = Path(given(words)["resume"])
    typed = [(override, override.key_or_group) for word in words if (override := parsed(word))]
    names = [name for _, name in typed]
    for override, name in typed:
        if name.partition(".")[0] in (*SCHEMAS, *SECOND, "experiment", "hparams_search", "seed"):
            target = f"{name}@{override.package}" if override.package else name
            refuse_setting(target, str(override.input_line), path)
        if name.startswith("tracking.") and "tracking" not in names:
            refuse_of_another_tracker(name, str(override.input_line), path)


def refuse_setting(name: str, typed: str, path: Path) -> None:
    """Raise `ConfigError` unless the run in `path` may go on with another value of a setting."""
    if resumable(name):
        return
    settings = [f"trainer.{each}" for each in (*PLACES, *NONFINITE)]
    raise ConfigError(
        f"{typed}: can't be changed in a resumed run{_own(path, name)}; with resume=, only "
        f"{', '.join((*RESUME_ALLOWS[1:], *settings))} can be given"
    )


def refuse_of_another_tracker(name: str, typed: str, path: Path) -> None:
    """Raise `ConfigError` where a setting is not one of the run's tracker, but of another."""
    own = _record(path, "schemas").get("tracking")
    having = [
        option
        for option, schema in SCHEMAS["tracking"].items()
        if name.partition(".")[2] in {field.name for field in fields(schema)}
    ]
    if own is not None and having and own not in having:
        raise ConfigError(
            f"{typed}: the run has tracking={own}, without that setting; give "
            f"tracking={having[0]} too"
        )


def _own(path: Path, name: str) -> str:
    """What the run has in the place of a setting that can't be changed: `, which has seed=0`."""
    group, _, setting = name.partition(".")
    group = f"{SECOND[group]}@{group}" if group in SECOND else group
    options = _record(path, "options") or _record(path, "schemas")
    value = options.get(group, None if setting else _record(path, "config").get(group))
    return f", which has {group}={value}" if isinstance(value, int | float | str) else ""


def _record(path: Path, part: str) -> dict[str, Any]:
    """A part of a run's `run.json`; empty where it can't be read, which is said elsewhere."""
    try:
        found = read_json(path / "run.json").get(part)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
