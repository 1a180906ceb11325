"""Evaluation: what each number means, on models whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import chord.evaluation.report as evaluation
from chord.compare.record import scores
from chord.config.root import TrainConfig
from chord.data.base import Data
from chord.data.batch import Problem
from chord.data.tasks import worked
from chord.data.testbed import Testbed
from chord.evaluation.settings import check_metric
from chord.rewards import FAILURES, Grade, Verifier
from chord.run.build import build_data

Build = Callable[..., TrainConfig]


def report(config: TrainConfig, split: str = "val", alpha: float = 0.25) -> evaluation.Report:
    return evaluation.evaluate(
        config.model.build(),
        build_data(config),
        config.evaluation,
        config.reward,
        split=split,
        alpha=alpha,
    )


def test_balance_is_the_mix_of_its_two_parts(small_config: Build) -> None:
    metrics = report(small_config()).metrics
    agreement, reward = metrics["sft_accuracy"], metrics["rl_reward"]
    assert metrics["balance"] == pytest.approx(0.25 * agreement + 0.75 * reward)
    assert metrics["balance_at_0.5"] == pytest.approx((agreement + reward) / 2)


def test_a_perfect_model_in_the_experts_manner_scores_one(
    small_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perfect(
        policy: object,
        data: object,
        problems: list[Problem],
        verifier: Verifier,
        *,
        max_new_tokens: int,
        rows_at_a_time: int,
        samples: int | None = None,
        **_: object,
    ) -> list[evaluation.ScoredAnswer]:
        texts = [worked(p) if p.skill == "target" else p.answer for p in problems]
        return [
            evaluation.ScoredAnswer(p, text, verifier.score(p, text), [0.0])
            for p, text in zip(problems, texts, strict=True)
            for _ in range(samples or 1)
        ]

    monkeypatch.setattr(evaluation, "answer", perfect)
    metrics = report(small_config()).metrics
    for name in ("target_accuracy", "target_mean4", "rl_reward", "expert_style", "retained/min"):
        assert metrics[name] == 1, name


def test_entropy_is_the_mean_over_all_tokens_of_the_samples(small_config: Build) -> None:
    # All-zero weights give every token the same logit: ln V nats at each place.
    config = small_config()
    policy, data = config.model.build(), config.data.build()
    for weights in policy.parameters():
        weights.data.zero_()
    found = evaluation.evaluate(
        policy, data, config.evaluation, config.reward, split="val", alpha=0.25
    )
    assert found.metrics["entropy"] == pytest.approx(math.log(policy.config.vocab_size), rel=1e-6)


def test_an_evaluation_repeats_and_splits_differ(small_config: Build) -> None:
    config = small_config()
    assert report(config).metrics == report(config).metrics
    assert report(config).answers != report(config, "test").answers


def test_every_metric_is_there_for_either_split(small_config: Build, tmp_path: Path) -> None:
    names = set(report(small_config()).metrics)
    assert names == set(report(small_config(), "test").metrics)
    assert {
        "target_accuracy",
        "target_mean4",
        "sft_accuracy",
        "expert_nll",
        "retained/mean",
    } <= names


def test_an_answer_that_is_cut_off_scores_nothing_but_is_shown(small_config: Build) -> None:
    config = small_config()
    data = build_data(config)
    (problem,) = data.validation[:1]
    (cut,) = evaluation.answer(config.model.build(), data, [problem], Verifier(), max_new_tokens=3)
    assert len(cut.text) == 3
    assert cut.score == 0


class Failing(Verifier):
    """Takes too long over the first answer of each batch, and fails at the second."""

    fallible = True

    def graded(
        self, problems: Sequence[Problem], responses: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        late, failed = Grade.failed("late", timed_out=True), Grade.failed("failed")
        return [late, failed, *super().graded(problems, responses, lengths)[2:]]


def test_answers_whose_scorer_fails_are_counted_and_are_no_score(small_config: Build) -> None:
    config = small_config()
    plain = report(config).metrics
    assert not plain.keys() & set(FAILURES)
    config.reward = Failing()
    metrics = report(config).metrics
    assert metrics.keys() - plain.keys() == set(FAILURES)
    # Greedy and sampled answers to the target problems, and greedy ones to those of each skill.
    batches = 2 + sum(name.startswith("retained/") for name in plain) - len(("mean", "min"))
    assert batches > 2
    assert (metrics["reward/timeouts"], metrics["reward/errors"]) == (batches, batches)
    row = evaluation.prefixed(metrics, "test")
    assert scores(row).keys() == {f"test/{name}" for name in plain}
    with pytest.raises(ValueError, match="must be a validation metric"):
        check_metric("val/reward/errors")


def test_no_more_is_evaluated_than_is_held_out(small_config: Build) -> None:
    # The test bed holds 500 problems out for validation.
    assert small_config("evaluation.val_problems=500").evaluation.val_problems == 500
    with pytest.raises(
        ValueError, match=r"evaluation\.val_problems=501: must be within \[1, 500\]"
    ):
        small_config("evaluation.val_problems=501")


def test_data_without_skills_to_retain_is_evaluated_without_them(
    small_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Testbed, "retained", Data.retained)
    assert not [key for key in report(small_config()).metrics if "retained" in key]
