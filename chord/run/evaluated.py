"""What `chord.evaluate` has found of a run, in its directory `evaluations/`.

An evaluation is a JSON file with its settings and scores, and a JSON lines file with the responses.
Their name has a digest of the settings, so that only one with the same settings replaces it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chord import __version__
from chord.io.writing import json_file, write_atomically
from chord.run.files import read_status
from chord.run.identity.contents import content_of

if TYPE_CHECKING:
    from chord.config.root import EvaluateConfig
    from chord.evaluation.report import Report

EVALUATED = "evaluations"
FORMAT = 1


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a run's model and of its base, and what it was of."""

    config: EvaluateConfig
    checkpoint: Path | None
    step: int
    base: Report
    trained: Report

    def settings(self) -> dict[str, Any]:
        """What decides the scores, other than the run itself."""
        amounts = asdict(self.config.evaluation)
        for name in ("every", "test"):  # of evaluations during training
            del amounts[name]
        problems = self.config.problems
        return {
            "split": self.config.split,
            "step": self.step,
            "problems": problems,
            "problems_content": None if problems is None else content_of(problems),
            "samples": self.config.samples,
            "temperature": self.config.temperature,
            "threads": self.config.threads,
            "evaluation": amounts,
        }

    def name(self) -> str:
        """The stem of the files' names: split, train steps, and a digest of the settings."""
        settings = orjson.dumps(self.settings(), option=orjson.OPT_SORT_KEYS, default=asdict)
        return f"{self.config.split}-{self.step}-{hashlib.sha256(settings).hexdigest()[:8]}"

    def save(self, run: Path, gained: Sequence[float]) -> Path:
        """Write both files, the scores last; returns that of the scores. Raises OSError."""
        # It imports scipy, which takes a second.
        from chord.evaluation.statistics import t_interval

        directory = run / EVALUATED
        os.makedirs(directory, exist_ok=True)
        path = directory / f"{self.name()}.json"
        gain = t_interval(gained) if gained else None
        facts = {
            "format": FORMAT,
            "chord": __version__,
            "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
            "fingerprint": read_status(run).get("fingerprint"),
            "checkpoint": None if self.checkpoint is None else self.checkpoint.name,
            **self.settings(),
            "base": _finite_ones(self.base.metrics),
            "trained": _finite_ones(self.trained.metrics),
            "gain": gain,
        }
        write_atomically(path.with_suffix(".jsonl"), b"".join(self._responses()))
        write_atomically(path, json_file(facts, default=asdict))
        return path

    def _responses(self) -> list[bytes]:
        rows = []
        for before, after in zip(self.base.answers, self.trained.answers, strict=True):
            row = {
                "key": before.problem.key,
                "problem": before.problem.prompt,
                "answer": before.problem.answer,
                "base": before.text,
                "base_score": _finite(before.score),
                "base_finished": not before.cut_off,
                "base_tokens": len(before.entropies),
                "trained": after.text,
                "trained_score": _finite(after.score),
                "trained_finished": not after.cut_off,
                "trained_tokens": len(after.entropies),
            }
            rows.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return rows


def _finite_ones(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in metrics.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
