"""Runs -> groups of runs that differ only by the seed -> a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chord.compare.contents import read_alike
from chord.compare.labels import group_key, labels, of_one_group, value_text, varied
from chord.compare.model import Comparison, LeftOut, Run, RunGroup
from chord.compare.notes import notes
from chord.compare.statistics import differences, mean_interval
from chord.errors import ConfigError
from chord.evaluation.statistics import Estimate
from chord.run.files import FAILED, FINISHED, RUNNING

METRICS = (
    "target_accuracy",
    "target_mean4",
    "retained/mean",
    "retained/min",
    "rl_reward",
    "expert_style",
)
BALANCE = "val/balance_at_0.5"
DEFAULT_BASELINE = "sft_then_rl"


def compare(
    runs: Sequence[Run],
    left_out: Sequence[LeftOut] = (),
    *,
    title: str = "",
    baseline: str | None = None,
    metrics: Sequence[str] = (),
) -> Comparison:
    """Group the runs, estimate their scores, and compare each group with the baseline.

    What cannot be compared is left out, with the reason. `metrics` default to the test scores, and
    to validation scores if any run lacks test scores; the two never share a column. `baseline` is a
    group's label or settings that only one group has (`schedule=cosine`). Raises ConfigError if no
    run is finished, no run has a requested metric, or `baseline` does not match exactly one group.
    """
    usable, unusable = _usable(runs)
    parts, repeated = _parts(usable)
    excluded = [*left_out, *unusable, *repeated]
    if not parts:
        raise ConfigError(_nothing(runs, excluded))
    names = tuple(dict.fromkeys(metrics)) or _default_metrics(usable)
    for name in names:
        if not any(name in run.final for run in usable):
            known = ", ".join(sorted({key for run in usable for key in run.final}))
            raise ConfigError(f"--metric {name}: no finished run has it; available: {known}")
    seeds = sorted({run.seed for part in parts for run in part})
    settings = _names(parts)
    groups = [
        _group(*each, names, seeds)
        for each in zip(parts, labels(parts, settings), settings, strict=True)
    ]
    excluded += _lacking(groups, names)
    chosen = _baseline(groups, baseline)
    base, base_note = _base(usable)
    return Comparison(
        title=title,
        metrics=names,
        groups=_with_differences(groups, chosen, names),
        baseline=chosen,
        base=base,
        left_out=excluded,
        notes=notes(groups, names, base_note),
        unfinished=[run for run in runs if run.status != FINISHED or not run.final],
    )


def _usable(runs: Iterable[Run]) -> tuple[list[Run], list[LeftOut]]:
    usable, left_out = [], []
    for run in runs:
        reason = _unusable(run)
        if reason is None:
            usable.append(run)
        else:
            left_out.append(LeftOut(what=f"{run.path} ({run.name})", reason=reason))
    return usable, left_out


def _unusable(run: Run) -> str | None:
    at = f"after {run.steps} of {run.planned_steps} steps"
    error = " ".join((run.error or "").split())
    if run.status == FAILED:
        return f"failed {at}: {error or 'no error was recorded'}"
    if run.status == RUNNING:
        return f"still running, or killed, {at}"
    if run.status != FINISHED:
        return f"{run.status} {at}" + (f": {error}" if error else "")
    return None if run.final else f"has no evaluation of the trained model {at}"


def _parts(runs: Sequence[Run]) -> tuple[list[list[Run]], list[LeftOut]]:
    """Lists of runs that differ only by the seed, sorted by seed; repetitions are left out."""
    parts: dict[object, dict[int, Run]] = {}
    left_out = []
    alike: dict[object, list[Run]] = {}
    for run in runs:
        alike.setdefault(group_key(run), []).append(run)
    for run in runs:
        key = group_key(run)
        known = parts.setdefault((key, read_alike(run, alike[key])), {})
        if run.seed in known:
            other = known[run.seed]
            reason = f"the same settings and seed as {other.path}"
            if run.source != other.source:
                reason = f"the same seed as {other.path}, a fork of another run of its kind"
            elif (run.final, run.curves) != (other.final, other.curves):
                reason += ", and yet other numbers: one of them was edited, or computed elsewhere"
            left_out.append(LeftOut(what=f"{run.path} ({run.name})", reason=reason))
        else:
            known[run.seed] = run
    return [[part[seed] for seed in sorted(part)] for part in parts.values()], left_out


def _names(parts: Sequence[Sequence[Run]]) -> list[dict[str, object]]:
    if len(parts) == 1:
        return [of_one_group(parts[0][0])]
    return varied([part[0] for part in parts])


def _nothing(runs: Sequence[Run], left_out: Sequence[LeftOut]) -> str:
    first = f"; the first: {left_out[0].what}: {left_out[0].reason}" if left_out else ""
    if not runs:
        return f"no run can be read, so there is nothing to compare{first}"
    return f"none of {len(runs)} runs is finished, so there is nothing to compare{first}"


def _default_metrics(runs: Sequence[Run]) -> tuple[str, ...]:
    """Test scores if any run has them, and validation scores if any run lacks test scores."""
    splits = [
        split
        for split, wanted in (
            ("test", any(_tested(run) for run in runs)),
            ("val", not all(_tested(run) for run in runs)),
        )
        if wanted
    ]
    known = {key for run in runs for key in run.final}
    names = [f"{split}/{name}" for split in splits for name in METRICS]
    names += [
        name for split in splits for name in sorted(known) if name.startswith(f"{split}/source/")
    ]
    return tuple(name for name in names if name in known) or tuple(sorted(known))


def _tested(run: Run) -> bool:
    return any(key.startswith("test/") for key in run.final)


def _group(
    runs: Sequence[Run],
    label: str,
    settings: Mapping[str, object],
    metrics: Sequence[str],
    seeds: list[int],
) -> RunGroup:
    """Also estimate each metric on validation, to compare the best validation with the last."""
    twins = [f"val/{name.partition('/')[2]}" for name in metrics]
    wanted = dict.fromkeys([*metrics, *twins, BALANCE])
    times = [run.seconds for run in runs if run.seconds is not None]
    counted = [run.tokens for run in runs if run.tokens]
    return RunGroup(
        label=label,
        varied=settings,
        runs=runs,
        final=_estimates([run.final for run in runs], wanted),
        best=_estimates([run.best for run in runs], dict.fromkeys([*twins, BALANCE])),
        differences={},
        seconds=mean_interval(times) if times else None,
        tokens={
            branch: sum(tokens.get(branch, 0.0) for tokens in counted) / len(counted)
            for branch in sorted({branch for tokens in counted for branch in tokens})
        },
        missing=[seed for seed in seeds if all(run.seed != seed for run in runs)],
    )


def _estimates(
    scores: Sequence[Mapping[str, float]], metrics: Iterable[str]
) -> dict[str, Estimate]:
    found = {name: [each[name] for each in scores if name in each] for name in metrics}
    return {name: mean_interval(values) for name, values in found.items() if values}


def _lacking(groups: Sequence[RunGroup], metrics: Sequence[str]) -> list[LeftOut]:
    """Scores that runs or groups lack; a group's mean is over those runs that have the score."""
    found = []
    for split in dict.fromkeys(name.partition("/")[0] for name in metrics):
        names = [name for name in metrics if name.partition("/")[0] == split]
        without = [group for group in groups if not any(name in group.final for name in names)]
        if without:
            labels = "; ".join(group.label for group in without[:3])
            more = f"; and {len(without) - 3} more" if without[3:] else ""
            reason = f"their runs have no {split} evaluation after the last step"
            what = f"{split} scores of {len(without)} groups: {labels}{more}"
            found.append(LeftOut(what=what, reason=reason))
        for name in names:
            having = [group for group in groups if group not in without]
            found += [each for group in having for each in _lacking_one(group, name)]
    return found


def _lacking_one(group: RunGroup, name: str) -> list[LeftOut]:
    reason = "missing from the final scores, or not a finite number below 1e30"
    if name not in group.final:
        return [LeftOut(what=f"{name} of {group.label}", reason=reason)]
    return [
        LeftOut(what=f"{name} of {run.path}", reason=reason)
        for run in group.runs
        if name not in run.final
    ]


def _baseline(groups: Sequence[RunGroup], wanted: str | None) -> str | None:
    """The label of the baseline group; None if there is only one group."""
    if wanted is None:
        if len(groups) < 2:
            return None
        preset = [g for g in groups if g.runs[0].choices.get("experiment") == DEFAULT_BASELINE]
        return (preset or list(groups))[0].label
    fitting = [group for group in groups if group.label == wanted]
    fitting = fitting or [group for group in groups if _fits(group, wanted)]
    if len(fitting) == 1:
        return fitting[0].label
    labels = "; ".join(group.label for group in (fitting or groups)[:20])
    if fitting:
        raise ConfigError(f"--baseline {wanted}: matches {len(fitting)} groups: {labels}")
    raise ConfigError(f"--baseline {wanted}: no such group; available: {labels}")


def _fits(group: RunGroup, wanted: str) -> bool:
    """Whether a group has the settings `schedule=cosine steps=60`; a word without = is a preset."""
    first = group.runs[0]
    known = {**first.settings, **first.choices}
    parts = [part if "=" in part else f"experiment={part}" for part in wanted.split()]
    pairs = [part.partition("=")[::2] for part in parts]
    return all(
        key in known and value in (value_text(known[key]), str(known[key])) for key, value in pairs
    )


def _with_differences(
    groups: Sequence[RunGroup], baseline: str | None, metrics: Sequence[str]
) -> list[RunGroup]:
    if baseline is None:
        return list(groups)
    by_metric = {}
    for name in metrics:
        values = {
            group.label: {run.seed: run.final[name] for run in group.runs if name in run.final}
            for group in groups
        }
        by_metric[name] = differences(values, baseline)
    return [
        replace(
            group,
            differences={
                name: found[group.label]
                for name, found in by_metric.items()
                if group.label in found
            },
        )
        for group in groups
    ]


def _base(runs: Sequence[Run]) -> tuple[dict[str, float], str | None]:
    """The scores of the base model if all runs agree on them, otherwise a note."""
    scored = [run.base for run in runs if run.base]
    if not scored:
        return {}, None
    keys = [key for key in scored[0] if all(key in base for base in scored)]
    agreed = {
        key: scored[0][key]
        for key in keys
        if max(base[key] for base in scored) - min(base[key] for base in scored) <= 1e-9
    }
    # `balance` uses the last step's alpha, which belongs to the run and not to the base model.
    if all(key in agreed or key.endswith("/balance") for key in keys):
        return agreed, None
    return {}, (
        "the runs do not start from the same scores: their base models or their evaluations "
        "differ, so a difference between groups may come from the bases"
    )
