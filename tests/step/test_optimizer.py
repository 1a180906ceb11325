"""The optimizer group: ranges, and the learning rate's factor by hand."""

from __future__ import annotations

from typing import Any

import pytest

from chord.config.optimizer import AdamW


def adamw(**changes: Any) -> AdamW:
    values: dict[str, Any] = {
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "warmup": 4,
        "decay": "constant",
        "total_steps": 12,
    }
    return AdamW(**(values | changes))


def test_the_rate_warms_up_in_equal_steps_and_stays() -> None:
    assert [adamw().factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_without_a_warm_up_the_first_step_has_the_full_rate() -> None:
    assert adamw(warmup=0).factor(0) == 1


def test_the_cosine_falls_to_zero_at_the_end() -> None:
    # 8 steps after the warm-up: half way at step 4 + 4, where (1 + cos(pi / 2)) / 2 = .5.
    rule = adamw(decay="cosine")
    assert rule.factor(4) == 1
    assert rule.factor(8) == pytest.approx(0.5)
    assert rule.factor(12) == pytest.approx(0, abs=1e-15)
    assert rule.factor(99) == pytest.approx(0, abs=1e-15)


def test_each_phase_has_a_cosine_of_its_own_length() -> None:
    # 4 of 12 steps: the warm-up takes all 4; of 8 steps: half way at 4 + 2.
    rule = adamw(decay="cosine")
    assert rule.factor(6, 8) == pytest.approx(0.5)
    assert rule.factor(8, 8) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("weight_decay", float("nan")),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("eps", 0.0),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("warmup", -1),
        ("decay", "linear"),
    ],
)
def test_values_out_of_range_are_named(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"optimizer\.{setting}="):
        adamw(**{setting: value})
