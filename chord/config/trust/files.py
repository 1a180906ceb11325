"""What a configuration file from elsewhere may say: values of options, and what a search varies.

Hydra reads files from chord's own `conf/`, from installed packages, and from the directories that a
command names, as `--config-dir` does. Those of the last kind may be a stranger's. Hydra's own node
runs code (`hydra.callbacks`, `hydra.job_logging`, `hydra.launcher`), sets the environment and says
where files are written; a resolver reads the environment or calls whatever a plugin has registered.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.default_element import InputDefault
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from chord.config.location import CONF_DIR
from chord.config.plugins import folders
from chord.config.search import SearchConfig
from chord.errors import ConfigError
from chord.io.reading import check_yaml

RESOLVERS = ("now", "oc.dict.keys", "oc.dict.values", "oc.select", "python_version")
"""Resolvers that only look at the configuration itself, at the time, or at Python's version."""
COMMAND_LINE = (
    *("resume", "resume_sweep", "fork", "lineage", "trust"),
    *("dry_run", "skip_finished"),
    *("run", "to"),  # of chord.evaluate
)
"""Settings that say which runs are read and written, what is trusted, or whether anything is
trained at all: a file has no say in that."""

_NAME = re.compile(r"\$\{([^:}]*)([:}]?)")
_REFERENCE = re.compile(r"\$\{[\w./@]+\}")


def look_at(source: ConfigSource | None, config_path: str) -> None:
    """Raise `ConfigError` for a file from elsewhere that it would take for ever to load."""
    if source is None or not is_foreign(f"{source.scheme()}://{source.path}", config_path):
        return
    # A path that climbs may do so from an installed package.
    place = source.path if source.scheme() == "file" else str(resources.files(source.path))
    file = Path(place, source._normalize_file_name(config_path))
    try:
        check_yaml(file)
    except ValueError as error:
        raise ConfigError(f"{file.parent}: {error}") from error


def is_foreign(source: str, config_path: str = "") -> bool:
    """Whether a file is from elsewhere: neither chord's own nor an installed package's.

    `source` is an entry of Hydra's search path. A path that climbs out of it is foreign as well.
    """
    scheme, _, place = source.rpartition("://")
    if ".." in Path(config_path).parts:
        return True
    return scheme not in ("pkg", "structured") and Path(place).resolve() not in own_folders()


def own_folders() -> list[Path]:
    """Where the files of options lie that are chord's or a plugin's."""
    return [
        path.resolve() for path in (CONF_DIR, *(p for some in folders().values() for p in some))
    ]


def file_of(result: ConfigResult, config_path: str) -> str:
    """The path of the file that was read."""
    file = os.path.join(result.path.rpartition("://")[2], config_path).removesuffix(".yaml")
    return f"{os.path.normpath(file)}.yaml"


def check(result: ConfigResult, config_path: str) -> None:
    """Raise `ConfigError` for the first thing in a file from elsewhere that it may not say.

    Where its values land is known when Hydra has put them there: see `composing`.
    """
    file = file_of(result, config_path)
    group = config_path.strip("/").rpartition("/")[0]
    check_text(file, "@package", result.header.get("package"))
    for entry in result.defaults_list or ():
        _check_entry(file, group, entry)
    content = OmegaConf.to_container(result.config, resolve=False)
    if not isinstance(content, dict):
        return
    if group.partition("/")[0] == "hydra":
        content = functools.reduce(
            lambda inner, part: {part: inner}, group.split("/")[::-1], content
        )
    check_content(file, content)


def _check_entry(file: str, group: str, entry: InputDefault) -> None:
    """An entry of a defaults list: it names no resolver, and nothing of Hydra's."""
    name = str(getattr(entry, "group", None) or getattr(entry, "path", None) or "")
    package, value = entry.package or "", getattr(entry, "value", None)
    where = name.strip("/") if name.startswith("/") else f"{group}/{name}".strip("/")
    where += f"@{package}" if package else ""
    for text in (name, package, *(value if isinstance(value, list) else [value])):
        # Put together they could be a call: "$" and "{oc.env:X}".
        rest = _REFERENCE.sub("", text or "")
        if "$" in rest or "\\" in rest:
            check_text(file, "defaults", text)
            raise ConfigError(
                f"defaults={text}: {file} can only name options, and others' choices as "
                "${GROUP}; give it on the command line"
            )
    if "hydra" in (where.partition("/")[0], name.partition("/")[0]) or leads_to_hydra(package):
        _refuse_hydra(file, where if value is None else f"{where}={value}")


def leads_to_hydra(package: str) -> bool:
    """Whether a package has a part `hydra`, in dots or brackets: `_global_.hydra`, `hydra[job]`."""
    return "hydra" in re.split(r"[.\[\]]+", package)


def check_content(file: str, content: Mapping[Any, Any]) -> None:
    """The same for the values of a file, as a tree from the root of the configuration."""
    for name in COMMAND_LINE:
        if content.get(name) not in (None, False):
            raise ConfigError(
                f"{name}={content[name]}: {file} can't set it; give it on the command line"
            )
    for key, text in leaves(content):
        check_text(file, key, text)
    if "hydra" in content:
        check_hydra(file, content["hydra"])


def check_text(file: str, key: str, text: object) -> None:
    """Refuse a value with a resolver that is not one of `RESOLVERS`."""
    if reason := forbidden(text):
        raise ConfigError(f"{key}={text}: {file} {reason}; give it on the command line")


def forbidden(text: object) -> str:
    """What a value does that only the user may: reads the environment, or calls a resolver, maybe
    by a name put together. Empty for any other."""
    for name, end in _NAME.findall(text if isinstance(text, str) else ""):
        name = name.strip()
        if name == "oc.env":
            return "can't read the environment"
        if "$" in name or not end or (end == ":" and name not in RESOLVERS):
            allowed = ", ".join(RESOLVERS)
            return f"can only use the resolvers {allowed}, and settings by their whole names"
    return ""


def leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value below `node` with its full key."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from leaves(value, path)
    else:
        yield path, node


def check_hydra(file: str, node: object) -> None:
    """Of `hydra` a search is allowed: the settings of its sweeper but where results are sent."""
    settings = _mapping(file, "hydra", node)
    others = {name: value for name, value in settings.items() if name != "sweeper"}
    if others:
        _refuse_hydra(file, _first(others, "hydra"))
    sweeper = _mapping(file, "hydra.sweeper", settings.get("sweeper", {}))
    allowed = {field.name for field in fields(SearchConfig)} - {"storage"}
    for name, value in sweeper.items():
        if name not in allowed:
            _refuse_hydra(file, _first(value, f"hydra.sweeper.{name}"))
    where = "hydra.sweeper.params"
    for name, text in _mapping(file, where, sweeper.get("params", {})).items():
        _check_searched(file, where, name, text)
    where = "hydra.sweeper.conditional"
    for condition, params in _mapping(file, where, sweeper.get("conditional", {})).items():
        for name, text in _mapping(file, f"{where}.{condition}", params).items():
            _check_searched(file, f"{where}.{condition}", name, text)


def _mapping(file: str, path: str, node: object) -> Mapping[Any, Any]:
    """`node`, which must be spelled out: an interpolation would bring in anything."""
    if not isinstance(node, Mapping):
        _refuse_hydra(file, f"{path}={node}")
    return node


def _check_searched(file: str, where: str, name: object, text: object) -> None:
    """A search types what it varies, so that this must be a setting of chord's."""
    setting = str(name).lstrip("+~").partition("@")
    own = re.split(r"[./\[\]]+", setting[0])[0]
    if own in ("hydra", *COMMAND_LINE) or leads_to_hydra(setting[2]):
        _refuse_hydra(file, f"{where}.{name}={text}")
    if re.search(r"[$\\]", f"{name}{text}"):
        raise ConfigError(
            f"{where}.{name}={text}: {file} can only search plain values, without $ and \\; "
            "give it on the command line"
        )


def _refuse_hydra(file: str, said: str) -> NoReturn:
    raise ConfigError(
        f"{said}: {file} can't set it; of Hydra's settings a file can set only a search "
        "(hydra.sweeper); give the others on the command line"
    )


def _first(node: object, path: str) -> str:
    key, value = next(leaves(node, path), (path, "{}"))
    return f"{key}={value}"
