"""The engine's probabilities and the policy's: measured, and corrected by importance weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from chord.data.batch import collate
from chord.losses import Cispo, Grpo, Gspo, Kl, Objective, Reinforce
from chord.models.models import Models
from chord.models.policy import Cache, Policy
from chord.rollout.mismatch import compare, mismatch_metrics, truncated_weights
from chord.rollout.rows import RolloutRows
from chord.step.rl import add_rl_gradient
from chord.step.rows import TokenLog
from chord.weightings import Uniform

P = torch.tensor([0.25, 0.35, 0.4], dtype=torch.float64)
Q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


class Unigram(Policy):
    """Every next token has the same distribution, P."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(P.log())
        self.head = lambda features: features

    @property
    def vocab_size(self) -> int:
        return 3

    @property
    def context(self) -> int:
        return 8

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
    ) -> Tensor:
        return self.logits.expand(*input_ids.shape, 3)

    def new_cache(self, rows: int, capacity: int) -> Cache:
        raise NotImplementedError

    @property
    def cache_bytes(self) -> int:
        raise NotImplementedError


def gradient_of(
    responses: list[list[int]],
    advantages: list[float],
    objective: Objective,
    *,
    cap: float | None,
    micro_batch: int = 0,
) -> tuple[Tensor, TokenLog]:
    """The gradient with respect to the logits, and what was seen; None: no correction."""
    policy = Unigram()
    batch = collate([[0]] * len(responses), responses, pad_id=0)
    old, told = P.log()[batch.targets], Q.log()[batch.targets]
    rows = RolloutRows(
        batch,
        old,
        torch.tensor(advantages, dtype=torch.float64),
        torch.zeros(len(responses), dtype=torch.float64),
        correction=None if cap is None else truncated_weights(old, told, cap=cap),
    )
    seen = add_rl_gradient(
        Models(policy),
        rows,
        objective,
        Uniform(),
        share=1.0,
        temperature=1.0,
        max_length=4,
        micro_batch=micro_batch,
    )
    assert policy.logits.grad is not None
    return policy.logits.grad, seen


def expected(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_weights_are_truncated_ratios_without_gradient() -> None:
    # e^(-1 + 1.5) = e^.5; q = p / 4 is held at 2; q = 2 p gives 1 / 2.
    own = torch.tensor([-1.0, -3.0, -2.0], dtype=torch.float64, requires_grad=True)
    told = expected([-1.5, -3.0 - math.log(4), -2.0 + math.log(2)])
    weights = truncated_weights(own, told, cap=2.0)
    torch.testing.assert_close(weights, expected([1.6487212707, 2.0, 0.5]), atol=1e-9, rtol=0)
    assert not weights.requires_grad


def test_metrics_are_those_of_the_docstring() -> None:
    # d = (ln 2, 0): |d| .34657 and .69315, ratios 2 and 1, 2 - 1 - ln 2 = .30685 and 0.
    metrics = mismatch_metrics(expected([-1.0, -1.0]), expected([-1.0 - math.log(2), -1.0]))
    assert metrics == pytest.approx(
        {
            "rollout/mismatch_mean": math.log(2) / 2,
            "rollout/mismatch_max": math.log(2),
            "rollout/mismatch_ratio": 1.5,
            "rollout/mismatch_kl": (1 - math.log(2)) / 2,
        },
        abs=1e-12,
    )
    assert mismatch_metrics(expected([]), expected([])) == {}


def test_a_step_is_corrected_from_the_threshold_on() -> None:
    own, told = expected([-1.0, -1.0]), expected([-1.0 - math.log(4), -1.0])
    mean = math.log(4) / 2
    below = compare(own, told, threshold=mean + 1e-9, cap=2.0)
    assert below.weights is None
    assert "rollout/correction_mean" not in below.metrics
    above = compare(own, told, threshold=mean - 1e-9, cap=2.0)
    torch.testing.assert_close(above.weights, expected([2.0, 1.0]))
    assert above.metrics["rollout/correction_mean"] == 1.5
    assert above.metrics["rollout/correction_capped"] == 0.5
    # 0 is always, also where nothing differs; inf is never.
    assert compare(own, own, threshold=0.0, cap=2.0).weights is not None
    assert compare(own, told, threshold=math.inf, cap=2.0).weights is None


@pytest.mark.parametrize(("cap", "weight"), [(None, 1.0), (math.inf, 2.0), (1.5, 1.5)])
def test_the_weight_multiplies_loss_and_gradient(cap: float | None, weight: float) -> None:
    # Token 2 has p = .4 and q = .2: w = 2. With A = 3 and r = 1 the loss is -3 w, its gradient
    # with respect to the logits -3 w (e - p) = -3 w (-.25, -.35, .6).
    found, seen = gradient_of([[2]], [3.0], Grpo(), cap=cap)
    assert seen.loss == pytest.approx(-3 * weight, abs=1e-12)
    wanted = expected([0.75, 1.05, -1.8]) * weight
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_each_token_has_its_own_weight() -> None:
    # w of tokens 2, 0, 1: 2, .5 and .35 / .3 = 7 / 6; the mean over three tokens of -A w (e - p).
    found, _ = gradient_of([[2, 0], [1]], [1.0, -1.0], Reinforce(), cap=math.inf)
    rows = [(2, 2.0, 1.0), (0, 0.5, 1.0), (1, 7 / 6, -1.0)]
    wanted = sum(-a * w * (torch.eye(3, dtype=torch.float64)[t] - P) for t, w, a in rows) / 3
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_without_truncation_the_expected_gradient_is_that_of_the_policy() -> None:
    # One token an answer, all three of them, each with q's share of the batch:
    # sum_t q_t w_t A_t (e_t - p) = sum_t p_t A_t (e_t - p).
    advantages = expected([1.0, -2.0, 0.5])
    shares = (3 * Q * advantages).tolist()
    on_policy = -(P * advantages) @ (torch.eye(3, dtype=torch.float64) - P)
    found, _ = gradient_of([[0], [1], [2]], shares, Reinforce(), cap=math.inf)
    torch.testing.assert_close(found, on_policy, atol=1e-12, rtol=0)
    for cap in (None, 1.5):
        biased, _ = gradient_of([[0], [1], [2]], shares, Reinforce(), cap=cap)
        assert float((biased - on_policy).abs().max()) > 0.01


@pytest.mark.parametrize("objective", [Grpo(), Gspo(), Cispo(), Reinforce()], ids=repr)
def test_micro_batches_leave_a_corrected_gradient_alone(objective: Objective) -> None:
    answers, advantages = [[2, 0, 1], [1], [0, 2]], [1.0, -1.0, 0.5]
    whole, _ = gradient_of(answers, advantages, objective, cap=2.0)
    assert float(whole.norm()) > 0
    for size in (1, 2):
        cut, _ = gradient_of(answers, advantages, objective, cap=2.0, micro_batch=size)
        torch.testing.assert_close(cut, whole, atol=1e-12, rtol=0)


def test_terms_beside_the_objectives_loss_are_not_weighted() -> None:
    # With A = 0 the entropy bonus is all there is.
    for cap in (None, 2.0):
        found, _ = gradient_of([[2]], [0.0], Reinforce(entropy_coef=0.1, kl=Kl()), cap=cap)
        entropy = -(P * P.log()).sum()
        torch.testing.assert_close(found, 0.1 * P * (P.log() + entropy), atol=1e-12, rtol=0)
