"""The plain data of a comparison, independent of where the runs come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chord.evaluation.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric over train steps: increasing `steps` and as many `values`."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class ShownAnswer:
    """A model's greedy response to a held-out problem."""

    problem: str
    expert: str
    text: str
    right: bool


@dataclass(frozen=True, kw_only=True)
class StartedFrom:
    """The run that another one started from, by its name, after how many of its train steps.

    `fork`: whether the other one goes on from its checkpoint, rather than begins with its model.
    """

    fork: bool
    name: str
    step: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, read from disk or from W&B.

    Attributes:
        settings: The resolved configuration, flat (`schedule.peak`: 0.9), without the seed and
            without settings that cannot affect the results (tracking, threads, output directory).
        choices: The option of each config group (`schedule`: `cosine`).
        final: Metrics of the trained model after the last step (`test/target_accuracy`).
        base: Metrics of the base model.
        best: Metrics of the best validation by val/balance_at_0.5; `best_step` is its step.
        curves: Metrics of train steps and of validations.
        answers, base_answers: Responses of the trained model and of the base.
        seconds: Total time of all steps; None if the record has gaps.
        tokens: Number of trained tokens by branch; empty if the record has gaps.
        error: Why the run failed.
        overrides: The overrides from the command line, if known.
        source: Hash of the checkpoint that a fork started from.
        origin: The run that it started from, if it did from one.
        contents: Short hash of each file that a setting names, by setting; None if the hash is not
            on record for the whole run.
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
    source: str | None = None
    origin: StartedFrom | None = None
    contents: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Group minus baseline, paired over their common seeds: interval, p, Holm-corrected p."""

    estimate: Estimate
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """Runs that differ only by the seed.

    `label`: the settings that distinguish the group (`schedule=cosine weighting=phi`); `varied`:
    the same as a mapping. `missing`: seeds that other groups have and this one lacks.
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
    """A run, or a part of its data, that is not in the comparison, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups in the order of their first run, and everything that was left out.

    Attributes:
        metrics: Names of the compared metrics, in order.
        baseline: Label of the group that the others are compared with.
        base: Scores of the base model, if all runs agree on them.
        notes: Caveats for the reader, such as that seeds do not vary the base model.
        unfinished: Runs that were read but are in no group; `left_out` has the reasons.
    """

    title: str
    metrics: Sequence[str]
    groups: Sequence[RunGroup]
    baseline: str | None
    base: Mapping[str, float]
    left_out: Sequence[LeftOut]
    notes: Sequence[str]
    unfinished: Sequence[Run] = ()
