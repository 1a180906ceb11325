"""The command that runs the best trial of a search again, on the test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chord.config.overrides import parsed, setting

OF_THE_SEARCH = ("hparams_search", "evaluation.test")
"""What the command does without, or has another value of."""

Compose = Callable[[list[str]], DictConfig]


def words_for_test(job: Sequence[str], compose: Compose) -> list[str]:
    """The settings to type for a run like a trial's `job` that evaluates on the test split.

    The file of the search is left out, since it makes a sweep of the run; what else it sets is
    typed instead.
    """
    words = [word for word in job if _name(word) not in OF_THE_SEARCH]
    wanted = compose(list(job))
    words += _differing(_choices(wanted), _choices(compose(words)))
    words += _differing(_values(wanted), _values(compose(words)))
    if not compose(words).evaluation.test:
        words.append("evaluation.test=true")
    return words


def _name(word: str) -> str:
    override = parsed(word)
    return "" if override is None else str(override.get_key_element()).lstrip("+~")


def _differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [_typed(name, v) for name, v in wanted.items() if name not in found or found[name] != v]


def _choices(cfg: DictConfig) -> dict[str, Any]:
    """The option of each group whose options a run has."""
    chosen = cfg.hydra.runtime.choices.items()
    return {name: option for name, option in chosen if not _is_left_out(name)}


def _values(cfg: DictConfig) -> dict[str, Any]:
    """The values by setting; lists as a whole."""
    found: dict[str, Any] = {}

    def read(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for name, below in value.items():
                read(below, f"{path}.{name}".removeprefix("."))
        elif not _is_left_out(path):
            found[path] = value

    for name in cfg:
        if name != "hydra":
            value = cfg[name]
            config = OmegaConf.is_config(value)
            read(OmegaConf.to_container(value, resolve=True) if config else value, str(name))
    return found


def _is_left_out(name: str) -> bool:
    """Where a trial is evaluated, and what Hydra does, may differ."""
    return name.startswith(("hydra", "evaluation", "hparams_search"))


def _typed(name: str, value: Any) -> str:
    if isinstance(value, str):
        return setting(name, value)
    return f"{name}={_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_literal(each) for each in value)}]"
    if isinstance(value, str):
        return setting("x", value).partition("=")[2]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
