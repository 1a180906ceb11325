"""The model that a run has trained, in place of a base: `model.run=RUN`.

Hydra composes such a run as any other. Only the group `model` has the values of that run, unless
others are typed, and the lineage is that of its model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from chord.config.lineage import Lineage
from chord.config.loading import Base, compose_upon
from chord.config.location import CONF_DIR
from chord.config.overrides import given, swept
from chord.config.schemas import schema_names
from chord.errors import ConfigError, first_line
from chord.io.hashes import hash_of
from chord.io.reading import read_json
from chord.models.directories import ADAPTERS, WHOLE
from chord.run.fork.base import TRAIN, Origin, base_of, refuse_typed_lineage, run_at
from chord.run.identity.agreement import flat
from chord.run.located import located
from chord.run.opening import open_run, refuse_unknown
from chord.run.owner import writer
from chord.run.trained import model_file, refuse_foreign_model

SETTING = "model.run"
FIXED = ("path", "revision", "pretraining_seed", "start")
"""Settings of the model that are looked up."""
PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "modules_to_save": None,
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layers_to_transform": None,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
}
"""What chord's own adapters have in their adapter_config.json; others compute something else."""


def register_sources() -> None:
    """Let `fork=RUN` and `model.run=RUN` be composed in this process."""
    compose_upon(base_of)
    compose_upon(model_of)


def model_of(config_name: str | None, typed: Sequence[str]) -> Base | None:
    """What `typed` is composed upon, if it names the model of a run; None: nothing else.

    Raises `ConfigError` where there is no such model.
    """
    words = given(typed)
    # Of a sweep over several, the first is what the sweep itself is composed upon.
    name = words.get(SETTING, next(iter(swept(typed, SETTING)), "null"))
    if config_name != TRAIN or name == "null" or words.get("resume", "null") != "null":
        return None
    refuse_typed_lineage(typed)
    place = Path(name)
    run = run_at(place)
    if run is not None:
        return Beginning.of_run(run, words).base(typed)
    if words.get("checkpoint", "null") != "null":
        raise ConfigError(
            f"checkpoint={words['checkpoint']}: {SETTING}={name} is not a run directory, so it has "
            "no checkpoints; leave it out"
        )
    return Beginning.of_directory(place, words).base(typed)


@dataclass
class Beginning:
    """The model that a run begins with: its schema and option, all its settings, its lineage.

    `fixed`: those settings that nothing else may be typed for. `named`: `model.run=RUN`.
    """

    named: str
    schema: str
    option: str
    values: Mapping[str, Any]
    fixed: Sequence[str]
    lineage: Lineage

    @classmethod
    def of_run(cls, path: Path, words: Mapping[str, str]) -> Beginning:
        """The final model of a run, or that of the checkpoint that was typed; of one that has not
        ended, its last checkpoint's. Raises ConfigError where there is none, or it may change."""
        named = f"{SETTING}={path}"
        origin = _final(path, words) or Origin.of(path, words, SETTING)
        config = located(origin.run.config, origin.run.started_in)
        schema = schema_names(config)["model"]
        values: Any = OmegaConf.to_container(config.model, resolve=False)
        if "run" not in values:
            raise ConfigError(f"{named}: its model={schema} is a plugin's, and can't be begun with")
        place = origin.file
        # What is trained whole, and written at the end, needs no base any more.
        whole = place.suffix != ".ckpt" and not values.get("lora", {}).get("rank")
        found: dict[str, Any] = {"start": str(place)}
        if whole:
            found = {"path": str(place), "start": None}
            found |= {"revision": None} if "revision" in values else {"pretraining_seed": 0}
        return cls(
            named=named,
            schema=schema,
            option=origin.run.options.get("model", schema),
            values={**values, **found, "run": str(path)},
            fixed=FIXED if whole else (*FIXED, "lora"),
            lineage=origin.lineage(optimizer=False),
        )

    @classmethod
    def of_directory(cls, place: Path, words: Mapping[str, str]) -> Beginning:
        """A model of transformers in a directory, such as an export, or adapters of peft."""
        named = f"{SETTING}={place}"
        if (place / WHOLE).is_file():
            values: dict[str, Any] = {"path": str(place), "start": None, "revision": None}
            fixed: Sequence[str] = FIXED
        elif (place / ADAPTERS).is_file():
            base, lora = _adapters(place, named)
            path = words.get("model.path", base)
            if path.startswith("pkg://") and "model.path" not in words:
                raise ConfigError(f"{named}: {ADAPTERS} names {path}; type model.path={path} too")
            values = {"path": path, "lora": lora, "start": str(place)}
            fixed = ("start", "lora")
        elif not place.is_dir():
            raise ConfigError(f"{named}: no such directory; give a run directory")
        else:
            raise ConfigError(
                f"{named}: holds neither a run (run.json), nor a model of transformers ({WHOLE}), "
                f"nor adapters ({ADAPTERS})"
            )
        sha256 = hash_of(place)[0]
        lineage = Lineage(fingerprint="", recipe="", step=0, sha256=sha256, optimizer=False)
        values["run"] = str(place)
        return cls(named, "hf", "hf", values, fixed, lineage)

    def base(self, typed: Sequence[str]) -> Base:
        """The settings, as Hydra reads them in place of `train.yaml`."""
        primary: Any = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "train.yaml"))
        content = json.dumps([asdict(self.lineage), self.values], default=str)
        name = f"of_model_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        primary["defaults"] = [
            {"model": name} if isinstance(each, Mapping) and "model" in each else each
            for each in primary["defaults"]
        ]
        primary["lineage"] = asdict(self.lineage)
        option = {"defaults": [f"/schema/model/{self.schema}@_here_", "_self_"], **self.values}
        nodes = {f"model/{name}": option, name: primary}
        return Base(name, nodes, lambda cfg: self._finish(cfg, name, typed))

    def _finish(self, cfg: DictConfig, name: str, typed: Sequence[str]) -> None:
        """Give an option that was chosen beside it the settings of the model, but for those typed.

        Raises ConfigError for another model.
        """
        option = cfg.hydra.runtime.choices.model
        if schema_names(cfg)["model"] != self.schema:
            raise ConfigError(f"model={option}: {self.named} has model={self.schema}; leave it out")
        words = {word.lstrip("+~").partition("=")[0] for word in typed}
        values = flat(self.values)
        with read_write(cfg), open_dict(cfg):
            cfg.hydra.job.config_name = TRAIN
            for key, value in values.items() if option != name else ():
                if f"model.{key}" not in words:
                    OmegaConf.update(cfg, f"model.{key}", value)
            cfg.hydra.runtime.choices.model = self.option
        for key in values:
            now = OmegaConf.select(cfg.model, key)
            now = OmegaConf.to_container(now) if OmegaConf.is_config(now) else now
            if key.partition(".")[0] in self.fixed and now != values[key]:
                raise ConfigError(self._refused(key, now, values[key]))

    def _refused(self, key: str, now: object, own: object) -> str:
        said = f"model.{key}={now}: {self.named} has model.{key}={own}"
        if key.startswith("lora.") and self.values["lora"]["rank"] == 0:
            run = self.values["run"]
            return (
                f"{said}, and new adapters need a final model; leave it out, or write the "
                f"checkpoint with python -m chord.export {run} --to DIR --checkpoint STEP and give "
                f"{SETTING}=DIR"
            )
        return f"{said}; leave it out"


def _final(path: Path, words: Mapping[str, str]) -> Origin | None:
    """The final model of a run; None where a checkpoint is asked for, or there is none."""
    if words.get("checkpoint", "null") != "null" or writer(path) is not None:
        return None
    place = model_file(path)
    if place.suffix == ".ckpt":
        return None
    run = open_run(path, trust=words.get("trust", "").lower() == "true")
    refuse_unknown(run, f"{SETTING}={path}")
    refuse_foreign_model(path, SETTING)
    return Origin(run, int(run.config.steps), place)


def _adapters(place: Path, named: str) -> tuple[str, dict[str, Any]]:
    """The base that adapters were trained on, and their settings; ConfigError where chord's own
    would compute something else."""
    try:
        facts = read_json(place / ADAPTERS)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{named}: {ADAPTERS} can't be read ({first_line(error)})") from error
    for key, value in PLAIN.items():
        if facts.get(key, value) not in (value, value or None):
            raise ConfigError(
                f"{named}: its adapters have {key}={facts[key]}, which can't be trained further "
                "here; merge them into their model and give that"
            )
    targets, base = facts.get("target_modules"), facts.get("base_model_name_or_path")
    if not isinstance(targets, list) or not isinstance(base, str):
        raise ConfigError(
            f"{named}: {ADAPTERS} must have a list target_modules and a base_model_name_or_path"
        )
    rank, alpha = facts.get("r"), facts.get("lora_alpha")
    return base, {"rank": rank, "alpha": alpha, "targets": sorted(map(str, targets))}
