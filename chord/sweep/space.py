"""What a search may vary: ranges and choices, some of them only beside a choice of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, RangeSweep
from hydra.errors import HydraException

from chord.config.search import WHERE, SearchConfig
from chord.errors import ConfigError, first_line

MOST = 1000
"""Values of a range in a search, each of which is checked beforehand."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; equal steps on a logarithm with `log`."""

    low: float
    high: float
    whole: bool = False
    log: bool = False

    def ends(self) -> list[str]:
        """The smallest and the largest, as they are typed."""
        return [typed_number(self.low), typed_number(self.high)]


@dataclass(frozen=True)
class Choice:
    """One of some values, as they are typed."""

    values: tuple[str, ...]

    def ends(self) -> list[str]:
        """All of them."""
        return list(self.values)


Space = dict[str, Range | Choice]
Suggest = Callable[[str, Range | Choice], str]


def typed_number(value: float) -> str:
    """Six digits: enough for any setting, and short enough to be typed again."""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def dimension(text: str, where: str = "") -> Range | Choice | None:
    """What `SETTING=...` lets a search choose from; None if it is one value.

    Raises `ConfigError` for what can't be searched.
    """
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        raise ConfigError(f"{where}{text}: {first_line(error)}") from error
    if override.is_delete():
        raise ConfigError(f"{where}{text}: removes a setting; a search can only vary its value")
    if not override.is_sweep_override():
        return None
    if override.get_key_element() == "seed":
        raise ConfigError(
            f"{where}{text}: a search would pick the luckiest seed; search with one seed, then "
            "compare the best settings on several"
        )
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or low >= high:
            raise ConfigError(f"{where}{text}: must end above where it starts")
        whole = isinstance(low, int) and isinstance(high, int)
        return Range(low, high, whole, "log" in value.tags)
    if isinstance(value, RangeSweep) and count(value) > MOST:
        raise ConfigError(f"{where}{text}: has more than {MOST} values; use interval")
    if override.is_discrete_sweep() and not isinstance(value, Glob):
        return Choice(tuple(override.sweep_string_iterator()))
    raise ConfigError(f"{where}{text}: can't be searched; use interval, choice or range")


def count(values: object) -> float:
    """How many values a sweep has, which are not unrolled for it."""
    if isinstance(values, RangeSweep):
        span = float(values.stop or 0) - float(values.start or 0)
        step = float(values.step)
        if step == 0:
            raise ConfigError(f"range({values.start},{values.stop},0): must have a step above 0")
        return max(0.0, span / step)
    return float(len(values.list)) if isinstance(values, ChoiceSweep) else 1.0


def read_settings(
    typed: Sequence[str], settings: SearchConfig
) -> tuple[list[str], Space, dict[str, Space]]:
    """What every trial has, what is searched, and what is searched beside a choice.

    What is typed goes first: a value takes a setting out of the search, a range puts it in.
    """
    given = [word.lstrip("+").partition("=")[0] for word in typed]
    texts = [(f"{n}={v}", f"{WHERE}.params.") for n, v in settings.params.items() if n not in given]
    fixed: list[str] = []
    space: Space = {}
    for text, where in (*texts, *((word, "") for word in typed)):
        found = dimension(text, where)
        if found is None:
            fixed.append(text)
        else:
            space[text.lstrip("+").partition("=")[0]] = found
    conditional: dict[str, Space] = {}
    for condition, params in settings.conditional.items():
        more = beside(condition, params, settings.params)
        name, _, value = condition.partition("=")
        chosen = space.get(name)
        if (isinstance(chosen, Choice) and value in chosen.values) or condition in fixed:
            conditional[condition] = {n: d for n, d in more.items() if n not in given}
        elif name not in given:
            # Nobody has typed something else: the file itself can never choose it.
            varied = f"is one of {', '.join(chosen.ends())}" if chosen else "is not in params"
            raise ConfigError(f"{WHERE}.conditional.{condition}: never applies; {name} {varied}")
    refuse_other_choices(conditional)
    return fixed, space, conditional


def refuse_other_choices(conditional: Mapping[str, Space]) -> None:
    """Raise `ConfigError` where a setting is varied in two ways beside two choices.

    A study knows one way for each setting: the same choices, or ranges of one kind.
    """
    first: dict[str, tuple[str, Range | Choice]] = {}
    for condition, more in conditional.items():
        for name, found in more.items():
            other, known = first.setdefault(name, (condition, found))
            if _kind(known) != _kind(found):
                raise ConfigError(
                    f"{WHERE}.conditional.{condition}: {name} is not varied in the same way as "
                    f"with {other}; give both the same choices, or ranges of the same kind"
                )


def _kind(found: Range | Choice) -> object:
    return found if isinstance(found, Choice) else (found.whole, found.log)


def beside(condition: str, params: object, always: Mapping[str, object]) -> Space:
    """What a search varies where `condition` holds; raises `ConfigError` for what it can't."""
    where = f"{WHERE}.conditional.{condition}"
    if not isinstance(params, Mapping):
        raise ConfigError(f"{where}={params}: must be settings, each with what it is chosen from")
    found: Space = {}
    for name, text in params.items():
        wanted = dimension(f"{name}={text}", f"{where}: ")
        if wanted is None:
            raise ConfigError(f"{where}: {name}={text}: must be an interval, choice or range")
        if name in always:
            raise ConfigError(f"{where}: {name}={text}: is already varied by {WHERE}.params")
        found[name] = wanted
    return found


def may_choose(name: str, value: str, space: Space, conditional: Mapping[str, Space]) -> bool:
    """Whether a search varies a setting, and the value is one of its choices or a number."""
    dimensions = [some[name] for some in (space, *conditional.values()) if name in some]
    number = re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", value) is not None
    return any(number if isinstance(d, Range) else value in d.values for d in dimensions)


def choose(space: Space, conditional: Mapping[str, Space], suggest: Suggest) -> dict[str, str]:
    """A value for each setting of the space, and for those beside what was chosen."""
    chosen = {name: suggest(name, found) for name, found in space.items()}
    for condition, more in conditional.items():
        name, _, value = condition.partition("=")
        if chosen.get(name, value) == value:
            chosen |= {name: suggest(name, found) for name, found in more.items()}
    return chosen


def corners(space: Space, conditional: Mapping[str, Space]) -> list[dict[str, str]]:
    """Choices in which every value of a choice and both ends of a range occur, few of them."""
    wanted: list[dict[str, str]] = [{}]
    for name, found in space.items():
        wanted += [{name: end} for end in found.ends()[1:]]
    for condition, more in conditional.items():
        name, _, value = condition.partition("=")
        wanted += [{name: value, other: end} for other, d in more.items() for end in d.ends()]
    return [
        choose(space, conditional, lambda n, d, want=want: want.get(n, d.ends()[0]))  # type: ignore[misc]
        for want in wanted
    ]
