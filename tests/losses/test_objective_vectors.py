"""Objectives, averages, KL and entropy terms against recorded values of published functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from vectors import MODES, cases, f64

from chord.losses import Cispo, Grpo, Gspo, Kl, Objective, aggregate, kl_estimate


def named(name: str) -> list[Any]:
    return [pytest.param(case, id=str(index)) for index, case in enumerate(cases(name))]


@pytest.mark.parametrize("case", named("trinity_ppo_policy_loss"))
def test_the_clipped_surrogate_reproduces_the_published_loss(case):
    # Its dual clip is on, at 3 where nothing is said. Its masking of whole sequences, an option
    # that does not exist here, touches none in the recorded cases. Its fallback takes the current
    # policy for the old one, which is what ours gives when told so.
    logprobs = f64(case["logprob"]).requires_grad_()
    mask, given = torch.tensor(case["mask"]), case["kwargs"]
    assert case["metrics"].get("seq_mask/masked_tokens", 0) == 0
    objective = Grpo(
        clip_low=given.get("clip_range_low", given.get("clip_range")),
        clip_high=given.get("clip_range_high", given.get("clip_range")),
        dual_clip=given.get("clip_ratio_c", 3.0),
    )
    fallback = given.get("fallback_to_policy_gradient", False)
    old = logprobs.detach() if fallback else f64(case["old_logprob"])
    values, metrics = objective.token_losses(logprobs, old, f64(case["advantages"]), mask)
    aggregation, divisor = MODES[given.get("loss_agg_mode", "token-mean")]
    loss = aggregate(values, mask, aggregation=aggregation, total=divisor(mask))
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-7)
    for name, theirs in (
        ("clip_fraction", "pg_clipfrac"),
        ("dual_clip_fraction", "pg_clipfrac_lower"),
    ):
        share = metrics[name] / mask.sum()
        assert share.item() == pytest.approx(case["metrics"][theirs], abs=1e-7)
    if case["grad_logprob"] is not None:
        expected = f64(case["grad_logprob"])
        torch.testing.assert_close(logprobs.grad, expected, rtol=1e-7, atol=1e-12)


def test_the_recorded_dual_clip_is_not_idle():
    shares = [case["metrics"]["pg_clipfrac_lower"] for case in cases("trinity_ppo_policy_loss")]
    assert sum(share > 0 for share in shares) >= 5


def objective_of(case: dict[str, Any]) -> Objective:
    if case["loss_type"] == "cispo":
        return Cispo(ratio_max=case["epsilon_high"])
    clips = {"clip_low": case["epsilon_low"], "clip_high": case["epsilon_high"]}
    if case["importance_sampling_level"] == "sequence":
        return Gspo(**clips)
    return Grpo(**clips, delta=case["delta"])


def total_of(case: dict[str, Any], mask: Tensor) -> tuple[str, Any]:
    # Its "grpo" is a mean over all rows of their token means, empty rows included. "bnpo" is the
    # token mean of a micro-batch, and "dapo" and "cispo" that of the step, the same for one piece.
    return {
        "grpo": ("sequence", len(mask)),
        "bnpo": ("token", mask.sum()),
        "dapo": ("token", mask.sum()),
        "cispo": ("token", mask.sum()),
        "dr_grpo": ("constant", len(mask) * case["max_completion_length"]),
    }[case["loss_type"]]


@pytest.mark.parametrize("case", named("swift_grpo_loss"))
def test_the_group_objectives_reproduce_the_other_published_loss(case):
    given, objective = case["inputs"], objective_of(case)
    logprobs, old = f64(given["logprob"]).requires_grad_(), f64(given["old_logprob"])
    mask, advantages = torch.tensor(given["mask"]), f64(given["advantages"])
    values, metrics = objective.token_losses(logprobs, old, advantages, mask)
    aggregation, total = total_of(case, mask)
    if case["beta"]:
        k3 = kl_estimate(logprobs, f64(given["ref_logprob"]), estimator="k3")
        values = values + case["beta"] * k3
        mean = aggregate(k3.detach(), mask, total=mask.sum())
        assert mean.item() == pytest.approx(case["kl"], rel=1e-7)
    loss = aggregate(values, mask, aggregation=aggregation, total=total)
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    clipped = metrics["clip_fraction"] / mask.sum()
    if isinstance(objective, Cispo):
        # That source counts a capped ratio only where A > 0; the cap acts on both signs.
        capped = ((logprobs.detach() - old).exp() > objective.ratio_max) & mask
        assert metrics["clip_fraction"].item() == capped.sum().item()
        clipped = (capped & (advantages > 0)).sum() / mask.sum()
        assert clipped.item() == pytest.approx(case["clipping"]["cispo_clip_ratio"], abs=1e-7)
    else:
        assert clipped.item() == pytest.approx(case["clipping"]["region_clip_mean"], abs=1e-7)
    if case["grad_logprob"] is not None:
        expected = f64(case["grad_logprob"])
        torch.testing.assert_close(logprobs.grad, expected, rtol=1e-9, atol=1e-15)


def test_the_recorded_delta_is_idle():
    # No token of those cases has r > delta: they show only that a delta changes nothing else. What
    # it does is derived by hand beside the dual clip.
    with_delta = [case for case in cases("swift_grpo_loss") if case["delta"] is not None]
    assert len(with_delta) == 3
    for case in with_delta:
        given = case["inputs"]
        ratio = (f64(given["logprob"]) - f64(given["old_logprob"])).exp()
        worse = torch.tensor(given["mask"]) & (f64(given["advantages"]) < 0)
        assert not ((ratio > case["delta"]) & worse).any()


@pytest.mark.parametrize("case", named("trinity_kl_loss"))
def test_kl_terms_reproduce_the_published_ones(case):
    if case["kl_fn"] == "abs":
        # |log p - log p_ref| estimates no KL and is not offered.
        with pytest.raises(ValueError, match=r"^objective\.kl\.estimator=abs: must be one of "):
            Kl(coef=case["kl_coef"], estimator="abs")
        return
    # k1 is refused as a loss; its value, which may go into the reward, is compared all the same.
    logprobs, mask = f64(case["logprob"]).requires_grad_(), torch.tensor(case["mask"])
    values = kl_estimate(logprobs, f64(case["ref_logprob"]), estimator=case["kl_fn"])
    mean = aggregate(values, mask, total=mask.sum())
    loss = case["kl_coef"] * mean
    loss.backward()
    assert mean.item() == pytest.approx(case["metrics"]["kl_loss"], rel=1e-7)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-7)
    if case["grad_logprob"] is not None:
        expected = f64(case["grad_logprob"])
        torch.testing.assert_close(logprobs.grad, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("case", named("trinity_aggregate_loss"))
def test_averages_reproduce_the_published_ones(case):
    # Theirs divides by 1e-8 more than the count.
    values, mask = f64(case["values"]), torch.tensor(case["mask"])
    aggregation, divisor = MODES[case["kwargs"]["loss_agg_mode"]]
    total = case["kwargs"]["normalizer"] or divisor(mask)
    ours = aggregate(values, mask, aggregation=aggregation, total=total)
    assert ours.item() == pytest.approx(case["out"], rel=1e-7)


@pytest.mark.parametrize("case", named("trinity_mix_entropy_loss"))
def test_the_entropy_of_own_answers_is_averaged_as_published(case):
    # Expert rows are no part of it; its coefficient is 0 in all recorded cases.
    own = ~torch.tensor(case["expert_mask"])
    entropy, mask = f64(case["entropy"])[own], torch.tensor(case["mask"])[own]
    mean = aggregate(entropy, mask, total=mask.sum())
    assert mean.item() == pytest.approx(case["metrics"]["entropy_loss"], rel=1e-7)
    assert case["entropy_coef"] * mean.item() == case["loss"]
