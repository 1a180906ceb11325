"""What `chord.evaluate` has found of a run, in its directory `evaluations/`.

An evaluation is a JSON file with its settings and scores, and a JSON lines file with the responses.
Their name has a digest of the settings, so that only one with the same settings replaces it.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chord import __version__
from chord.evaluation.settings import PARTS
from chord.io.contents import mark
from chord.io.reading import read_json
from chord.io.writing import json_file, write_atomically
from chord.run.files import read_status
from chord.run.identity.contents import content_of
from chord.run.recorder import plain
from chord.run.trained import model_file

if TYPE_CHECKING:
    from chord.config.root import EvaluateConfig
    from chord.data.base import Data
    from chord.data.batch import Problem
    from chord.evaluation.report import Report, ScoredAnswer
    from chord.evaluation.settings import Evaluation
    from chord.evaluation.statistics import Estimate

EVALUATED = "evaluations"
FORMAT = 1


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a run's model and of its base, and what it was of.

    `reward`: see `reward_of`. `asked`: the digest of its problems. `checkpoint`:
    the file of the one that was chosen. Of a model that belongs to no run it is the `base`, and
    `model` its file, directory or id.
    """

    config: EvaluateConfig
    reward: Mapping[str, Any]
    asked: str
    checkpoint: Path | None
    step: int
    base: Report
    trained: Report | None
    model: str | None = None

    @property
    def reports(self) -> dict[str, Report]:
        """The reports by the names of the models."""
        return {"base": self.base} | ({} if self.trained is None else {"trained": self.trained})

    def settings(self) -> dict[str, Any]:
        """What decides the scores, other than the run itself."""
        amounts = asdict(self.config.evaluation)
        for name in ("every", "test"):  # of evaluations during training
            del amounts[name]
        problems = self.config.problems
        # In a run, one evaluation replaces that of the model that the run had before.
        model = {} if self.model is None else {"model": content_of(self.model)}
        return model | {
            "split": self.config.split,
            "which": self.config.checkpoint,
            "step": self.step,
            "problems": problems,
            "problems_content": None if problems is None else content_of(problems),
            "asked": self.asked,
            "reward": self.reward,
            "samples": self.config.samples,
            "temperature": self.config.temperature,
            "threads": self.config.threads,
            "evaluation": amounts,
        }

    def name(self) -> str:
        """The stem of the files' names: what was asked, train steps, and a digest of the settings.

        What was asked is the split, or the file of problems.
        """
        settings = orjson.dumps(self.settings(), option=orjson.OPT_SORT_KEYS, default=str)
        file = Path(self.config.problems or self.config.split).name.partition(".")[0]
        what = re.sub(r"[^\w]+", "_", file) or "problems"
        return f"{what}-{self.step}-{hashlib.sha256(settings).hexdigest()[:8]}"

    def save(
        self, run: Path | None, gained: Sequence[float], to: Path | None = None
    ) -> tuple[Path, bool]:
        """Write both files, the scores last, into `run` or the directory `to`. Raises OSError.

        Returns the file of the scores, and whether it has replaced one.
        """
        # It imports scipy, which takes a second.
        from chord.evaluation.statistics import t_interval

        directory = to
        if directory is None:
            assert run is not None, "a model without a run is saved in a directory that was given"
            directory = run / EVALUATED
        os.makedirs(directory, exist_ok=True)
        path = directory / f"{self.name()}.json"
        model = self.checkpoint if run is None or self.checkpoint is not None else model_file(run)
        facts = {
            "format": FORMAT,
            "chord": __version__,
            "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
            "fingerprint": None if run is None else read_status(run).get("fingerprint"),
            "checkpoint": None if self.checkpoint is None else self.checkpoint.name,
            "model": content_of(str(model)),
            **self.settings(),
            **{name: plain(report.metrics) for name, report in self.reports.items()},
            "intervals": {name: _intervals(report) for name, report in self.reports.items()},
            "gain": t_interval(gained) if gained else None,
        }
        replaced = path.exists()
        write_atomically(path.with_suffix(".jsonl"), b"".join(self._responses()))
        write_atomically(path, json_file(facts, default=_plain))
        return path, replaced

    def _responses(self) -> Iterator[bytes]:
        models = self.reports
        for number, asked in enumerate(self.base.answers):
            problem = asked.problem
            row: dict[str, Any] = {
                "key": problem.key,
                "problem": problem.prompt,
                "answer": problem.answer,
            }
            for name, report in models.items():
                answer = report.answers[number]
                row |= {
                    name: answer.text,
                    f"{name}_score": plain(answer.score),
                    f"{name}_finished": not answer.cut_off,
                    f"{name}_tokens": len(answer.entropies),
                }
            for name, report in models.items():
                row[f"{name}_samples"] = [
                    {"text": each.text, "score": plain(each.score), "finished": not each.cut_off}
                    for each in _samples_of(report, number)
                ]
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def reward_of(run: Path) -> dict[str, Any]:
    """The reward of a run: its option, its settings, and the hashes of its modules."""
    facts = read_json(run / "run.json")
    modules = {
        name: mark(content)
        for name, content in facts.get("contents", {}).items()
        if name.startswith("reward.")
    }
    option = facts.get("schemas", {}).get("reward")
    return {"option": option, **facts["config"]["reward"], "modules": modules}


def digest_of_asked(data: Data, evaluation: Evaluation, split: str) -> str:
    """The SHA-256 of all that an evaluation on `val` or `test` asks, in order, with the answers."""
    part, found = PARTS[split], hashlib.sha256()
    most = getattr(evaluation, f"{split}_retained")
    target = data.held_out(part)[: getattr(evaluation, f"{split}_problems")]
    kept = [(name, every[:most]) for name, every in data.retained(part).items()]
    kept += [(skill.name, skill.problems[part][:most]) for skill in data.skills]
    for name, problems in [("", target), *kept]:
        for problem in problems:
            found.update(_line(name, *_facts(problem)))
    for pair in data.held_out_pairs(part)[: evaluation.pairs]:
        found.update(_line("", *_facts(pair.problem), pair.response, list(map(str, pair.turns))))
    return found.hexdigest()


def _facts(problem: Problem) -> tuple[object, ...]:
    return problem.prompt, problem.answer, list(problem.others), list(map(str, problem.turns))


def _line(*values: object) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)


def _samples_of(report: Report, number: int) -> Sequence[ScoredAnswer]:
    """The sampled responses to a problem, which are adjacent; none without right answers."""
    each = len(report.sampled) // len(report.answers)
    return report.sampled[number * each : (number + 1) * each]


def _intervals(report: Report) -> dict[str, Estimate]:
    """95 % intervals over the problems: of the greedy accuracy, and of the mean of the samples."""
    # It imports scipy, which takes a second.
    from chord.evaluation.statistics import t_interval

    greedy = [each.score for each in report.answers if math.isfinite(each.score)]
    means = []
    for number in range(len(report.answers)):
        scores = [each.score for each in _samples_of(report, number)]
        if scores:
            means.append(sum(scores) / len(scores))
    values = {"target_accuracy": greedy, "rl_reward": means}
    return {name: t_interval(each) for name, each in values.items() if each}


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
