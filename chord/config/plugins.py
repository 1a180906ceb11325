"""Options from other installed packages: `chord.plugins.register("weighting", "mine", Mine)`.

A package names a module (or a function) under the entry-point group `chord.plugins`; it is loaded
when the commands start, and registers its classes. Its YAML files lie in a folder `conf` beside the
module of the class, as `conf/weighting/mine.yaml`, and are found from there.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass, field, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS
from chord.config.schemas import base_class
from chord.errors import ConfigError, first_line, suggest

GROUP = "chord.plugins"


@dataclass
class Plugin:
    """What was registered under one name: (group, name) of each class, and folders of YAML."""

    name: str
    version: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    conf: list[Path] = field(default_factory=list)


# State: what is installed is registered once in a process.
_plugins: dict[str, Plugin] = {}
# State: whose entry point is being loaded, because it calls `register` without saying so.
_loading: Plugin | None = None


def register(group: str, name: str, schema: type, *, conf: str | Path | None = None) -> None:
    """Make a class an option's schema: `defaults: [/schema/GROUP/NAME@_here_, _self_]` in YAML.

    `schema` is a dataclass(kw_only=True) that inherits from the base class of its group:
    `Schedule`, `Weighting`, `Objective`, `Reward`, `DataConfig`, ... (the types of
    `chord.config.TrainConfig`). `conf` is a directory with GROUP/NAME.yaml; by default the folder
    `conf` beside the module of the class, where there is one.

    Raises ConfigError, naming the plugin, for an unknown group, a name that is taken, a class that
    is no dataclass or does not inherit from the base, settings of a type that YAML has not.
    """
    if SCHEMAS.get(group, {}).get(name) is schema:
        return
    owner = getattr(schema, "__module__", repr(schema))
    plugin = _loading or _plugins.get(owner) or Plugin(owner)
    what = f"plugin {plugin.name}: {group}={name}:"
    if reason := _refuse(group, name, schema):
        raise ConfigError(f"{what} {reason}")
    folder = Path(conf).resolve() if conf is not None else _conf_beside(schema)
    new = folder is not None and folder not in plugin.conf
    if folder is not None and new and (taken := _taken(folder)):
        raise ConfigError(f"{what} the option {taken} of {folder} exists already")
    try:
        ConfigStore.instance().store(group=f"schema/{group}", name=name, node=schema)
    except ValueError as error:
        raise ConfigError(f"{what} {first_line(error)}") from error
    SCHEMAS[group][name] = schema
    plugin.options.append((group, name))
    if folder is not None and new:
        plugin.conf.append(folder)
        Plugins.instance().register(_SearchPath)
    if plugin is not _loading:
        _plugins[plugin.name] = plugin


def load() -> None:
    """Load every entry point that is not loaded yet; nothing is imported where there is none.

    Raises ConfigError naming the plugin where one can't be loaded; what it had registered until
    then is taken back.
    """
    global _loading
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in _plugins:
            continue
        _loading = Plugin(entry.name, entry.dist.version if entry.dist is not None else "")
        try:
            loaded = entry.load()
            if inspect.isroutine(loaded):
                loaded()
        except Exception as error:  # whatever foreign code raises
            forget(_loading)
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(_cannot_load(entry, error)) from error
        else:
            _plugins[entry.name] = _loading
        finally:
            _loading = None


def forget(plugin: Plugin) -> None:
    """Take back what a plugin registered."""
    _plugins.pop(plugin.name, None)
    stored: Any = ConfigStore.instance().repo["schema"]
    for group, name in plugin.options:
        del SCHEMAS[group][name], stored[group][f"{name}.yaml"]


def folders() -> dict[str, list[Path]]:
    """The folders of YAML files that each plugin brings."""
    return {plugin.name: plugin.conf for plugin in _plugins.values()}


def owners() -> dict[type, tuple[str, str, list[Path]]]:
    """For each schema of a plugin: its name, its group, and the plugin's folders of YAML files."""
    return {
        SCHEMAS[group][name]: (name, group, plugin.conf)
        for plugin in _plugins.values()
        for group, name in plugin.options
    }


def versions() -> dict[str, str]:
    """The version of each installed plugin."""
    return {f"plugin {plugin.name}": plugin.version for plugin in _plugins.values()}


def origins() -> dict[tuple[str, str], tuple[str, str]]:
    """The plugin and the module of each registered class, by group and name."""
    return {
        (group, name): (plugin.name, SCHEMAS[group][name].__module__)
        for plugin in _plugins.values()
        for group, name in plugin.options
    }


def _refuse(group: str, name: str, schema: Any) -> str:
    """Why a class can't be registered; empty if it can."""
    if group not in SCHEMAS:
        return f"no such group{suggest(group, SCHEMAS)}"
    if not re.fullmatch(r"\w[\w+-]*", name):
        return "a name is made of letters, digits, '_', '-' and '+'"
    if name in SCHEMAS[group]:
        return f"exists already, as {SCHEMAS[group][name].__qualname__}"
    if not inspect.isclass(schema):
        return f"must be a class, not {schema!r}"
    base = base_class(group)
    if not issubclass(schema, base):
        return f"{schema.__qualname__} must inherit from {base.__module__}.{base.__qualname__}"
    # A subclass of a dataclass always looks like one; its own settings would be no settings.
    if not is_dataclass(schema) or "__dataclass_params__" not in vars(schema):
        return f"{schema.__qualname__} must be a dataclass, with @dataclass(kw_only=True)"
    if inspect.isabstract(schema):
        missing = ", ".join(sorted(schema.__abstractmethods__))
        return f"{schema.__qualname__} has no {missing}"
    return ""


def _taken(folder: Path) -> str:
    """An option that has a file already: Hydra reads the first one only. Empty if there is none."""
    others = [CONF_DIR, *(known for plugin in _plugins.values() for known in plugin.conf)]
    for path in sorted(folder.glob("*/*.yaml")):
        if any((other / path.relative_to(folder)).exists() for other in others):
            return f"{path.parent.name}={path.stem}"
    return ""


def _conf_beside(schema: type) -> Path | None:
    file = getattr(sys.modules.get(schema.__module__), "__file__", None)
    folder = Path(file).resolve().parent / "conf" if file else None
    return folder if folder is not None and folder.is_dir() else None


def _cannot_load(entry: EntryPoint, error: Exception) -> str:
    package = f" of {entry.dist.name}" if entry.dist is not None else ""
    return (
        f"plugin {entry.name}{package}: {entry.value} can't be loaded "
        f"({type(error).__name__}: {first_line(error)})"
    )


class _SearchPath(SearchPathPlugin):
    """Shows Hydra the plugins' YAML, behind our own and before `--config-dir`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, paths in folders().items():
            for path in paths:
                search_path.append(f"chord plugin {name}", f"file://{path}")
