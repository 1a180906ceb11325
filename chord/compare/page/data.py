"""A comparison as JSON values, for the scripts of the page.

Every number is finite or null. Names chosen by users occur only as values, never as keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chord.compare.labels import Key, group_key
from chord.compare.model import Comparison, Difference, Run, RunGroup
from chord.compare.page.answers import sample_answers
from chord.compare.page.curves import pack
from chord.compare.page.text import cut, shown
from chord.evaluation.statistics import Estimate
from chord.run.files import FINISHED

HIGHER = re.compile(r"accuracy|reward|score|retained|balance|mean\d")
LOWER = re.compile(r"loss|nll|no_eos|all_wrong|perplexity")
ABSENT = "–"


def content(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page shows."""
    groups = comparison.groups
    metrics = list(comparison.metrics)
    best = _union(group.best for group in groups)
    labels = [group.label for group in groups]
    unfinished: dict[Key | None, list[Run]] = {}
    for run in comparison.unfinished:
        unfinished.setdefault(group_key(run), []).append(run)
    return {
        "title": comparison.title,
        "notes": list(comparison.notes),
        "leftOut": _by_reason(comparison),
        "metrics": [_metric(name) for name in metrics],
        "bestMetrics": [_metric(name) for name in best],
        "base": [_number(comparison.base.get(name)) for name in metrics],
        "baseline": labels.index(comparison.baseline) if comparison.baseline in labels else None,
        "options": _options(groups),
        "groups": [
            _group(group, unfinished.pop(key, []), metrics, best)
            for group, key in zip(groups, map(_key, groups), strict=True)
        ],
        "strays": [
            _run(run, metrics, counted=False) for runs in unfinished.values() for run in runs
        ],
        "settings": _settings(groups),
        "decisive": sorted({name for key in map(_key, groups) for name, _ in key or ()}),
        "versions": _versions(groups),
        "curves": pack(groups),
        **sample_answers(groups),
    }


def _metric(name: str) -> dict[str, Any]:
    better = 1 if HIGHER.search(name) else -1 if LOWER.search(name) else 0
    return {"name": name, "better": better}


def _key(group: RunGroup) -> Key | None:
    return group_key(group.runs[0]) if group.runs else None


def _group(
    group: RunGroup, unfinished: Sequence[Run], metrics: Sequence[str], best: Sequence[str]
) -> dict[str, Any]:
    """Also lists unfinished runs with the same settings, which count towards no number."""
    runs = [_run(run, metrics, counted=run.status == FINISHED) for run in group.runs]
    return {
        "label": group.label,
        "final": [_estimate(group.final.get(name)) for name in metrics],
        "best": [_estimate(group.best.get(name)) for name in best],
        "differences": [_difference(group.differences.get(name)) for name in metrics],
        "seconds": _estimate(group.seconds),
        "tokens": [[name, _number(count)] for name, count in group.tokens.items()],
        "missing": [int(seed) for seed in group.missing],
        "runs": runs + [_run(run, metrics, counted=False) for run in unfinished],
    }


def _run(run: Run, metrics: Sequence[str], *, counted: bool) -> dict[str, Any]:
    return {
        "counted": counted,
        "name": run.name,
        "path": run.path,
        "seed": int(run.seed),
        "status": run.status,
        "steps": [int(run.steps), int(run.planned_steps)],
        "bestStep": None if run.best_step is None else int(run.best_step),
        "seconds": _number(run.seconds),
        "error": None if run.error is None else cut(run.error),
        "final": [_number(run.final.get(name)) for name in metrics],
    }


def _options(groups: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Options that distinguish groups: the varied ones, then other choices that differ.

    `strategy`: whether it is the option of a config group, which may have settings of its own.
    """
    leading = [_leading(group) for group in groups]
    rows: list[dict[str, object]] = [
        {**(run.choices if run else {}), **group.varied}
        for run, group in zip(leading, groups, strict=True)
    ]
    names = _union([*(group.varied for group in groups), *rows])
    choices = {name for run in leading if run for name in run.choices} - {"experiment"}
    table = [
        {**_column(name, [row.get(name, ABSENT) for row in rows]), "strategy": name in choices}
        for name in names
    ]
    return [column for column in table if len(column["values"]) > 1]


def _settings(groups: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Options, settings and versions that are not the same in all groups."""
    rows: list[dict[str, object]] = []
    names: dict[str, None] = {}
    for run in map(_leading, groups):
        versions = run.versions if run else {}
        rows.append({**run.settings, **run.choices} if run else {})
        rows[-1] |= {f"version of {name}": version for name, version in versions.items()}
        names |= dict.fromkeys(run.choices if run else ())
    names |= dict.fromkeys(_union(rows))
    table = [_column(name, [row.get(name, ABSENT) for row in rows]) for name in names]
    return [column for column in table if len(column["values"]) > 1]


def _column(name: str, cells: Sequence[object]) -> dict[str, Any]:
    """A setting's distinct values, in order, and the index of each group's value."""
    texts = [shown(cell) for cell in cells]
    values = list(dict.fromkeys(texts))
    numbers = [cell for cell in cells if isinstance(cell, int | float)]
    if len(numbers) == len(cells):
        values = sorted(values, key=lambda text: numbers[texts.index(text)])
    index = {text: number for number, text in enumerate(values)}
    return {"name": name, "values": values, "of": [index[text] for text in texts]}


def _versions(groups: Sequence[RunGroup]) -> list[list[str]]:
    """Versions that all runs agree on."""
    runs = [run.versions.items() for group in groups for run in group.runs]
    first = runs[0] if runs else ()
    return [[name, value] for name, value in first if all((name, value) in run for run in runs)]


def _leading(group: RunGroup) -> Run | None:
    finished = [run for run in group.runs if run.status == FINISHED]
    return next(iter([*finished, *group.runs]), None)


def _by_reason(comparison: Comparison) -> list[dict[str, Any]]:
    reasons: dict[str, list[str]] = {}
    for item in comparison.left_out:
        reasons.setdefault(cut(item.reason), []).append(cut(item.what))
    return [{"reason": reason, "what": what} for reason, what in reasons.items()]


def _estimate(estimate: Estimate | None) -> list[Any] | None:
    if estimate is None or not math.isfinite(estimate.mean):
        return None
    numbers = [_number(value) for value in (estimate.mean, estimate.low, estimate.high)]
    return [*numbers, int(estimate.n)]


def _difference(difference: Difference | None) -> list[Any] | None:
    estimate = _estimate(difference.estimate) if difference else None
    if difference is None or estimate is None:
        return None
    return [*estimate, _number(difference.p), _number(difference.p_holm)]


def _number(value: float | None) -> float | None:
    """Round to seven digits, which is more than the page shows."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.7g}")


def _union(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
