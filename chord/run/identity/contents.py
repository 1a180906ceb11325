"""What the files that a run's settings name hold: one path may hold other data tomorrow.

Of each setting `{"path": ..., "sha256": ..., "bytes": ...}`, of an id on a hub `{"path": ...,
"revision": ...}`; of a plugin whose class the run uses, under `plugin NAME`, the files of its
package.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chord.config.consistency import reads_teacher
from chord.config.plugins import origins
from chord.config.registry import SECOND
from chord.data.files import data_files
from chord.errors import ConfigError, suggest
from chord.io.contents import Content, Contents, changed, difference
from chord.io.hashes import hash_of

if TYPE_CHECKING:
    from chord.config.root import TrainConfig


_LOADED = (
    "config.json",
    "adapter_config.json",
    "state.json",
    "dataset_dict.json",
    "__init__.py",
)
"""One of these is in each directory that is a model, a data set, or a package; others are not read,
however large they are."""


def contents(config: TrainConfig, schemas: Mapping[str, str]) -> Contents:
    """What a run of this configuration reads, as far as it is there and can be read.

    What is missing is said by whatever needs it. `schemas`: the class of each group, as `run.json`
    names them.
    """
    found = {setting: content_of(path) for setting, path in named_files(config).items()}
    found |= config.reward.contents()
    found |= {f"plugin {name}": content_of(path) for name, path in plugin_files(schemas).items()}
    return {setting: content for setting, content in found.items() if content is not None}


def read_from_hub(config: TrainConfig, known: Contents) -> Contents:
    """What came from a hub: which revision that is, is known once it has been loaded."""
    named = named_files(config).items()
    ids = {name: path for name, path in named if "sha256" not in known.get(name, {})}
    found = {name: content_of(path) for name, path in ids.items()}
    return {name: content for name, content in found.items() if content is not None}


def named_files(config: TrainConfig) -> dict[str, str]:
    """The files, directories and ids on a hub that a run reads, by setting."""
    # Here and below: it takes a moment to load, and nothing needs it before a run is composed.
    from chord.evaluation.retained import retained_files

    cache = config.target.cache_path
    return {
        **config.data.files(),
        **retained_files(config.evaluation),
        **config.reward.files(),
        **config.model.files(),
        **(config.teacher.files() if reads_teacher(config) else {}),
        **({} if cache is None else {"target.cache": cache}),
    }


def plugin_files(schemas: Mapping[str, str]) -> dict[str, str]:
    """The packages of the plugins whose classes a run uses, by the plugins' names."""
    found = {}
    for setting, name in schemas.items():
        group = "reward" if setting.startswith("reward.parts.") else SECOND.get(setting, setting)
        plugin, module = origins().get((group, name), ("", ""))
        place = _package(module)
        if place is not None:
            found[plugin] = place
    return found


def _package(module: str) -> str | None:
    """The directory of the outermost package of an imported module, or its file."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        file = getattr(sys.modules.get(".".join(parts[:length])), "__file__", None)
        # A namespace has no file: what it holds may be of others.
        if file is not None:
            place = Path(file)
            return str(place.parent if place.name == "__init__.py" else place)
    return None


def content_of(path: str) -> Content | None:
    """The hash of what is at a path, or the revision of an id; None where neither is known."""
    place = Path(path).expanduser()
    if not place.exists() and ":" in place.name:
        # A split of a directory that the datasets library saved.
        place = place.with_name(place.name.rpartition(":")[0])
    try:
        if place.is_file() or any((place / name).is_file() for name in _LOADED):
            digest, size = hash_of(place)
            return {"path": path, "sha256": digest, "bytes": size}
        if shards := data_files(path):
            lines = [f"{hash_of(shard)[0]}  {shard.name}\n" for shard in shards]
            digest = hashlib.sha256("".join(lines).encode()).hexdigest()
            size = sum(shard.stat().st_size for shard in shards)
            return {"path": path, "sha256": digest, "bytes": size}
    except (OSError, ConfigError):
        return None
    revision = hub_revision(path)
    return None if revision is None else {"path": path, "revision": revision}


def hub_revision(path: str) -> str | None:
    """The commit of a model's ID@REVISION, or of a data set's hub://ID, in the local cache."""
    model = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?:@(.+))?", path)
    data = re.fullmatch(r"hub://([\w.-]+/[\w.-]+)(?:/[\w.-]+)?(?::[\w.-]+)?", path)
    if model is None and data is None:
        return None
    kind, name, revision = (
        ("datasets", data[1], "main") if data else ("models", model[1], model[2] or "main")  # type: ignore[index]
    )
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return None
    reference = Path(HF_HUB_CACHE, f"{kind}--{name.replace('/', '--')}", "refs", revision)
    return reference.read_text().strip() if reference.is_file() else None


def refuse_changed(
    known: Mapping[str, Any], now: Contents, allowed: Sequence[str], *, since: str
) -> None:
    """Raise `ConfigError` where a content is not what it was `since`, unless that is allowed."""
    for name in allowed:
        if name not in {*known, *now}:
            raise ConfigError(
                f"allow_changed=[{name}]: this run has no file under that setting"
                f"{suggest(name, {*known, *now})}"
            )
    for name in changed(known, now):
        if name not in allowed:
            raise ConfigError(
                f"{name}={now[name]['path']}: {difference(known[name], now[name])} since {since}; "
                f"restore it, or give allow_changed=[{name}] to go on with it as it is now, which "
                "is recorded"
            )
