"""Group labels: the fewest settings that distinguish the groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chord.compare.model import Run

# Runs with different versions of these are in different groups, because the numbers may differ.
DECISIVE_VERSIONS = ("chord-posttraining", "torch")
DEFAULTS = "defaults"
_VERSION = "version of "
_CONTENT = "contents of "
_LINEAGE = "lineage."

Key = tuple[tuple[str, str], ...]


def group_key(run: Run) -> Key:
    """Return all settings but the seed, with versions, as a hashable key.

    File contents are not part of it; see `chord.compare.contents`.
    """
    versions = {f"{_VERSION}{name}": run.versions.get(name) for name in DECISIVE_VERSIONS}
    return tuple(sorted((key, repr(value)) for key, value in {**run.settings, **versions}.items()))


def varied(runs: Sequence[Run]) -> list[dict[str, object]]:
    """Return, for the first run of each group, the settings that distinguish it from the others.

    Overrides from the command line that differ come first (`schedule=cosine`). As long as some
    groups still look the same, further settings follow, options of config groups before single
    settings. A setting that adds no distinction (such as a learning rate set by the preset) is
    left out.
    """
    values = [values_of(run) for run in runs]
    chosen: list[dict[str, object]] = [{} for _ in runs]
    classes = [0] * len(runs)
    typed = _typed(runs)
    for key in dict.fromkeys([*typed, *(key for each in values for key in each)]):
        if key not in typed and len(set(classes)) == len(runs):
            break
        finer = _divide(classes, [repr(each.get(key)) for each in values])
        differs = len({repr(each.get(key)) for each in values}) > 1
        if len(set(finer)) == len(set(classes)) and not (differs and key in typed):
            continue
        for own, each, number in zip(chosen, values, classes, strict=True):
            # Nobody chose versions and file contents: they are only named where needed.
            needed = not key.startswith((_VERSION, _CONTENT)) or classes.count(number) > 1
            if needed and each.get(key) is not None:
                own[key] = each[key]
        classes = finer
    return chosen


def label(settings: Mapping[str, object]) -> str:
    """Format settings as `schedule=cosine weighting=phi`; presets as `chord_mu steps=60`."""
    texts = [
        value_text(value) if key == "experiment" else f"{key}={value_text(value)}"
        for key, value in settings.items()
    ]
    return " ".join(texts) or DEFAULTS


def labels(parts: Sequence[Sequence[Run]], settings: Sequence[Mapping[str, object]]) -> list[str]:
    """Format the settings of each group, and what its runs started from, if from other runs.

    That takes the place of the lineage, unless two groups would have the same label.
    """
    origins = [_origin(runs) for runs in parts]
    short = [
        {key: value for key, value in each.items() if not (origin and key.startswith(_LINEAGE))}
        for each, origin in zip(settings, origins, strict=True)
    ]
    found = [_label_of(*each) for each in zip(short, origins, strict=True)]
    if len(set(found)) == len(found):
        return found
    return [_label_of(*each) for each in zip(settings, origins, strict=True)]


def _label_of(settings: Mapping[str, object], origin: str) -> str:
    if not origin:
        return label(settings)
    return f"{label(settings)} ({origin})" if settings else origin


def _origin(runs: Sequence[Run]) -> str:
    """`fork of NAME after 4 steps`; without the name if that is not the same for all seeds."""
    first = runs[0].origin
    if first is None:
        return ""
    name = first.name if len({run.origin for run in runs}) == 1 else "other runs"
    return f"{'fork' if first.fork else 'model'} of {name} after {first.step} steps"


def value_text(value: object) -> str:
    """Format a value as it would be typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def of_one_group(run: Run) -> dict[str, object]:
    """Return the settings that name a single group: its preset, or its schedule and weighting."""
    names = ("experiment",) if "experiment" in run.choices else ("schedule", "weighting")
    return {name: run.choices[name] for name in names if name in run.choices}


def values_of(run: Run) -> dict[str, object]:
    """Return the options, then the settings (top-level ones first), file hashes and versions."""
    settings = dict(sorted(run.settings.items(), key=lambda item: ("." in item[0], item[0])))
    versions = {f"{_VERSION}{name}": run.versions.get(name) for name in DECISIVE_VERSIONS}
    return {
        **run.choices,
        **{k: v for k, v in settings.items() if k not in run.choices},
        **{f"{_CONTENT}{name}": text for name, text in run.contents.items()},
        **versions,
    }


def _typed(runs: Iterable[Run]) -> list[str]:
    """The keys of all overrides: the preset, then other keys without a dot, then the rest."""
    keys = dict.fromkeys(
        override.lstrip("+~").partition("=")[0] for run in runs for override in run.overrides
    )
    return sorted(keys, key=lambda key: (key != "experiment", "." in key))


def _divide(classes: Sequence[int], texts: Sequence[str]) -> list[int]:
    """Split each class by text: two members stay together if their texts agree."""
    numbers: dict[tuple[int, str], int] = {}
    pairs = zip(classes, texts, strict=True)
    return [numbers.setdefault(pair, len(numbers)) for pair in pairs]
