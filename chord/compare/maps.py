"""Schedule by weighting: which groups stand in one map, because nothing else tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from chord.compare.labels import group_key, label, values_of
from chord.compare.model import RunGroup

AXES = ("schedule", "weighting")
MOST = 6  # maps of one further setting

Row = Mapping[str, str]


@dataclass(frozen=True)
class Map:
    """Groups by schedule and weighting; `title` is the further setting that they share, or empty.

    `schedules` and `weightings` are in the order of the groups.
    """

    title: str
    cells: Mapping[tuple[str, str], RunGroup]

    @property
    def schedules(self) -> list[str]:
        """The rows."""
        return list(dict.fromkeys(schedule for schedule, _ in self.cells))

    @property
    def weightings(self) -> list[str]:
        """The columns."""
        return list(dict.fromkeys(weighting for _, weighting in self.cells))

    @property
    def is_crossed(self) -> bool:
        """Whether half of the pairs have a group, and two schedules share two weightings.

        Else schedules and weightings vary together, and a map would show neither by itself.
        """
        sets = [{w for s, w in self.cells if s == schedule} for schedule in self.schedules]
        shared = any(len(one & other) > 1 for one, other in combinations(sets, 2))
        return shared and 2 * len(self.cells) >= len(sets) * len(self.weightings)


def find_maps(groups: Sequence[RunGroup]) -> tuple[list[Map], str | None]:
    """The maps, and what is not in them or why there is none.

    One where all that groups differ in is part of schedule and weighting; one for each value of a
    further setting where all that remains follows from that. None, without a word, where the groups
    do not vary both.
    """
    if any(len({_pair(group)[axis] for group in groups}) < 2 for axis in (0, 1)):
        return [], None
    rows = [_row(group) for group in groups]
    decisive = dict.fromkeys(name for group in groups for name, _ in group_key(group.runs[0]))
    # What is no matter of schedule or weighting alone.
    differing = [name for name in decisive if not _follows(rows, name, _axes_of(name))]
    if not differing:
        found = [Map("", {_pair(group): group for group in groups})]
        if not found[0].is_crossed:
            return [], "not drawn: too few pairs of schedule and weighting have a run"
        return found, None
    typed = list(dict.fromkeys(name for group in groups for name in group.varied))
    names = sorted(differing, key=lambda name: typed.index(name) if name in typed else len(typed))
    more = f" and {len(names) - 3} more" if names[3:] else ""
    nothing = f"not drawn: groups differ in {', '.join(names[:3])}{more} too"
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
    """All that the group is told by, as text; of schedule and weighting the option."""
    run = group.runs[0]
    known = {name: repr(value) for name, value in values_of(run).items()}
    return {**known, **dict(group_key(run)), **dict(zip(AXES, _pair(group), strict=True))}


def _axes_of(name: str) -> list[str]:
    """The axis whose option sets it: `schedule.peak` may differ as schedules do."""
    return [axis for axis in AXES if axis == name.partition(".")[0]]


def _follows(rows: Sequence[Row], name: str, given: Sequence[str]) -> bool:
    """Whether a setting is the same wherever all of `given` are."""
    seen: dict[tuple[str | None, ...], str | None] = {}
    return all(
        seen.setdefault(tuple(row.get(each) for each in given), row.get(name)) == row.get(name)
        for row in rows
    )


def _further(rows: Sequence[Row], differing: Sequence[str], names: Sequence[str]) -> str | None:
    """The setting that all differing ones follow from, of several that with the fewest values."""
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
