"""The run directory: what is written into it before training starts."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.config.schemas import schema_names
from chord.config.trainer import PLACES
from chord.config.trust.own import remember
from chord.io.contents import Contents
from chord.io.writing import json_file, write_atomically
from chord.run.files import FORMAT
from chord.run.identity.frozen import freeze
from chord.run.identity.histories import changes_at, named_versions
from chord.run.identity.lengths import Lengths, lengthened
from chord.run.identity.record import reading
from chord.run.identity.versions import versions
from chord.run.located import located


@dataclass
class RunDirectory:
    """A run's place on disk and the facts that go into its `config.yaml` and `run.json`.

    `options`: what was chosen in each group, `schedule`: `chord_mu`; two options may share a
    schema. `sweep` and `job`: the sweep's directory and the job's number in it. `begun`: whether
    the files in the directory are this run's already. `started_in`: the directory from which the
    run's command names its files; `config` has them as they were typed. `lengths`: those that the
    run has had so far; `contents`, `versions` and `changes`: what the files that it names hold,
    what is installed, and where that was another one before; `expressions`: what its configuration
    called for a value; see `chord.run.identity`. `format`: of its `run.json`. `placed`: on what it
    was computed before it was resumed; `before`: the fingerprint that its `run.json` has until it
    is written again. `foreign`: whether it had to be trusted, each time that it is. `model`: hashes
    of the final model's files, once they are written.
    """

    path: Path
    config: DictConfig
    name: str
    overrides: list[str] = field(default_factory=list)
    tracker_id: str = ""
    sweep: str | None = None
    job: int | None = None
    begun: bool = False
    options: dict[str, str] = field(default_factory=dict)
    started_in: Path = field(default_factory=Path.cwd)
    lengths: Lengths = field(default_factory=list)
    contents: Contents = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    expressions: dict[str, str] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    before: str = ""
    foreign: bool = False
    model: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.freeze()

    def freeze(self) -> None:
        """Keep the values of what the configuration calls, `oc.env` or `now`: see `frozen`."""
        self.config, calls = freeze(self.config)
        self.expressions |= calls

    def checked(self) -> TrainConfig:
        """The checked configuration, whose files and modules are found from every directory."""
        with nullcontext() if self.config.resume is None else reading(self.path):
            config = parse(located(self.config, self.started_in), TrainConfig)
        if self.started_in != Path.cwd():
            config.reward.look_first_in(str(self.started_in))
        return config

    def of_length(self, steps: int) -> RunDirectory:
        """The same run with another number of steps."""
        config = self.config.copy()
        OmegaConf.update(config, "steps", steps)
        return replace(self, config=config)

    def settings(self) -> dict[str, Any]:
        """All values, resolved."""
        found = OmegaConf.to_container(self.config, resolve=True)
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}

    def write(self) -> None:
        """Write `config.yaml` (resolved) and `run.json` (versions, schemas, unresolved values)."""
        self.path.mkdir(parents=True, exist_ok=True)
        resolved = OmegaConf.to_yaml(self.config, resolve=True)
        write_atomically(self.path / "config.yaml", resolved.encode())
        self.config.trust = False
        facts = {
            "format": FORMAT,
            "name": self.name,
            "command": shlex.join(["python", "-m", "chord.train", *self.overrides]),
            "started_in": str(self.started_in),
            "tracker_id": self.tracker_id,
            "config": OmegaConf.to_container(self.config, resolve=False),
            "expressions": self.expressions,
            **self.facts(),
        }
        if not self.foreign:
            remember(self.path, facts, self.config)
        write_atomically(self.path / "run.json", json_file(facts))

    def go_on(self, completed: int, now: Contents) -> None:
        """Take the lengths, contents and versions that the run has after `completed` steps."""
        self.lengths = lengthened(self.lengths, completed, self.config.steps)
        installed = versions()
        before = {**self.contents, **named_versions(self.versions if completed else {})}
        after = {**now, **named_versions(installed, among=self.versions if completed else {})}
        if completed and self.placed:
            before, after = before | self.placed, after | placed(self.config)
        self.changes = changes_at(self.changes, before, after, completed)
        self.contents, self.versions = self.contents | now, installed

    def facts(self) -> dict[str, Any]:
        """What the resolved values do not tell: what was typed, options, strategies, versions."""
        return {
            "overrides": self.overrides,
            "options": self.options,
            "schemas": schema_names(self.config),
            "lengths": self.lengths,
            "contents": self.contents,
            "changes": self.changes,
            "versions": self.versions or versions(),
        }


def placed(config: DictConfig) -> dict[str, str]:
    """On what a run is computed, which rounds differently: a resumed one may go on elsewhere."""
    names = ("threads", *(f"trainer.{place}" for place in PLACES))
    return {name: str(OmegaConf.select(config, name)) for name in names}
