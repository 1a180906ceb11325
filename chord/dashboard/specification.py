"""The specification of a dashboard: a JSON document whose format docs/dashboard.md describes.

It holds only plain values and needs neither an account nor W&B's packages.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chord.config import plugins
from chord.config.location import CONF_DIR
from chord.config.registry import SCHEMAS, SECOND
from chord.config.root import TrainConfig
from chord.dashboard.sections import COLUMNS, SECTIONS, Chart
from chord.errors import ConfigError, suggest

VERSION = 1
STEP = "step"
OPTIONS = "config.run.options"  # a run's configuration in W&B lists the option of each group here
_SPLIT = ("schedule", "weighting")
_NAME = re.compile(r"[\w.-]+", re.ASCII)

Spec = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PanelRequest:
    """The dashboard requested on the command line.

    Raises a one-line ConfigError for an invalid address, option or setting.
    """

    address: str
    sweep: str | None = None
    schedules: Sequence[str] = ()
    weightings: Sequence[str] = ()
    by: Sequence[str] = ()

    def __post_init__(self) -> None:
        parts = self.address.split("/")
        if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts):
            raise ConfigError(f"{self.address}: must be entity/project")
        if self.sweep is not None and not self.sweep.strip():
            raise ConfigError("--sweep: must name a sweep or group")
        plugins.load()
        for group, names in (("schedule", self.schedules), ("weighting", self.weightings)):
            known = options(group)
            for name in names:
                if name not in known:
                    raise ConfigError(f"--{group} {name}: no such option{suggest(name, known)}")
        for name in self.by:
            _setting(name)

    @property
    def entity(self) -> str:
        return self.address.split("/")[0]

    @property
    def project(self) -> str:
        return self.address.split("/")[1]


def options(group: str) -> list[str]:
    """Return the options of a group, including those of plugins."""
    places = [CONF_DIR, *itertools.chain.from_iterable(plugins.folders().values())]
    return sorted({path.stem for place in places for path in (place / group).glob("*.yaml")})


def specification(request: PanelRequest) -> Spec:
    """Return the specification of the requested dashboard."""
    return {
        "version": VERSION,
        "entity": request.entity,
        "project": request.project,
        "title": _title(request),
        "text": "Each line is the mean over the runs of a group, which differ by the seed, with "
        "their standard deviation as a band. The x-axis counts train steps.",
        "run_sets": _run_sets(request),
        "group_by": _group_by(request),
        "columns": list(COLUMNS),
        "sections": [
            {
                "name": section.name,
                "text": section.text,
                "charts": [_chart(chart) for chart in section.charts],
            }
            for section in SECTIONS
        ],
    }


def _title(request: PanelRequest) -> str:
    """W&B accepts neither symbols such as = nor more than 128 characters."""
    text = f"chord {request.sweep or ''}"
    plain = "".join(" " if unicodedata.category(sign)[0] in "SC" else sign for sign in text)
    return " ".join(plain.split())[:128]


def _run_sets(request: PanelRequest) -> list[Spec]:
    """One run set for each combination of the requested schedules and weightings."""
    sweep = [{"keys": ["group", "sweep"], "in": [request.sweep]}] if request.sweep else []
    named = (request.schedules, request.weightings)
    cuts = [
        [(group, name) for name in dict.fromkeys(names)]
        for group, names in zip(_SPLIT, named, strict=True)
        if names
    ]
    return [
        {
            "name": " ".join(f"{group}={name}" for group, name in cut) or "all runs",
            "where": [
                *sweep,
                *({"keys": [f"{OPTIONS}.{group}"], "in": [name]} for group, name in cut),
            ],
        }
        for cut in itertools.product(*cuts)
    ]


def _group_by(request: PanelRequest) -> list[str]:
    """The keys to group by, so that the runs of a group should differ only by the seed."""
    sweep = [] if request.sweep else ["group"]
    named = [f"{OPTIONS}.{group}" for group in _SPLIT]
    return list(dict.fromkeys([*sweep, *named, *map(_setting, request.by)]))


def _setting(name: str) -> str:
    """W&B's key for an argument of `--by`: a group's option or a setting of the configuration."""
    if name in (*SCHEMAS, "experiment"):
        return f"{OPTIONS}.{name}"
    if name in SECOND:
        return f"{OPTIONS}.{SECOND[name]}@{name}"
    head, *rest = name.split(".")
    settings = {field.name for field in dataclasses.fields(TrainConfig)}
    if name == "seed":
        raise ConfigError("--by seed: the runs of a group differ by the seed")
    if head not in settings or (rest and not _has(head, rest[0])):
        raise ConfigError(f"--by {name}: no such group or setting")
    return f"config.{name}"


def _has(group: str, setting: str) -> bool:
    """Whether any strategy of a group has this setting."""
    return any(
        setting in {field.name for field in dataclasses.fields(schema)}
        for schema in SCHEMAS.get(SECOND.get(group, group), {}).values()
    )


def _chart(chart: Chart) -> Spec:
    return {
        "kind": chart.kind,
        "title": chart.title,
        "x": STEP,
        "metrics": list(chart.metrics),
        "range": [chart.low, chart.high],
        "smoothing": chart.smoothing,
    }
