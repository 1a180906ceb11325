"""A run's configuration as flat settings, and the option of each config group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from chord.compare.model import StartedFrom
from chord.run.identity.histories import course, histories
from chord.run.identity.lengths import length_text
from chord.run.identity.settings import NO_NUMBER, telling

# Settings that do not distinguish groups. To those that cannot affect the results, this adds the
# seeds (that of schedule=gradient_ratio follows the run's), the threads (which only round
# differently), and how often files are written.
NOT_COMPARED = (
    *NO_NUMBER,
    "seed",
    "schedule.seed",
    # Of forks; `lineage.recipe` is the same for all seeds of their source.
    "lineage.fingerprint",
    "lineage.sha256",
    "threads",
    "trainer.checkpoint_every",
    "trainer.completions_every",
    "data.preview",
)
# Config groups whose option does not affect the results.
_NO_CHOICE = ("tracking", "debug", "hparams_search", "seed")


def flat_settings(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, object]:
    """Flatten `{"schedule": {"peak": .9}}` to `{"schedule.peak": .9}`, without `NOT_COMPARED`.

    `facts` is the content of run.json. Its `schemas` gives the strategy of each config group, which
    is stored under the group's name (`schedule`: `cosine`), because two strategies may have the
    same fields. Settings that were changed when the run was resumed hold all their values, and
    `lengths` is present if the run's length was changed. Lists become tuples, or text if they hold
    anything but plain values.
    """
    schemas = facts.get("schemas")
    pairs = schemas.items() if isinstance(schemas, Mapping) else ()
    named = {str(group): str(name) for group, name in pairs if not _not_compared(str(group))}
    found = {key: value for key, value in _flat(telling(config), "") if not _not_compared(key)}
    changed = {key: text for key in found if (text := course(key, facts.get("changes")))}
    return {**named, **found, **changed, **_lengths(facts.get("lengths"))}


def read_origin(config: Mapping[str, Any]) -> StartedFrom | None:
    """Return the run that a fork, or a run with `model.run`, started from."""
    fork, model, lineage = (config.get(name) for name in ("fork", "model", "lineage"))
    step = lineage.get("step") if isinstance(lineage, Mapping) else None
    source = fork or (model.get("run") if isinstance(model, Mapping) else None)
    if not (isinstance(source, str) and isinstance(step, int) and step > 0):
        return None
    return StartedFrom(fork=bool(fork), name=PurePath(source).name, step=step)


def read_contents(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the hash of each file that a setting names, by setting.

    Without that of the model of another run: its lineage counts, which seeds of it have in common.
    """
    model = config.get("model")
    known = model if isinstance(model, Mapping) and model.get("run") is not None else None
    own = () if known is None else (f"model.{'path' if known.get('start') is None else 'start'}",)
    found = histories(facts.get("contents"), facts.get("changes"))
    return {name: text for name, text in found.items() if name not in own}


def _lengths(known: Any) -> dict[str, str]:
    try:
        text = length_text(known)
    except (TypeError, ValueError):  # older runs have none
        return {}
    return {} if text is None else {"lengths": text}


def read_choices(hydra_yaml: str) -> dict[str, str]:
    """Read the option of each config group from `.hydra/hydra.yaml`; empty without such a block.

    Only this block is parsed, because the file is long and parsing YAML is slow.
    """
    block = re.search(r"^ {4}choices:\n((?: {6}.*\n)*)", hydra_yaml, re.M)
    lines = block[1].splitlines() if block else []
    pairs = (line.strip().partition(": ")[::2] for line in lines)
    return keep_choices({name.strip("'\""): value.strip("'\"") for name, value in pairs})


def keep_choices(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that were chosen and may affect the results, the preset first."""
    kept = {
        name: str(value)
        for name, value in choices.items()
        if value not in (None, "null", "") and not name.startswith("hydra") and _kept(name)
    }
    preset = {"experiment": kept.pop("experiment")} if "experiment" in kept else {}
    return preset | kept


def recorded_choices(facts: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Return the options that the run itself recorded.

    Older runs recorded none; for them, return the strategies and the preset from the command line.
    """
    options, schemas = (facts.get(name) for name in ("options", "schemas"))
    if isinstance(options, Mapping) and (kept := keep_choices(options)):
        return kept
    return preset_of(overrides) | keep_choices(schemas if isinstance(schemas, Mapping) else {})


def preset_of(overrides: Sequence[str]) -> dict[str, str]:
    """Return the preset among the overrides: `experiment=chord_mu`."""
    found = [text.partition("=")[2] for text in overrides if text.startswith("experiment=")]
    return {"experiment": found[-1]} if found else {}


def _kept(name: str) -> bool:
    return name.partition("@")[0] not in _NO_CHOICE


def _not_compared(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in NOT_COMPARED)


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, name + ".")
        elif isinstance(value, list | tuple):
            simple = all(isinstance(each, str | int | float | None) for each in value)
            yield name, tuple(value) if simple else repr(value)
        else:
            yield name, value
