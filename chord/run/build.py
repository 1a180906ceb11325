"""The data and the models of a configuration, and whether they go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

from chord.config.consistency import (
    check_answers_known,
    check_experts,
    reads_reference,
    reads_teacher,
    scores_answers,
)
from chord.config.root import TrainConfig
from chord.data.base import Data, Room
from chord.errors import ConfigError
from chord.evaluation.report import SAMPLES, Report, evaluate
from chord.run.kept import check_metric_known
from chord.step.precision import in_precision

if TYPE_CHECKING:
    import torch

    from chord.data.skills import Skill
    from chord.evaluation.progress import OnProgress
    from chord.evaluation.settings import Evaluation
    from chord.models.base import Shape
    from chord.models.models import Models
    from chord.models.policy import Policy

Fitted = TypeVar("Fitted")
Looked = TypeVar("Looked")


def build_data(config: TrainConfig) -> Data:
    """The data, for the model's tokenizer; `ConfigError` where the two do not go together."""
    scored = scores_answers(config)
    build = config.data.build if scored else config.data.build_unscored
    data = build(config.model.tokenizer())
    data.skills = _retained(config, data)
    check_experts(config, data)
    check_answers_known(config, data)
    return data


@contextmanager
def open_data(config: TrainConfig) -> Iterator[Data]:
    """`build_data` for a block that scores answers: the verifiers' processes end with it."""
    with closing(config.reward), closing(build_data(config)) as data:
        yield data


def _retained(config: TrainConfig, data: Data) -> Sequence[Skill]:
    """The skills of `evaluation.retained`; their files name fields as the data's own do."""
    if not config.evaluation.retained:
        return ()
    # Here and below: torch takes seconds to load, and settings are checked without it.
    from chord.data.columns import Columns
    from chord.data.text import TextConfig
    from chord.evaluation.retained import retained_skills

    columns = config.data.columns if isinstance(config.data, TextConfig) else Columns()
    return retained_skills(config.evaluation, data, columns)


def build_models(config: TrainConfig) -> Models:
    """The policy, and the frozen models that something in the configuration reads."""
    from chord.models.models import Models

    policy = config.model.build()
    teacher = config.teacher.build() if reads_teacher(config) else None
    reference = config.model.reference(policy) if reads_reference(config) else None
    for model in (policy, teacher, reference):
        if model is not None:
            in_precision(model, config)
    for frozen in (teacher, reference):
        if frozen is not None:
            frozen.eval().requires_grad_(False)
    return Models(policy.eval(), teacher, reference)


def prepare_reward(config: TrainConfig, data: Data) -> None:
    """Get the reward ready; `ConfigError` where it can't score such problems as the data have."""
    if data.unanswered is None:
        held_out = data.held_out("validation") or data.problems(0, 0, 1)
        config.reward.prepare(held_out[0])


def check_answers(config: TrainConfig, data: Data) -> None:
    """Let the reward look at all right answers; `ConfigError`, with the line, for one that no
    response can be compared with."""
    if config.reward.checks and data.unanswered is None:
        data.check(config.reward.check)


def check_start(
    config: TrainConfig, data: Data, *, fit: Callable[[], Fitted], look: Callable[[], Looked]
) -> tuple[Fitted, Looked]:
    """Check what a run begins with, in the one order that a run and a dry run have in common.

    `fit` makes the data fit the models, and `look` looks at the right answers; returns what the two
    return. Raises ConfigError.
    """
    check_metric_known(config, data)
    prepare_reward(config, data)
    if config.data.drops:
        # Of rows that are dropped, the answers do not matter.
        fitted = fit()
        return fitted, look()
    looked = look()  # before what is slow: models of gigabytes
    return fit(), looked


@contextmanager
def placed(config: TrainConfig, device: torch.device, *models: Policy) -> Iterator[None]:
    """Models on a device, computing in the run's precision, within; in main memory afterwards."""
    for model in models:
        in_precision(model.to(device).eval(), config)
    try:
        with config.trainer.computing(device):
            yield
    finally:
        for model in models:
            model.to("cpu")


def evaluate_as(
    config: TrainConfig,
    policy: Policy,
    data: Data,
    *,
    split: str,
    alpha: float,
    amounts: Evaluation | None = None,
    samples: int = SAMPLES,
    temperature: float = 1.0,
    on_progress: OnProgress | None = None,
) -> Report:
    """`evaluate` with a run's settings, of `amounts` where they are others than the run's."""
    return evaluate(
        policy,
        data,
        amounts or config.evaluation,
        config.reward,
        split=split,
        alpha=alpha,
        samples=samples,
        temperature=temperature,
        on_progress=on_progress,
        rows_at_a_time=config.rollout.rows_at_a_time,
        micro_batch=config.trainer.micro_batch,
    )


def check_models(config: TrainConfig, models: Models, data: Data) -> None:
    """`check_shapes` of models that are there."""
    check_shapes(config, models.policy, models.teacher, data)


def check_shapes(
    config: TrainConfig, policy: Policy | Shape, teacher: Policy | Shape | None, data: Data
) -> None:
    """Make teacher and data fit the policy; `ConfigError` where they can't, or it the data."""
    size = data.tokenizer.vocab_size
    if policy.vocab_size != size:
        raise ConfigError(
            f"model.path: the model has a vocabulary of {policy.vocab_size}, the data one of {size}"
        )
    if teacher is not None:
        config.teacher.fit(teacher, data.tokenizer)
    fit_data(config, data, policy)


def fit_data(config: TrainConfig, data: Data, policy: Policy | Shape) -> None:
    """Make the data fit the model's context; `ConfigError` where they can't."""
    room = Room(
        context=policy.context,
        rollout=config.rollout.max_new_tokens,
        evaluation=config.evaluation.max_new_tokens,
    )
    data.fit(room)
    amounts = config.evaluation.amounts("retained")
    for skill in data.skills:
        asked = [p for split, count in amounts.items() for p in skill.problems[split][:count]]
        longest = max(len(data.tokenizer.prompt(problem)) for problem in asked)
        if longest + room.evaluation > room.context:
            raise ConfigError(
                f"evaluation.retained: a prompt of {skill.name} has {longest} tokens, which leaves "
                f"no room for evaluation.max_new_tokens={room.evaluation} in the model's context "
                f"of {room.context}"
            )
