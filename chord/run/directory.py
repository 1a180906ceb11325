"""The run directory: what is written before training starts, and what a resumed run reads back."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chord.config.overrides import typed
from chord.config.parse import parse
from chord.config.plugins import versions as plugin_versions
from chord.config.root import TrainConfig
from chord.config.schemas import restore, schema_names
from chord.config.trainer import NONFINITE, PLACES
from chord.config.trust.own import made_here, needs_trust, reads_outside, remember
from chord.distributed.launch import first, leads
from chord.errors import ConfigError, first_line
from chord.io.contents import Contents, changed, difference
from chord.io.printing import say
from chord.io.reading import read_json, read_yaml
from chord.io.writing import write_atomically
from chord.run.identity.contents import contents
from chord.run.identity.frozen import freeze, literal
from chord.run.identity.histories import changes_at, named_versions, newer_format
from chord.run.identity.lengths import Lengths, lengthened
from chord.run.identity.record import check_record
from chord.run.recorder import FORMAT

# What may be said beside `resume=`: how far, with which changed files, where to log and to compute,
# with how many threads, and whether to import what it names.
RESUME_ALLOWS = ("resume", "steps", "allow_changed", "tracking", "threads", "trainer", "trust")
# Settings that may name a file or a directory, or several.
FILES = (
    "model.path",
    "teacher.path",
    "target.cache",
    "data.problems",
    "data.expert",
    "data.validation",
    "data.test",
    "evaluation.retained",
)
PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "numpy", "safetensors", "wandb")

NAMED_LATER = (
    "transformers", "tokenizers", "peft", "datasets", "reasoning-gym", "math-verify", "sympy",
    "vllm",
)  # fmt: skip
"""Packages of models, data, rewards and engines; the first runs do not say which they had."""
ENVIRONMENT = "environment"
VARIABLES = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""What tells torch's libraries to calculate in another way, as far as a setting does not decide."""

# What values raise that no run has written: of another type, or as large as no number is.
_MISFITS = (OmegaConfBaseException, TypeError, OverflowError, StopIteration)


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
    was computed before it was resumed. `foreign`: whether it had to be trusted, each time that it
    is.
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
    foreign: bool = False

    def __post_init__(self) -> None:
        self.freeze()

    def freeze(self) -> None:
        """Keep the values of what the configuration calls, `oc.env` or `now`: see `frozen`."""
        self.config, calls = freeze(self.config)
        self.expressions |= calls

    def checked(self) -> TrainConfig:
        """The checked configuration, whose files and modules are found from every directory."""
        with nullcontext() if self.config.resume is None else reading(self.path):
            config = parse(_located(self.config, self.started_in), TrainConfig)
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
        write_atomically(self.path / "run.json", json.dumps(facts, indent=2).encode() + b"\n")

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


def versions() -> dict[str, str]:
    """Versions of this package, Python, and the packages that decide the numbers.

    And which of `VARIABLES` are set.
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("chord-posttraining", *PACKAGES, *NAMED_LATER):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    given = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    return found | {ENVIRONMENT: " ".join(given) or "default"} | plugin_versions()


def equal_versions(theirs: Any, here: Mapping[str, str]) -> bool:
    """Whether a run was made with the versions `here`, as far as one of its time says."""
    since = {name: here[name] for name in (*NAMED_LATER, ENVIRONMENT)}
    return isinstance(theirs, Mapping) and {**since, **theirs} == here


def holds_run(path: Path) -> bool:
    """Whether a directory is a run's."""
    return (path / "run.json").is_file()


def require_run(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` unless a directory is a run's."""
    if not path.is_dir():
        raise ConfigError(f"{named}: no such directory; give the directory of a run")
    if not holds_run(path):
        raise ConfigError(f"{named}: is not a run directory (it holds no run.json)")


def refuse_a_second_run(path: Path) -> None:
    """Raise `ConfigError` where a new run would be written over another, into it or around it."""
    if holds_run(path):
        raise ConfigError(
            f"hydra.run.dir={path}: already holds a run; {typed('resume', path)} goes on with it"
        )
    refuse_within_a_run(path, f"hydra.run.dir={path}:")
    if inner := next(path.rglob("run.json"), None):
        raise ConfigError(
            f"hydra.run.dir={path}: the directory {inner.parent} in it is a run's; give a "
            "directory without runs"
        )


def refuse_within_a_run(path: Path, named: str) -> None:
    """Raise `ConfigError` that begins with `named` where a new directory would lie in a run's."""
    if outer := next(filter(holds_run, path.resolve().parents), None):
        raise ConfigError(
            f"{named} lies within the directory of a run, {outer}; give a directory outside it"
        )


def open_run(path: Path, *, trust: bool = False) -> RunDirectory:
    """An existing run directory with its typed, unresolved configuration.

    Raises `ConfigError` where it isn't one; and where it names code to import or a server, or
    reads the environment, unless this user's chord has made it or `trust` is true.
    """
    require_run(path, str(path))
    try:
        known = read_json(path / "run.json")
        refuse_newer(path, known)
        check_record(known)
        own, objection = made_here(path, known), reads_outside(path, known)
        if objection and not (own or trust):
            raise ConfigError(objection)
        config = restore(OmegaConf.create(known["config"]), known["schemas"])
        # A run of old has its calls there, and their values in the other file.
        values = path / "config.yaml"
        config, calls = freeze(config, lambda: read_yaml(values) if values.exists() else None)
        own = own and not calls
        objection = objection or needs_trust(path, config)
        if objection and not (own or trust):
            raise ConfigError(objection)
        run = RunDirectory(path, config, known["name"], known["overrides"], known["tracker_id"])
        run.options = known.get("options", {})
        run.started_in = Path(known.get("started_in", run.started_in))
        # A run of old does not say.
        run.lengths = [[int(each) for each in pair] for pair in known.get("lengths", ())]
        run.lengths = run.lengths or [[0, config.steps]]
        run.contents, run.changes = dict(known.get("contents", {})), list(known.get("changes", ()))
        run.versions = dict(known.get("versions", {}))
        run.format, run.placed = known.get("format", 1), placed(config)
        run.expressions = known.get("expressions", {}) | calls
        run.foreign = objection is not None and not own
        return run
    except ConfigError:
        raise
    except (ValueError, KeyError, *_MISFITS) as error:
        raise ConfigError(f"{path}: run.json can't be read ({first_line(error)})") from error


def refuse_newer(path: Path, facts: dict[str, Any]) -> None:
    """Raise `ConfigError` for a `run.json` in a format that this version does not know."""
    if (reason := newer_format(facts)) is not None:
        raise ConfigError(f"{path}: {reason}")


def placed(config: DictConfig) -> dict[str, str]:
    """On what a run is computed, which rounds differently: a resumed one may go on elsewhere."""
    names = ("threads", *(f"trainer.{place}" for place in PLACES))
    return {name: str(OmegaConf.select(config, name)) for name in names}


def configuration(path: Path, *, trust: bool = False) -> TrainConfig:
    """The checked configuration of a run to look at, which may be of a larger machine."""
    run = open_run(path, trust=trust)
    run.config.threads = min(run.config.threads, os.cpu_count() or 1)
    with reading(path):
        config = run.checked()
        now = contents(config, schema_names(run.config))
    for name in changed(run.contents, now):
        said = difference(run.contents[name], now[name])
        say(f"warning: {name}={now[name]['path']}: {said} since the run", file=sys.stderr)
    return config


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise `ConfigError` for what values that no run has written do to the checks."""
    try:
        yield
    except _MISFITS as error:
        raise ConfigError(f"{path}: run.json can't be read ({first_line(error)})") from error


def _located(config: DictConfig, start: Path) -> DictConfig:
    """`config` with the files that are there from `start` as absolute paths, elsewhere than there.

    The values as typed stay the run's: its fingerprint is that of an equal run's command.
    """
    if start == Path.cwd():
        return config
    located = config.copy()
    for name in FILES:
        value = OmegaConf.select(located, name)
        if isinstance(value, str):
            OmegaConf.update(located, name, literal(_absolute(value, start)))
        elif value is not None:
            files = [literal(_absolute(each, start)) for each in value]
            OmegaConf.update(located, name, files)
    return located


def _absolute(path: str, start: Path) -> str:
    place = start / Path(path).expanduser()
    return str(place) if path and place.exists() else path


def resume_run(path: Path, composed: DictConfig, overrides: list[str]) -> RunDirectory:
    """The run in `path`, with the overrides that a resumed run may have taken from `composed`.

    Raises `ConfigError` for any other override: the run goes on as it was configured.
    """
    names = [override.lstrip("+~").partition("=")[0] for override in overrides]
    for name, override in zip(names, overrides, strict=True):
        group, _, setting = name.partition(".")
        elsewhere = group != "trainer" or setting in ("", *PLACES, *NONFINITE)
        if group.partition("@")[0] not in RESUME_ALLOWS or not elsewhere:
            settings = ", ".join((*PLACES, *NONFINITE))
            raise ConfigError(
                f"{override}: can't be changed in a resumed run; beside resume= only "
                f"{', '.join(RESUME_ALLOWS[1:-1])} and trainer's {settings} may be given"
            )
    run = open_run(path, trust=composed.trust)
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


def newest_run(root: Path) -> Path:
    """The run directory under `root` that was started last; `ConfigError` if there is none."""
    found = sorted(root.rglob("run.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise ConfigError(f"run=null: there is no run directory under {root}/; train one first")
    return found[-1].parent
