"""A run's configuration as flat settings, and the option of each group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chord.run.identity.histories import course
from chord.run.identity.lengths import length_text
from chord.run.identity.settings import NO_NUMBER, telling

# What tells no group from another beside what makes no other run: the seeds of a group (that of
# schedule=gradient_ratio follows the run's), threads (which only round differently), and how often
# files are written.
NOT_COMPARED = (
    *NO_NUMBER,
    "seed",
    "schedule.seed",
    "threads",
    "trainer.checkpoint_every",
    "trainer.completions_every",
    "data.preview",
)
# Of each group's choice, those of no consequence for the numbers.
_NO_CHOICE = ("tracking", "debug", "hparams_search", "seed")


def flat_settings(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, object]:
    """`{"schedule": {"peak": .9}}` as `{"schedule.peak": .9}`, without what is not compared.

    Of the run's facts, `schemas` names the strategy of each group (`schedule`: `cosine`) and stands
    under the group's name: two strategies may have the same fields. `lengths` is there for a run
    that has had several, and what a resumed one changed says so. Lists become tuples, or text where
    they hold more than plain values.
    """
    schemas = facts.get("schemas")
    pairs = schemas.items() if isinstance(schemas, Mapping) else ()
    named = {str(group): str(name) for group, name in pairs if not _not_compared(str(group))}
    found = {key: value for key, value in _flat(telling(config), "") if not _not_compared(key)}
    changed = {key: text for key in found if (text := course(key, facts.get("changes")))}
    return {**named, **found, **changed, **_lengths(facts.get("lengths"))}


def _lengths(known: Any) -> dict[str, str]:
    try:
        text = length_text(known)
    except (TypeError, ValueError):  # a run of old has none
        return {}
    return {} if text is None else {"lengths": text}


def read_choices(hydra_yaml: str) -> dict[str, str]:
    """The option of each group from `.hydra/hydra.yaml`; none where it has no such block.

    The block alone is read: the file is long and YAML slow.
    """
    block = re.search(r"^ {4}choices:\n((?: {6}.*\n)*)", hydra_yaml, re.M)
    lines = block[1].splitlines() if block else []
    pairs = (line.strip().partition(": ")[::2] for line in lines)
    return keep_choices({name.strip("'\""): value.strip("'\"") for name, value in pairs})


def keep_choices(choices: Mapping[str, Any]) -> dict[str, str]:
    """Those that were made and may change a number, the preset first."""
    kept = {
        name: str(value)
        for name, value in choices.items()
        if value not in (None, "null", "") and not name.startswith("hydra") and _kept(name)
    }
    preset = {"experiment": kept.pop("experiment")} if "experiment" in kept else {}
    return preset | kept


def recorded_choices(facts: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """The options that a run's own facts name.

    Of a run of old, which names none: its strategies, and the preset that was typed.
    """
    options, schemas = (facts.get(name) for name in ("options", "schemas"))
    if isinstance(options, Mapping) and (kept := keep_choices(options)):
        return kept
    return preset_of(overrides) | keep_choices(schemas if isinstance(schemas, Mapping) else {})


def preset_of(overrides: Sequence[str]) -> dict[str, str]:
    """The preset among what was typed: `experiment=chord_mu`."""
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
