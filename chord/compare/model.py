"""What a comparison is made of: plain data, wherever the runs come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chord.evaluation.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric over train steps: `steps` rise, `values` have their length."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class ShownAnswer:
    """What a model answered to a held-out problem, greedily."""

    problem: str
    expert: str
    text: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as it lies on disk or in W&B.

    `settings`: the resolved configuration, flat (`schedule.peak`: 0.9), without the seed and what
    can't change a number (tracking, threads, where it is written). `choices`: the option of each
    group (`schedule`: `cosine`). `final`: metrics of the trained model after the last step
    (`test/target_accuracy`), `base` those of the model it started from, `best` those of the
    validation that was best by val/balance_at_0.5, with its step. `curves`: metrics of train steps
    and of validations. `tokens`: trained on, by branch; empty where their
    record has gaps, as `seconds` is None then. `error`: why it failed. `overrides`: what was typed
    after the command, where that is known. `contents`: what the files that the settings name held,
    by setting, as a short hash; None where that is not on record for all of the run.
    """

    path: str
    name: str
    seed: int
    status: str
    steps: int
    planned_steps: int
    settings: Mapping[str, object]
    choices: Mapping[str, str]
    versions: Mapping[str, str]
    final: Mapping[str, float]
    base: Mapping[str, float]
    best: Mapping[str, float]
    best_step: int | None
    curves: Mapping[str, Curve]
    answers: Sequence[ShownAnswer] = ()
    base_answers: Sequence[ShownAnswer] = ()
    seconds: float | None = None
    tokens: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    overrides: Sequence[str] = ()
    contents: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Group minus baseline over the seeds that both have: interval, p and Holm's p."""

    estimate: Estimate
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs that differ by nothing but the seed.

    `label`: what tells the group from the others (`schedule=cosine weighting=phi`); `varied`: the
    same as a mapping. `missing`: seeds that other groups have and this one lacks.
    """

    label: str
    varied: Mapping[str, object]
    runs: Sequence[Run]
    final: Mapping[str, Estimate]
    best: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    seconds: Estimate | None
    tokens: Mapping[str, float]
    missing: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A run, or a metric of one, that is not in the comparison, and why."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups in the order of their first run, and everything that was left out.

    `metrics`: those compared, in order. `baseline`: the label of the group that differences are
    taken against. `base`: the model that all runs started from, where they agree. `notes`: what a
    reader must know, such as that seeds do not vary the base model.
    `unfinished`: runs that were read and are in no group, each with its reason in `left_out`.
    """

    title: str
    metrics: Sequence[str]
    groups: Sequence[RunGroup]
    baseline: str | None
    base: Mapping[str, float]
    left_out: Sequence[LeftOut]
    notes: Sequence[str]
    unfinished: Sequence[Run] = ()
