"""The settings of the run that is forked, in place of `conf/train.yaml`.

Hydra composes a fork as any other run. Only its primary configuration and the options in there are
made from the source's `run.json`, so that whatever is typed has its usual meaning on top of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from chord.config.keep import Keep
from chord.config.lineage import Lineage
from chord.config.loading import Base
from chord.config.location import CONF_DIR
from chord.config.overrides import given, swept
from chord.config.root import OF_THE_SWEEP
from chord.config.schemas import schema_names
from chord.errors import ConfigError
from chord.io.hashes import hash_of
from chord.run.directory import RunDirectory
from chord.run.files import CHECKPOINT
from chord.run.kept import find_checkpoint, step_of
from chord.run.located import located
from chord.run.opening import open_run, refuse_unknown
from chord.run.owner import writer
from chord.run.places import holds_run, require_run
from chord.run.status import fingerprint
from chord.run.trained import refuse_foreign_start

OF_THE_COMMAND = (
    *OF_THE_SWEEP,
    "resume",
    "fork",
    "checkpoint",
    "fresh_optimizer",
    "lineage",
    "allow_changed",
    "trust",
    "dry_run",
)
"""Settings that a fork does not take from its source."""
OF_THE_RUN: Mapping[str, Any] = {"group": None, "name": None, "tags": [], "notes": None}
"""Settings of a tracker that describe one run, and what they are in another."""
TRAIN = "train"


def base_of(config_name: str | None, typed: Sequence[str]) -> Base | None:
    """What `typed` is composed upon, if it forks a run; None: nothing else than usually.

    Raises `ConfigError` where the run can't be forked.
    """
    words = given(typed)
    # Of a sweep over several, the first is what the sweep itself is composed upon.
    name = words.get("fork", next(iter(swept(typed, "fork")), "null"))
    if config_name != TRAIN or name == "null":
        return None
    if words.get("resume", "null") != "null":
        raise ConfigError(f"fork={name}: starts a new run, and resume= continues one; give one")
    refuse_typed_lineage(typed)
    return Origin.of(Path(name), words).base()


def refuse_typed_lineage(typed: Sequence[str]) -> None:
    """Raise `ConfigError` for a lineage that was typed."""
    for word in typed:
        if word.lstrip("+~").partition("=")[0].partition(".")[0] == "lineage":
            raise ConfigError(f"{word}: is looked up in the run that is forked; leave it out")


@dataclass
class Origin:
    """The run that is forked, after how many train steps, and the file of its checkpoint."""

    run: RunDirectory
    step: int
    file: Path

    @classmethod
    def of(cls, path: Path, words: Mapping[str, str], setting: str = "fork") -> Origin:
        """The run in `path`, with the single values that were typed; `setting` names it.

        Raises ConfigError where it is no run, has to be trusted, its files don't tell which run it
        is, or it has no such checkpoint.
        """
        require_run(path, f"{setting}={path}")
        run = open_run(path, trust=words.get("trust", "").lower() == "true")
        refuse_unknown(run, f"{setting}={path}")
        which = words.get("checkpoint", "null")
        which = "last" if which == "null" else which
        owner = None if which.isdecimal() else writer(path)
        if owner is not None:
            raise ConfigError(
                f"checkpoint={which}: {path} is being written by {owner}, and its {which} "
                "checkpoint may change; give a number of train steps, or wait until it has ended"
            )
        keep = OmegaConf.to_object(run.config.trainer.keep)
        assert isinstance(keep, Keep)
        file = find_checkpoint(path, keep, which)
        assert file is not None
        lineage = run.config.lineage
        refuse_foreign_start(file, lineage.sha256 if lineage else None, setting)
        # It loads torch, which takes seconds.
        from chord.run.checkpoint import check_place

        check_place(file, f"{setting}={path}")
        step = int(which) if which.isdecimal() else step_of(file)
        if step is None:
            raise ConfigError(f"{setting}={path}: {CHECKPOINT.parent / file.name} can't be read")
        return cls(run, step, file)

    def base(self) -> Base:
        """Its settings, as Hydra reads them in place of `train.yaml`."""
        config = located(self.run.config, self.run.started_in)
        nodes = _Nodes(config)
        primary: Any = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "train.yaml"))
        primary["defaults"] = [nodes.entry(each) for each in primary["defaults"]]
        chosen = {"sft_optimizer", *nodes.schemas}
        own = {key: value for key, value in nodes.values.items() if key not in chosen}
        primary |= {key: value for key, value in own.items() if key not in OF_THE_COMMAND}
        primary["lineage"] = asdict(self.lineage())
        content = json.dumps([primary, sorted(nodes.stored.items())], default=str)
        name = f"of_fork_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        return Base(name, {**nodes.stored, name: primary}, lambda cfg: self._finish(cfg, nodes))

    def lineage(self, *, optimizer: bool = True) -> Lineage:
        """What tells forks of it from others; as if nothing else was chosen."""
        config, lengths = self.run.config, self.run.lengths
        return Lineage(
            fingerprint=fingerprint(config, lengths),
            recipe=recipe(config, lengths),
            step=self.step,
            sha256=hash_of(self.file)[0],
            optimizer=optimizer,
        )

    def _finish(self, cfg: DictConfig, nodes: _Nodes) -> None:
        """Put what was composed right: names of options, and whether the optimizer is the same.

        Raises ConfigError for another model.
        """
        now = schema_names(cfg)
        with read_write(cfg), open_dict(cfg):
            cfg.hydra.job.config_name = TRAIN
            choices = cfg.hydra.runtime.choices
            for key, option in choices.items():
                if (setting := nodes.settings.get(str(option))) is not None:
                    choices[key] = self.run.options.get(str(key), nodes.schemas[setting])
            names = ("optimizer", "sft_optimizer")
            same = all(now.get(name) == nodes.schemas.get(name) for name in names)
            cfg.lineage.optimizer = same and not cfg.fresh_optimizer
        path, option = self.run.path, cfg.hydra.runtime.choices.model
        if now["model"] != nodes.schemas["model"]:
            raise ConfigError(f"model={option}: a fork has the model of {path}; leave it out")
        for key in cfg.model:
            value, other = (OmegaConf.select(each.model, str(key)) for each in (cfg, nodes.config))
            if value != other:
                raise ConfigError(
                    f"model.{key}={value}: a fork has the model of {path}, with "
                    f"model.{key}={other}; leave it out"
                )


class _Nodes:
    """The options of a run's configuration, as the files that they could have come from."""

    def __init__(self, config: DictConfig) -> None:
        values = OmegaConf.to_container(config, resolve=False)
        assert isinstance(values, dict)
        self.config, self.schemas = config, schema_names(config)
        self.values: dict[str, Any] = {str(key): value for key, value in values.items()}
        self.values["tracking"] |= {k: v for k, v in OF_THE_RUN.items() if k in values["tracking"]}
        self.stored: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, str] = {}
        """The setting that each option is that of."""

    def entry(self, entry: Any) -> Any:
        """An entry of the defaults list, with the option of the run."""
        if not isinstance(entry, Mapping):
            return entry
        ((key, _),) = entry.items()
        group, _, setting = str(key).partition("@")
        setting = setting or group
        if setting not in self.values:
            return entry
        absent = self.values[setting] is None
        return {key: None if absent else self._option(group, setting, self.values[setting])}

    def _option(self, group: str, setting: str, values: Mapping[str, Any]) -> str:
        """Store an option with these values; returns its name."""
        values, defaults = dict(values), [f"/schema/{group}/{self.schemas[setting]}@_here_"]
        within: list[Any] = []
        if any(name.startswith(f"{setting}.parts.") for name in self.schemas):
            for name, part in values.pop("parts").items():
                option = self._option(group, f"{setting}.parts.{name}", part)
                within.append({f"/{group}@parts.{name}": option})
        option = f"of_fork_{len(self.stored)}"
        self.stored[f"{group}/{option}"] = {"defaults": [*defaults, *within, "_self_"], **values}
        self.settings[option] = setting
        return option


def recipe(config: DictConfig, lengths: Sequence[Sequence[int]]) -> str:
    """What all runs of a configuration that differ by their seeds have in common, as a hash."""
    same = config.copy()
    OmegaConf.update(same, "seed", 0)
    if same.lineage is not None:
        same.lineage.fingerprint, same.lineage.sha256 = same.lineage.recipe, ""
    return fingerprint(same, lengths)[:16]


def is_foreign(cfg: DictConfig) -> bool:
    """Whether settings of a composed run are those of a run that had to be trusted."""
    names = (cfg.fork, cfg.model.get("run"))
    sources = (run_at(Path(name)) for name in names if name is not None)
    return any(open_run(path, trust=cfg.trust).foreign for path in sources if path is not None)


def run_at(place: Path) -> Path | None:
    """The run whose directory this is, or whose final model; None of what is no run's."""
    if place.name in ("model", "model.safetensors") and holds_run(place.parent):
        return place.parent
    return place if holds_run(place) else None
