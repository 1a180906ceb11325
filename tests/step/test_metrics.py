"""Log metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from chord.rollout.observed import group_metrics
from chord.step.metrics import gradient_metrics, weight_metrics


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_weight_mean_and_effective_sample_size() -> None:
    # (1 + 3)^2 / (2 (1 + 9)) = 16 / 20.
    metrics = weight_metrics(double(1, 3), double(0.05, 0.95))
    assert metrics["weight/mean"] == 2
    assert metrics["weight/ess"] == pytest.approx(0.8)


def test_weights_are_averaged_within_buckets_of_probability() -> None:
    weights = double(1, 2, 3, 4, 5, 6)
    probabilities = double(0.0, 0.009, 0.01, 0.5, 0.9, 1.0)
    metrics = weight_metrics(weights, probabilities)
    buckets = {k: v for k, v in metrics.items() if k.startswith("weight/p_")}
    # [0, .01): 1 and 2; [.01, .1): 3; [.1, .5): none; [.5, .9): 4; [.9, 1]: 5 and 6.
    assert buckets == {
        "weight/p_0.00_0.01": 1.5,
        "weight/p_0.01_0.10": 3.0,
        "weight/p_0.50_0.90": 4.0,
        "weight/p_0.90_1.00": 5.5,
    }


def test_weights_of_zero_have_no_effective_sample_size() -> None:
    assert "weight/ess" not in weight_metrics(double(0, 0), double(0.5, 0.5))
    assert weight_metrics(double(), double()) == {}


def test_groups_without_signal_are_counted() -> None:
    scores = double(1, 1, 0, 1, 0, 0, 0, 0).reshape(4, 2)
    assert group_metrics(scores) == {"rollout/all_right": 0.25, "rollout/all_wrong": 0.5}


def test_gradients_are_compared_by_norm_and_cosine() -> None:
    # (3, 4) and (4, 3): norms 5 and 5, dot product 24.
    metrics = gradient_metrics([double(3), double(4)], [double(4), double(3)])
    assert metrics["grad/sft_norm"] == 5
    assert metrics["grad/rl_norm"] == 5
    assert metrics["grad/cosine"] == pytest.approx(0.96)


def test_a_gradient_of_zero_has_no_direction() -> None:
    metrics = gradient_metrics([double(0, 0)], [double(1, math.sqrt(3))])
    assert "grad/cosine" not in metrics
    assert metrics["grad/rl_norm"] == pytest.approx(2)
