"""A gradient that is not finite: its cause by branch, tensor and row; stop, skip, replay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from steps import module_of, on_two_ranks, poison

from chord.config.root import TrainConfig
from chord.io.writing import UnwrittenError
from chord.losses.distillation import TeacherTokens
from chord.replay.command import main as replay
from chord.rollout.rows import RolloutRows
from chord.step.module import ChordModule
from chord.step.nonfinite.cause import bad_state, find_cause
from chord.step.nonfinite.saved import FILE, load_step, of_plan, save_step
from chord.step.optimizer import DivergedError
from chord.step.plan import Plan
from chord.step.rows import ExpertRows
from chord.step.terms import KlToOther
from chord.weightings import Phi, TokenStats, WeightInputs
from chord.weightings.base import WeightError

pytestmark = pytest.mark.faults

Config = Callable[..., TrainConfig]


def planned(config: TrainConfig) -> tuple[ChordModule, Plan]:
    """A module and the plan of its first step, with rewards that teach something."""
    module = module_of(config)
    plan = module.plan(0)
    assert plan.rollouts is not None
    rows = replace(plan.rollouts.rows, advantages=torch.tensor([1.0, -1.0, 1.0, -1.0]))
    return module, replace(plan, rollouts=replace(plan.rollouts, rows=rows))


def cause(module: ChordModule, plan: Plan, **changed: Any) -> str:
    """What is found where the RL rows are changed so."""
    assert plan.rollouts is not None
    rows = replace(plan.rollouts.rows, **changed)
    plan = replace(plan, rollouts=replace(plan.rollouts, rows=rows))
    return find_cause(module.models, module.config, of_plan(0, plan))[0]


def test_a_finite_step_has_a_loss_and_a_norm_for_each_row(small_config: Config) -> None:
    config = small_config("weighting=phi", "data.expert_batch=3")
    module, plan = planned(config)
    module.add_gradients(0, plan)
    whole = math.sqrt(sum(float(p.grad.square().sum()) for p in module.trainable()))  # type: ignore[union-attr]
    said, traces = find_cause(module.models, config, of_plan(0, plan))
    assert "each row is finite" in said
    assert [(t.branch, t.row) for t in traces] == [
        *(("SFT", row) for row in range(3)), *(("RL", row) for row in range(4))
    ]  # fmt: skip
    # A sum is no longer than its parts together.
    assert 0 < whole <= sum(trace.norm or 0 for trace in traces) * (1 + 1e-6)
    # What the step's losses add up to.
    sft = module.add_sft(plan)
    assert sft is not None
    shares = plan.shares.sft
    summed = sum(trace.loss for trace in traces if trace.branch == "SFT")
    assert summed == pytest.approx(shares * sft.loss, rel=1e-5)


@pytest.mark.parametrize("who", ["policy", "teacher", "reference"])
def test_a_weight_that_is_not_finite_is_named_with_its_model(
    who: str, small_config: Config
) -> None:
    module, plan = planned(small_config("weighting=margin", "objective.kl.coef=.1"))
    name = "layers.0.attention_out.weight"
    model = getattr(module.models, who)
    name = next(n for n, p in model.named_parameters() if p.numel() > 64)
    poison(model, name)
    count = dict(model.named_parameters())[name].numel()
    said = cause(module, plan)
    assert said == f"the {who}'s weight {name} (1 of {count} numbers are not finite)"


def test_weights_that_have_grown_too_large_are_said_beside_the_row(small_config: Config) -> None:
    module, plan = planned(small_config())
    with torch.no_grad():
        module.policy.embedding.weight[3, 2] = -2e30
    said = cause(module, plan, advantages=torch.tensor([math.nan, 0.0, 0.0, 0.0]))
    assert said == (
        "RL branch, row 0: the advantage is nan; the policy's weight embedding.weight has grown to "
        "2e+30: try a lower optimizer.lr"
    )


def test_what_a_row_brings_is_named_with_its_row(small_config: Config) -> None:
    module, plan = planned(small_config())
    advantages = torch.tensor([1.0, -1.0, math.inf, -1.0])
    assert cause(module, plan, advantages=advantages) == "RL branch, row 2: the advantage is inf"
    assert plan.rollouts is not None
    rows = plan.rollouts.rows
    old = torch.zeros(rows.tokens.mask.shape)
    old[1, rows.tokens.mask[1].nonzero()[2, 0]] = math.nan
    said = cause(module, plan, old_logprobs=old)
    assert said == "RL branch, row 1: the log-probability before the first update of token 2 is nan"
    # Where no token of an answer is, there may be anything.
    old = torch.full(rows.tokens.mask.shape, math.nan).masked_fill(rows.tokens.mask, 0.0)
    assert cause(module, plan, old_logprobs=old).startswith("the gradient of each row is finite")
    step = of_plan(0, plan)
    assert step.sft is not None
    kept = torch.zeros(*step.sft.tokens.mask.shape, 2)
    kept[1, 0, 0] = math.nan
    step.sft = replace(step.sft, teacher=TeacherTokens(kept))
    said, _ = find_cause(module.models, module.config, step)
    assert said == "SFT branch, row 1: the cached teacher's log-probabilities are not finite"


def test_a_loss_that_overflows_is_named_with_its_row(small_config: Config) -> None:
    module, plan = planned(small_config("objective=reinforce"))
    # 1e38 (1 - alpha) / N is finite and 1e38 times a sum of log-probabilities is not.
    advantages = torch.tensor([1.0, -1.0, 1.0, 3e38])
    said = cause(module, plan, advantages=advantages)
    assert said.startswith("RL branch, row 3: the loss is ")


def test_rows_that_do_not_count_leave_the_others_their_numbers(small_config: Config) -> None:
    module, plan = planned(small_config("objective=reinforce", "objective.overlong=mask"))
    advantages = torch.tensor([1.0, -1.0, 3e38, -1.0])
    finished = torch.tensor([True, False, True, True])
    said = cause(module, plan, advantages=advantages, finished=finished)
    assert said.startswith("RL branch, row 2: the loss is "), said


def test_a_kl_that_is_not_finite_is_named_before_the_loss(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = planned(small_config("objective.kl.coef=.1"))
    monkeypatch.setattr(KlToOther, "__call__", lambda _, logits, *others: logits[:, 0] + math.inf)
    assert cause(module, plan) == "RL branch, row 0: the KL of token 0 is inf"


def test_a_branch_that_the_step_leaves_out_is_not_kept(small_config: Config) -> None:
    _, plan = planned(small_config())
    assert of_plan(0, plan).rl is not None
    assert of_plan(0, replace(plan, shares=plan.shares._replace(rl=0.0))).rl is None


def test_a_gradient_that_is_not_finite_where_the_loss_is(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = planned(small_config())
    target = module.config.target
    losses = type(target).token_losses

    def root(self: Any, logits: Any, logprobs: Any, targets: Any, teacher: Any) -> Any:
        found = losses(self, logits, logprobs, targets, teacher)
        # sqrt has the slope 0/0 at 0, once it is multiplied by the slope 0 of a square.
        return found + (logprobs - logprobs.detach()).square().sqrt()

    monkeypatch.setattr(type(target), "token_losses", root)
    said = cause(module, plan)
    assert said.startswith("SFT branch, row 0: the loss is ")
    assert said.endswith(" is not finite")
    assert "its gradient at " in said


def test_a_norm_that_overflows_is_no_rows_fault(small_config: Config) -> None:
    # Squares of 1e20 overflow in float32, and each gradient is finite.
    module, plan = planned(small_config("objective=reinforce"))
    said = cause(module, plan, advantages=torch.tensor([1e22, -1e22, 1e22, -1e22]))
    assert said.startswith("the gradient of each row is finite, but their sum or its norm is not")
    assert said.endswith("too large for float32")


def test_an_optimizers_state_is_looked_through() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    assert bad_state(optimizer, {id(weight): "w"}) == ""
    optimizer.state[weight]["exp_avg_sq"][1] = math.inf
    assert bad_state(optimizer, {id(weight): "w"}) == "exp_avg_sq of w"


def test_a_step_is_kept_and_read_back_as_it_was(small_config: Config, tmp_path: Path) -> None:
    config = small_config("target=soft", "rollout=expert_in_group", "data.pairing=paired")
    module, plan = planned(replace(config))
    step = of_plan(7, plan)
    step.facts["cause"] = "none"
    save_step(tmp_path, step, module.policy.state_dict())
    found, weights = load_step(tmp_path)
    assert (found.number, found.shares, found.facts) == (7, step.shares, {"cause": "none"})
    assert all(torch.equal(weights[n], t) for n, t in module.policy.state_dict().items())
    for kind, ours, theirs in ((ExpertRows, step.sft, found.sft), (RolloutRows, step.rl, found.rl)):
        assert isinstance(theirs, kind)
        assert torch.equal(ours.tokens.input_ids, theirs.tokens.input_ids)  # type: ignore[union-attr]
        assert torch.equal(ours.signal, theirs.signal)  # type: ignore[union-attr]
    assert isinstance(found.rl, RolloutRows)
    assert found.rl.expert is not None
    assert found.rl.expert.dtype == torch.bool


def test_of_a_step_the_trained_weights_are_kept_and_the_rate(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, plan = planned(small_config())
    assert plan.rollouts is not None
    plan.rollouts.rows.advantages[2] = math.nan
    frozen, trained = list(dict(module.policy.named_parameters()).items())[:2]
    frozen[1].requires_grad_(False)
    module.guard.run_dir = tmp_path
    (optimizer,) = module.configure_optimizers()
    optimizer.state[trained[1]]["exp_avg"] = torch.tensor([math.nan])
    call = (module.models, plan, 0, "", optimizer)
    with pytest.raises(DivergedError) as raised:
        module.guard(*call)
    assert (
        f"RL branch, row 2: the advantage is nan; so is the optimizer's exp_avg of {trained[0]}; "
        "take it again"
    ) in str(raised.value)
    step, weights = load_step(tmp_path)
    assert step.facts["lr"] == optimizer.param_groups[0]["lr"]
    assert trained[0] in weights
    assert frozen[0] not in weights
    (tmp_path / FILE).unlink()

    def full(*_: object) -> None:
        raise UnwrittenError(str(tmp_path / FILE), "No space left on device")

    monkeypatch.setattr("chord.step.nonfinite.guard.save_step", full)
    with pytest.raises(DivergedError, match=r"the step could not be kept \(No space left on devic"):
        module.guard(*call)


def test_a_run_without_such_a_step_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, said in (
        (tmp_path / "none", "no such directory; give a run directory"),
        (tmp_path, "is not a run directory (it holds no run.json)"),
        (tmp_path, f"holds no step whose gradient was not finite ({FILE})"),
    ):
        with pytest.raises(SystemExit) as stopped:
            replay([str(path)])
        assert stopped.value.code == 1
        assert capsys.readouterr().err == f"error: {path}: {said}\n"
        if "run.json" in said:
            (tmp_path / "run.json").write_text("{}")
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"step\.safetensors: can't be read"):
        load_step(tmp_path)


def stats(*probabilities: float) -> TokenStats:
    p = torch.tensor([probabilities], dtype=torch.float64)
    return TokenStats(p.log(), p * 0 + 1, p, 2)


@pytest.mark.parametrize("wrong", [-0.5, math.nan, math.inf])
def test_a_rule_that_gives_a_weight_below_zero_or_none_is_refused(wrong: float) -> None:
    class Somebodys(Phi):
        def raw(self, at: WeightInputs) -> torch.Tensor:
            weights = super().raw(at).clone()
            weights[0, 1] = wrong
            return weights

    mask = torch.tensor([[True, True, True]])
    with pytest.raises(WeightError, match=r"^weighting: Somebodys gave the weight .* p = 0\.25"):
        Somebodys()(stats(0.5, 0.25, 0.9), mask)
    # Outside the mask it does nothing.
    assert bool(
        (Somebodys()(stats(0.5, 0.25, 0.9), torch.tensor([[True, False, True]])) >= 0).all()
    )


def test_a_policy_that_is_not_finite_is_not_blamed_on_the_rule() -> None:
    found = Phi()(stats(0.5, math.nan), torch.tensor([[True, True]]))
    assert float(found[0, 0]) == 0.25


def test_two_ranks_name_the_row_among_all_rows(small_config: Config, tmp_path: Path) -> None:
    config = small_config("trainer.on_nonfinite=skip")

    def work(rank: int) -> list[torch.Tensor]:
        module, plan = planned(config)
        assert plan.rollouts is not None
        if rank == 1:
            plan.rollouts.rows.advantages[2] = math.nan
        module.guard.run_dir = tmp_path
        (optimizer,) = module.configure_optimizers()
        said = module.guard._cause(module.models, plan, 0, optimizer)
        # Rank 0 has two problems of two answers, and rank 1 as many.
        assert said.startswith("RL branch, row 6: the advantage is nan; take it again with "), said
        return [torch.ones(1)]

    on_two_ranks(tmp_path, work)
    assert load_step(tmp_path)[0].facts["cause"] == "RL branch, row 6: the advantage is nan"
