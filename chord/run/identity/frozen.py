"""What a configuration took from outside when its run began: resumed elsewhere, it is the same run.

`seed: ${oc.env:SLURM_ARRAY_TASK_ID}` and `${now:%H}` are calls of resolvers, whose values are kept.
`${steps}` is a reference between settings and follows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override
from omegaconf.grammar_parser import parse

REFERENCES = ("oc.select", "oc.deprecated", "oc.dict.keys", "oc.dict.values")
"""Resolvers that read settings alone."""

Node = DictConfig | ListConfig


def freeze(
    config: DictConfig, earlier: Callable[[], Any] = lambda: None
) -> tuple[DictConfig, dict[str, str]]:
    """A configuration with values in the place of calls, and the calls by setting.

    `earlier`: the values of an earlier time, as `config.yaml` has them; what they lack is called
    now. Raises OmegaConf's errors for a call that fails.
    """
    calls = list(_calls(config, ()))
    if not calls:
        return config, {}
    frozen, values = config.copy(), earlier()
    for path, _ in calls:
        parent: Any = frozen
        for key in path[:-1]:
            parent = parent[key]
        known, value = _at(values, path)
        value = value if known else parent[path[-1]]
        with flag_override(parent, ["readonly", "struct"], False):
            parent[path[-1]] = _plain(value)
    return frozen, {_name(path): text for path, text in calls}


def literal(text: str) -> str:
    """`text` as a value that resolves to it: what looks like a call in it is none."""
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)


def _plain(value: Any) -> Any:
    """A value without calls, at every depth."""
    if isinstance(value, str):
        return literal(value)
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def called(text: str) -> Iterator[str]:
    """The resolvers that a value calls, in whatever calls or references; `${a}` for one whose name
    is put together: `${${a}:X}`."""
    unseen: list[Any] = [parse(text)]
    while unseen:
        node = unseen.pop()
        if type(node).__name__ == "InterpolationResolverContext":
            yield node.resolverName().getText()
        unseen += getattr(node, "children", None) or []


def _calls(node: Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    keys: Any = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        child: Any = node._get_node(key)
        if OmegaConf.is_interpolation(node, key):
            text = str(child._value())
            if any(name not in REFERENCES for name in called(text)):
                yield (*path, key), text
        elif OmegaConf.is_config(child) and not (child._is_none() or child._is_missing()):
            yield from _calls(child, (*path, key))


def _at(values: Any, path: tuple[str | int, ...]) -> tuple[bool, Any]:
    for key in path:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):  # a file of old, or none
            return False, None
    return True, values


def _name(path: tuple[str | int, ...]) -> str:
    """`data.problems`, `evaluation.retained[0]`."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return "".join(parts).removeprefix(".")
