"""Times a few real steps and a small evaluation, and keeps nothing of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lightning.pytorch import seed_everything

from chord.config.consistency import check_training
from chord.data.batch import TokenBatch, collate_pairs
from chord.distributed.collectives import part_of
from chord.evaluation.report import SAMPLES
from chord.evaluation.settings import AMOUNTS, PARTS
from chord.rollout.engines import Engine
from chord.run.build import build_models, check_models, evaluate_as, open_data
from chord.run.steps import StepLoader
from chord.run.together import ending_together
from chord.step.demonstrations import open_cache
from chord.step.engine import open_engine
from chord.step.module import ChordModule

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data
    from chord.evaluation.settings import Evaluation
    from chord.models.models import Models

# The first step allocates memory and fills caches.
WARM_UP = 1
FEW, MORE, SHORT = 8, 64, 2.0


@dataclass
class Calibration:
    """Measurements: the models, the last step's rows, held-out pairs, and times in seconds.

    Attributes:
        start: Seconds from the beginning of the start to the first step.
        rollout, loss, update: Seconds of the parts of a step.
        answer: Seconds per response of an evaluation, with its share of all other work.
        length: Mean number of tokens of the greedy responses to its target problems.
    """

    data: Data
    models: Models
    rollouts: TokenBatch | None
    experts: TokenBatch | None
    held_out: TokenBatch | None
    start: float
    rollout: float
    loss: float
    update: float
    answer: float
    length: float


def calibrate(config: TrainConfig, steps: int, *, began: float) -> Calibration:
    """Take `steps` steps after a first one and average their times.

    `began`: the value of `time.perf_counter` when the start began. Raises `ConfigError` if the
    machine lacks something, or if models, data and engine do not fit together.
    """
    check_training(config)
    seed_everything(config.seed, verbose=False)
    with open_data(config) as data:
        models = build_models(config)
        check_models(config, models, data)
        models.cache = open_cache(config, data)
        engine = open_engine(config, data, models.policy)
        with closing(engine):
            return _calibrate(config, steps, data, models, engine, began)


def _calibrate(
    config: TrainConfig, steps: int, data: Data, models: Models, engine: Engine, began: float
) -> Calibration:
    module = ChordModule(config, data, models, engine)
    seen: list[Mapping[str, Any]] = []
    plans: list[Any] = []
    starts: list[float] = []
    plan_of = module.plan

    def remember(step: int) -> Any:
        starts.append(time.perf_counter())
        if module.record is not None:
            seen.append(module.record.timings)
        plans.append(plan_of(step))
        return plans[-1]

    module.plan = remember  # type: ignore[method-assign]
    taken = WARM_UP + steps
    trainer = config.trainer.build(max_steps=taken * config.rollout.updates, callbacks=[])
    with ending_together(trainer):
        trainer.fit(module, StepLoader(taken))
        assert module.record is not None
        timed = [*seen, module.record.timings][WARM_UP:]
        last = plans[-1]
        answer, length = _an_answer(config, data, models)
        return Calibration(
            data=data,
            models=models,
            rollouts=None if last.rollouts is None else last.rollouts.rows.tokens,
            experts=None if last.experts is None else last.experts.tokens,
            held_out=_held_out(config, data, models),
            start=starts[0] - began,
            rollout=_mean(timed, "seconds/rollout"),
            loss=_mean(timed, "seconds/loss"),
            update=_mean(timed, "seconds/update"),
            answer=answer,
            length=length,
        )


def _held_out(config: TrainConfig, data: Data, models: Models) -> TokenBatch | None:
    """This rank's expert pairs of an evaluation; None if none are held out."""
    pairs = part_of(data.held_out_pairs("validation")[: config.evaluation.pairs])
    return collate_pairs(pairs, data.tokenizer).to(models.policy.device) if pairs else None


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(float(row[name]) for row in rows) / len(rows)


def _an_answer(config: TrainConfig, data: Data, models: Models) -> tuple[float, float]:
    """Seconds and tokens per response in a small evaluation.

    If that is quick, a larger one is timed, because rows share the work.
    """
    split = "val" if config.data.validates else "test"
    for amount in (FEW, MORE):
        few = {name: min(amount, getattr(config.evaluation, name)) for name in AMOUNTS}
        small = replace(config.evaluation, **few)
        began = time.perf_counter()
        with config.trainer.computing(models.policy.device):
            report = evaluate_as(config, models.policy, data, split=split, alpha=0.5, amounts=small)
        took = time.perf_counter() - began
        if took > SHORT:
            break
    tokens = sum(len(each.entropies) for each in report.answers) / len(report.answers)
    return took / answers(data, small, split), tokens


def answers(data: Data, config: Evaluation, split: str) -> int:
    """Return how many responses an evaluation on `val` or `test` samples."""
    part, most = PARTS[split], int(getattr(config, f"{split}_retained"))
    kept = [*data.retained(part).values(), *(skill.problems[part] for skill in data.skills)]
    asked = sum(min(most, len(problems)) for problems in kept)
    return (1 + SAMPLES) * int(getattr(config, f"{split}_problems")) + asked
