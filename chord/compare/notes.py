"""Caveats that a reader of a comparison should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from chord.compare.contents import contents_note, unknown_note
from chord.compare.model import Run, RunGroup
from chord.compare.statistics import BOOTSTRAP_FROM

# Settings that decide what a score means: the problems, the verifier, the evaluation.
_MEASURE = ("data", "reward", "evaluation")
_START = ("model",)
# Settings of these groups that only concern training.
_TRAINING = ("evaluation.every", "reward.format_coef", "data.pairing", "data.expert_batch",
             "data.expert_pairs")  # fmt: skip


def notes(groups: Sequence[RunGroup], metrics: Sequence[str], base: str | None) -> list[str]:
    """Return the notes, one sentence each; `base` is the note on differing base scores, if any."""
    runs = [run for group in groups for run in group.runs]
    found = [
        _seeds(runs),
        base,
        _intervals(groups),
        _pairs(groups),
        _lengths(runs),
        _costs(runs),
        _versions(runs),
        contents_note(runs),
        unknown_note(runs),
        _measured(groups),
        _splits(metrics),
        _chosen(groups),
    ]
    return [note for note in found if note is not None]


def _seeds(runs: Sequence[Run]) -> str:
    differing = _differing(runs, _START)
    if differing:
        return (
            f"the base model differs between groups ({', '.join(differing)}); within a group all "
            "seeds share it, so the intervals say nothing about another base"
        )
    return (
        "seeds vary the data order and the sampling; all runs share the base model, so the "
        "intervals say nothing about another base"
    )


def _intervals(groups: Sequence[RunGroup]) -> str | None:
    sizes = {len(group.runs) for group in groups}
    parts = []
    if any(1 < size < BOOTSTRAP_FROM for size in sizes):
        parts.append("Student's t over the seeds")
    if any(size >= BOOTSTRAP_FROM for size in sizes):
        parts.append(f"BCa bootstrap for {BOOTSTRAP_FROM} seeds or more")
    text = f"intervals are 95 %: {'; '.join(parts)}" if parts else None
    if 1 not in sizes:
        return text
    single = "a group with one seed has no interval and allows no conclusion"
    return f"{text}; {single}" if text else single


def _pairs(groups: Sequence[RunGroup]) -> str | None:
    if not any(group.differences for group in groups) and len(groups) < 2:
        return None
    return (
        "differences to the baseline are paired over common seeds (paired t test); p has Holm's "
        "correction over the groups, separately for each metric"
    )


def _lengths(runs: Sequence[Run]) -> str | None:
    lengths = sorted({(run.origin.step if run.origin else 0, run.planned_steps) for run in runs})
    if len(lengths) < 2:
        return None
    own = [f"{before}+{steps}" if before else str(steps) for before, steps in lengths]
    first = "; the first number of a sum counts those of the run that it started from"
    return (
        f"runs have different lengths ({_listed(own)} steps{first * any(b for b, _ in lengths)}); "
        "each is compared at its own end"
    )


def _costs(runs: Sequence[Run]) -> str | None:
    unknown = {
        "tokens": sum(not run.tokens for run in runs),
        "seconds": sum(run.seconds is None for run in runs),
    }
    parts = [f"{what} of {count} of {len(runs)} runs" for what, count in unknown.items() if count]
    if not parts:
        return None
    return (
        f"{' and '.join(parts)} are unknown, because their records have gaps or are missing; the "
        "means are over the other runs"
    )


def _versions(runs: Sequence[Run]) -> str | None:
    names = dict.fromkeys(name for run in runs for name in run.versions)
    mixed = []
    for name in names:
        counts = Counter(run.versions.get(name, "unknown") for run in runs)
        if len(counts) > 1:
            # Only the most common ones: the text that describes a platform is long.
            every = ", ".join(f"{value} ({count})" for value, count in counts.most_common(3))
            mixed.append(f"{name} {every}")
    return f"runs used different versions: {'; '.join(mixed)}" if mixed else None


def _measured(groups: Sequence[RunGroup]) -> str | None:
    found = _differing([group.runs[0] for group in groups], _MEASURE)
    differing = [key for key in found if key not in _TRAINING]
    if not differing:
        return None
    return (
        f"groups differ in their problems or in how they are evaluated ({_listed(differing)}), so "
        "their scores may not be comparable"
    )


def _splits(metrics: Sequence[str]) -> str | None:
    if {name.partition("/")[0] for name in metrics} >= {"test", "val"}:
        return "test and validation scores are in separate columns and never mixed"
    return None


def _chosen(groups: Sequence[RunGroup]) -> str | None:
    if not any(group.best for group in groups):
        return None
    return (
        "the best validation is the highest of several noisy ones and therefore optimistic; "
        "evaluate settings chosen by it once on the test split"
    )


def _differing(runs: Sequence[Run], groups: Iterable[str]) -> list[str]:
    """Settings within the config groups `groups` that are not the same in all runs."""
    keys = dict.fromkeys(
        key for run in runs for key in run.settings if key.partition(".")[0] in groups
    )
    return [key for key in keys if len({repr(run.settings.get(key)) for run in runs}) > 1]


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:6]))
    return shown + (", ..." if len(values) > 6 else "")
