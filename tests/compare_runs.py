"""Run directories as training leaves them, without the training; and runs as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from chord.compare.model import Curve, Run
from chord.run.files import FINISHED

VERSIONS = {"python": "3.11.7", "chord-posttraining": "0.1.0", "torch": "2.13.0"}


def config(seed: int, steps: int, **settings: Any) -> dict[str, Any]:
    """A small resolved configuration; `optimizer.lr=.1` sets an entry of a group."""
    whole: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "threads": 1,
        "resume": None,
        "schedule": {"initial": 1.0},
        "weighting": {"normalize": "none"},
        "optimizer": {"lr": 0.001},
        "model": {"path": None},
        "evaluation": {"test": True, "every": 2},
        "tracking": {},
    }
    for key, value in settings.items():
        *groups, name = key.split(".")
        place = whole
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return whole


def write_run(
    path: Path,
    *,
    seed: int = 0,
    steps: int = 4,
    taken: int | None = None,
    accuracy: float = 0.5,
    choices: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    status: Mapping[str, Any] | None = None,
    schemas: Mapping[str, str] | None = None,
) -> Path:
    """A run of `taken` of `steps` train steps; finished, with a test evaluation, if that is all.

    `schemas`: those that are not called as the options in `choices` are.
    """
    taken = steps if taken is None else taken
    path.mkdir(parents=True)
    whole = config(seed, steps, **(settings or {}))
    (path / "config.yaml").write_text(yaml.safe_dump(whole))
    chosen = {"schedule": "cosine", "weighting": "phi", **(choices or {})}
    facts = {
        "name": f"{'-'.join(chosen.values())}-seed{seed}",
        "overrides": list(overrides),
        "options": chosen,
        "schemas": {k: v for k, v in {**chosen, **(schemas or {})}.items() if k != "experiment"},
        "versions": dict(VERSIONS if versions is None else versions),
    }
    (path / "run.json").write_text(json.dumps(facts))
    lines = "".join(f"      {name}: {value}\n" for name, value in chosen.items())
    (path / ".hydra").mkdir()
    (path / ".hydra" / "hydra.yaml").write_text(
        f"hydra:\n  runtime:\n    choices:\n{lines}      hydra/launcher: basic\n  verbose: false\n"
    )
    write_lines(path / "metrics.jsonl", (metrics(step) for step in range(taken)))
    write_lines(path / "timings.jsonl", ({"step": s, "seconds/step": 0.5} for s in range(taken)))
    rows = [evaluation(s, "val", "trained", accuracy * s / steps) for s in range(0, taken + 1, 2)]
    if taken == steps:
        last = "test" if whole["evaluation"]["test"] else "val"
        rows.append(evaluation(0, last, "base", 0.1))
        if last == "test":
            rows.append(evaluation(steps, last, "trained", accuracy))
    write_lines(path / "evaluations.jsonl", rows)
    if status is not None:
        (path / "status.json").write_text(json.dumps(status))
    return path


def metrics(step: int) -> dict[str, Any]:
    """A train step's row."""
    return {"step": step, "alpha": 0.5, "rollout/reward": step / 10, "loss/sft": 1.0,
            "tokens/sft": 10.0, "tokens/rl": 100.0, "weight/mean": 1.0}  # fmt: skip


def evaluation(step: int, split: str, model: str, accuracy: float) -> dict[str, Any]:
    """An evaluation's row: the target rises as the retained skills fall."""
    scores = {"target_accuracy": accuracy, "target_mean4": accuracy / 2, "rl_reward": accuracy / 2,
              "retained/mean": 1 - accuracy / 4, "retained/min": 1 - accuracy / 2,
              "expert_style": accuracy, "balance_at_0.5": accuracy}  # fmt: skip
    named = {f"{split}/{name}": value for name, value in scores.items()}
    return {"step": step, "split": split, "model": model, **named}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A JSON lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_sweep(root: Path, accuracies: Mapping[str, Iterable[float]]) -> Path:
    """A sweep over schedules: for each, one run of seeds 0, 1, ... for each accuracy."""
    jobs = [
        (schedule, seed, accuracy)
        for schedule, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    for job, (schedule, seed, accuracy) in enumerate(jobs):
        write_run(
            root / str(job),
            seed=seed,
            accuracy=accuracy,
            choices={"schedule": schedule},
            overrides=[f"schedule={schedule}", f"seed={seed}"],
        )
    return root


def make_run(
    *,
    seed: int = 0,
    accuracy: float = 0.5,
    status: str = FINISHED,
    choices: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
    **fields: Any,
) -> Run:
    """A run as it was read, of 4 steps."""
    chosen = {"schedule": "cosine", "weighting": "phi", **(choices or {})}
    values: dict[str, Any] = {
        "path": f"runs/{'-'.join(chosen.values())}-{seed}",
        "name": f"{'-'.join(chosen.values())}-seed{seed}",
        "seed": seed,
        "status": status,
        "steps": 4,
        "planned_steps": 4,
        "settings": {**chosen, "steps": 4, "optimizer.lr": 0.001, **(settings or {})},
        "choices": chosen,
        "versions": VERSIONS,
        "final": {
            "test/target_accuracy": accuracy,
            "test/retained/mean": 1 - accuracy / 4,
            "val/target_accuracy": accuracy,
        },
        "base": {"test/target_accuracy": 0.1},
        "best": {"val/target_accuracy": accuracy, "val/balance_at_0.5": accuracy},
        "best_step": 4,
        "curves": {
            "alpha": Curve(steps=[0, 1, 2, 3], values=[0.9, 0.6, 0.3, 0.0]),
            "rollout/reward": Curve(steps=[0, 1, 2, 3], values=[0.1, 0.2, 0.3, accuracy]),
            "val/target_accuracy": Curve(steps=[0, 4], values=[0.1, accuracy]),
            "val/retained/mean": Curve(steps=[0, 4], values=[1.0, 1 - accuracy / 4]),
        },
        "seconds": 2.0,
        "tokens": {"sft": 40.0, "rl": 400.0},
    }
    return Run(**{**values, **fields})


def crossed(
    *further: Mapping[str, object],
    schedules: Iterable[str] = ("linear", "cosine"),
    weightings: Iterable[str] = ("phi", "margin"),
) -> list[Run]:
    """A run of each schedule, weighting and set of further settings, the better the later."""
    every = list(product(schedules, weightings, further or [{}]))
    return [
        make_run(
            accuracy=0.3 + 0.01 * number,
            choices={"schedule": schedule, "weighting": weighting},
            settings=settings,
            overrides=[f"{name}=typed" for name in ("schedule", "weighting", *settings)],
        )
        for number, (schedule, weighting, settings) in enumerate(every)
    ]
