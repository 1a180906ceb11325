"""Finds groups that form a map of schedule by weighting because they differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from chord.compare.labels import group_key, label, values_of
from chord.compare.model import RunGroup

AXES = ("schedule", "weighting")
MOST = 6  # at most this many maps, one per value of a further setting

Row = Mapping[str, str]


@dataclass(frozen=True)
class Map:
    """Groups by schedule and weighting.

    `title` is the value of a further setting that they share (`steps=60`), or empty. `schedules`
    and `weightings` are in the order of the groups.
    """

    title: str
    cells: Mapping[tuple[str, str], RunGroup]

    @property
    def schedules(self) -> list[str]:
        """The schedules, one per row."""
        return list(dict.fromkeys(schedule for schedule, _ in self.cells))

    @property
    def weightings(self) -> list[str]:
        """The weightings, one per column."""
        return list(dict.fromkeys(weighting for _, weighting in self.cells))

    @property
    def is_crossed(self) -> bool:
        """Whether at least half of the cells have a group and two schedules share two weightings.

        Otherwise schedule and weighting vary together, and a map could not separate their effects.
        """
        sets = [{w for s, w in self.cells if s == schedule} for schedule in self.schedules]
        shared = any(len(one & other) > 1 for one, other in combinations(sets, 2))
        return shared and 2 * len(self.cells) >= len(sets) * len(self.weightings)


def find_maps(groups: Sequence[RunGroup]) -> tuple[list[Map], str | None]:
    """Return the maps, and a note on what they leave out or why there are none.

    There is one map if the groups differ only in schedule and weighting. If a further setting
    determines all other differences, there is one map per value of that setting. If the groups do
    not vary both schedule and weighting, there is neither a map nor a note.
    """
    if any(len({_pair(group)[axis] for group in groups}) < 2 for axis in (0, 1)):
        return [], None
    rows = [_row(group) for group in groups]
    decisive = dict.fromkeys(name for group in groups for name, _ in group_key(group.runs[0]))
    # Settings that are not determined by schedule or weighting.
    differing = [name for name in decisive if not _follows(rows, name, _axes_of(name))]
    if not differing:
        found = [Map("", {_pair(group): group for group in groups})]
        if not found[0].is_crossed:
            return [], "not drawn: too few pairs of schedule and weighting have a run"
        return found, None
    typed = list(dict.fromkeys(name for group in groups for name in group.varied))
    names = sorted(differing, key=lambda name: typed.index(name) if name in typed else len(typed))
    more = f" and {len(names) - 3} more" if names[3:] else ""
    nothing = f"not drawn: groups also differ in {', '.join(names[:3])}{more}"
    further = _further(rows, differing, [*typed, *names])
    if further is None:
        return [], nothing
    found = [each for each in _split(groups, further) if each.is_crossed]
    if not found:
        return [], nothing
    if len(found) > MOST:
        return found[:MOST], f"the first {MOST} of {len(found)} values of {further}"
    without = len(groups) - sum(len(each.cells) for each in found)
    note = f"{without} of {len(groups)} groups are in no map: too few share their {further}"
    return found, note if without else None


def _pair(group: RunGroup) -> tuple[str, str]:
    choices = group.runs[0].choices
    return choices.get(AXES[0], "-"), choices.get(AXES[1], "-")


def _row(group: RunGroup) -> Row:
    """All values that may distinguish the group, as text; schedule and weighting as options."""
    run = group.runs[0]
    known = {name: repr(value) for name, value in values_of(run).items()}
    return {**known, **dict(group_key(run)), **dict(zip(AXES, _pair(group), strict=True))}


def _axes_of(name: str) -> list[str]:
    """The axis that a setting belongs to: `schedule.peak` may differ between schedules."""
    return [axis for axis in AXES if axis == name.partition(".")[0]]


def _follows(rows: Sequence[Row], name: str, given: Sequence[str]) -> bool:
    """Whether rows that agree in all settings of `given` also agree in `name`."""
    seen: dict[tuple[str | None, ...], str | None] = {}
    return all(
        seen.setdefault(tuple(row.get(each) for each in given), row.get(name)) == row.get(name)
        for row in rows
    )


def _further(rows: Sequence[Row], differing: Sequence[str], names: Sequence[str]) -> str | None:
    """The setting that determines all differing ones; of several, that with the fewest values."""
    counts = {
        name: len({row.get(name) for row in rows})
        for name in dict.fromkeys(names)
        if name not in AXES
        and all(_follows(rows, other, [name, *_axes_of(other)]) for other in differing)
    }
    return min(counts, key=lambda name: counts[name], default=None)


def _split(groups: Sequence[RunGroup], name: str) -> list[Map]:
    parts: dict[str, dict[tuple[str, str], RunGroup]] = {}
    for group in groups:
        title = label({name: values_of(group.runs[0]).get(name)})
        parts.setdefault(title, {})[_pair(group)] = group
    return [Map(title, cells) for title, cells in parts.items()]
