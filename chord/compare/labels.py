"""What tells groups from each other, in as few settings as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chord.compare.model import Run

# Part of what a group is: other code or other arithmetic gives other numbers.
DECISIVE_VERSIONS = ("chord-posttraining", "torch")
DEFAULTS = "defaults"
_VERSION = "version of "
_CONTENT = "contents of "

Key = tuple[tuple[str, str], ...]


def group_key(run: Run) -> Key:
    """Everything but the seed and what its files hold, as something to sort runs by."""
    versions = {f"{_VERSION}{name}": run.versions.get(name) for name in DECISIVE_VERSIONS}
    return tuple(sorted((key, repr(value)) for key, value in {**run.settings, **versions}.items()))


def varied(runs: Sequence[Run]) -> list[dict[str, object]]:
    """For each group's first run, the settings that tell it from the other groups.

    First what was typed (`schedule=cosine`) as far as it differs; then, until all groups differ,
    what divides them further, options before settings. A setting that follows from those before it
    (the learning rate of a preset that nobody typed) is left out.
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
            # A version is said where it is needed alone: nobody chose it. So are contents.
            needed = not key.startswith((_VERSION, _CONTENT)) or classes.count(number) > 1
            if needed and each.get(key) is not None:
                own[key] = each[key]
        classes = finer
    return chosen


def label(settings: Mapping[str, object]) -> str:
    """`schedule=cosine weighting=phi`; a preset by its name alone: `chord_mu steps=60`."""
    texts = [
        value_text(value) if key == "experiment" else f"{key}={value_text(value)}"
        for key, value in settings.items()
    ]
    return " ".join(texts) or DEFAULTS


def value_text(value: object) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def of_one_group(run: Run) -> dict[str, object]:
    """What names a group that is alone: its preset, else its schedule and weighting."""
    names = ("experiment",) if "experiment" in run.choices else ("schedule", "weighting")
    return {name: run.choices[name] for name in names if name in run.choices}


def values_of(run: Run) -> dict[str, object]:
    """Options first, then settings, short names before long ones; last the versions."""
    settings = dict(sorted(run.settings.items(), key=lambda item: ("." in item[0], item[0])))
    versions = {f"{_VERSION}{name}": run.versions.get(name) for name in DECISIVE_VERSIONS}
    return {
        **run.choices,
        **{k: v for k, v in settings.items() if k not in run.choices},
        **{f"{_CONTENT}{name}": text for name, text in run.contents.items()},
        **versions,
    }


def _typed(runs: Iterable[Run]) -> list[str]:
    """The keys of all overrides, options of groups first, in the order of their appearance."""
    keys = dict.fromkeys(
        override.lstrip("+~").partition("=")[0] for run in runs for override in run.overrides
    )
    return sorted(keys, key=lambda key: (key != "experiment", "." in key))


def _divide(classes: Sequence[int], texts: Sequence[str]) -> list[int]:
    """Classes of those that agree in both."""
    numbers: dict[tuple[int, str], int] = {}
    pairs = zip(classes, texts, strict=True)
    return [numbers.setdefault(pair, len(numbers)) for pair in pairs]
