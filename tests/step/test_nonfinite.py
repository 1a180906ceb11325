"""A gradient that is not finite: its cause by branch, tensor and row; stop, skip, replay."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import small_composed
from steps import module_of, on_two_ranks

from chord.config.parse import parse
from chord.config.root import TrainConfig
from chord.errors import ConfigError
from chord.io.writing import UnwrittenError
from chord.losses.distillation import TeacherTokens
from chord.replay.command import main as replay
from chord.rollout.rows import RolloutRows
from chord.run.directory import RunDirectory
from chord.run.files import read_rows
from chord.run.training import train
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


def poison(model: Any, name: str, value: float = math.nan) -> None:
    """One number of a model's weight."""
    with torch.no_grad():
        dict(model.named_parameters())[name].view(-1)[3] = value


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
        (tmp_path / "none", "no such directory; give the directory of a run"),
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


def go(models: Path, path: Path, *overrides: str, resume: bool = False) -> Any:
    composed = small_composed(models, *overrides)
    run = RunDirectory(path, composed, "run")
    if resume:
        from chord.run.resuming import resume_run

        run = resume_run(path, composed, [*overrides])
        return train(run.checked(), run)
    return train(parse(composed, TrainConfig), run)


def bad_steps(patch: pytest.MonkeyPatch, *bad: int, value: float = math.inf) -> None:
    """Advantages of these steps are infinite, or too large, in their second row."""
    collect = ChordModule.plan

    def plan(self: ChordModule, step: int) -> Plan:
        found = collect(self, step)
        if step not in bad or found.rollouts is None:
            return found
        advantages = found.rollouts.rows.advantages.clone()
        advantages[1] = value
        rows = replace(found.rollouts.rows, advantages=advantages)
        return replace(found, rollouts=replace(found.rollouts, rows=rows))

    patch.setattr(ChordModule, "plan", plan)


RUN = ("steps=6", "tracking=off", "evaluation.every=0")


def test_a_run_stops_names_the_row_and_can_be_replayed(
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a run"
    bad_steps(monkeypatch, 3)
    with pytest.raises(ConfigError) as caught:
        go(small_models, path, *RUN)
    said = str(caught.value)
    assert said.startswith(
        "trainer.on_nonfinite=stop: the gradient of step 3 is not finite: RL branch, row 1: "
        "the advantage is inf; take it again with python -m chord.replay "
    )
    assert said.endswith(f"python -m chord.replay '{path}'")
    assert "optimizer.lr" not in said
    # It would be met again.
    assert "resume=" not in capsys.readouterr().err
    assert len(read_rows(path / "metrics.jsonl")) == 3
    replay([str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "then: RL branch, row 1: the advantage is inf",
        "now:  RL branch, row 1: the advantage is inf",
    ]


def test_a_replay_shows_the_rows_that_are_wrong_or_all(
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad_steps(monkeypatch, 0, value=3e38)
    with pytest.raises(ConfigError, match="RL branch, row 1: the loss is"):
        go(small_models, tmp_path / "run", "objective=reinforce", *RUN)
    monkeypatch.setenv("COLUMNS", "200")
    for words, branches in (([], ["RL"]), (["--all"], ["SFT"] * 3 + ["RL"] * 4)):
        capsys.readouterr()
        replay([str(tmp_path / "run"), *words])
        out = capsys.readouterr().out
        assert re.match(r"step 0, learning rate \d", out)
        assert "\n1 of 7 rows are not finite\n" in out
        rows = [line.split() for line in out.splitlines() if re.match(r" +(SFT|RL) ", line)]
        assert [row[0] for row in rows] == branches
        assert [row[1] for row in rows if "loss" in row] == ["1"]
    # The weights are those that were kept.
    step, weights = load_step(tmp_path / "run")
    weights["embedding.weight"][0, 0] = math.nan
    save_step(tmp_path / "run", step, weights)
    replay([str(tmp_path / "run")])
    assert "\nnow:  the policy's weight embedding.weight (1 of " in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("optimizer@sft_optimizer=adamw",)])
def test_a_skipped_step_leaves_the_weights_and_is_counted(
    more: tuple[str, ...],
    small_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad_steps(monkeypatch, 0, 1, 4)
    skip = (*RUN, *more, "trainer.on_nonfinite=skip")
    outcome = go(small_models, tmp_path / "run", *skip)
    assert all(bool(torch.isfinite(p).all()) for p in outcome.module.policy.parameters())
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["grad/skipped"] for row in rows] == [1, 1, 0, 0, 1, 0]
    assert [row["grad/norm"] is None for row in rows] == [True, True, False, False, True, False]
    err = capsys.readouterr().err
    # The second in a row says nothing new.
    assert [f"warning: step {n} is left out: RL branch, row 1: the advantage is inf" in err
            for n in (0, 1, 4)] == [True, False, True]  # fmt: skip


def test_skips_in_a_row_have_a_limit_that_a_resume_remembers(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_steps(monkeypatch, 1, 2, 3, 4)
    limit = ("trainer.on_nonfinite=skip", "trainer.skip_limit=2")
    for resume in (False, True):
        overrides = (f"resume={tmp_path / 'run'}",) if resume else (*RUN, *limit)
        with pytest.raises(
            ConfigError, match=r"^trainer\.skip_limit=2: 3 optimizer steps in a row"
        ):
            go(small_models, tmp_path / "run", *overrides, resume=resume)
        assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 3


def test_a_run_that_stopped_goes_on_with_skips_as_if_it_had_begun_with_them(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_steps(monkeypatch, 3)
    go(small_models, tmp_path / "whole", *RUN, "trainer.on_nonfinite=skip")
    with pytest.raises(ConfigError):
        go(small_models, tmp_path / "cut", *RUN)
    go(small_models, tmp_path / "cut", f"resume={tmp_path / 'cut'}",
       "trainer.on_nonfinite=skip", resume=True)  # fmt: skip
    whole, cut = (read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert whole[3:] == cut[3:]


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


def test_a_run_with_a_rule_that_is_wrong_stops_in_one_line(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Phi.raw
    monkeypatch.setattr(Phi, "raw", lambda self, at: -raw(self, at))
    with pytest.raises(ConfigError, match=r"^weighting: Phi gave the weight -"):
        go(small_models, tmp_path / "run", "weighting=phi", *RUN)


def test_a_teacher_that_is_not_finite_is_named_and_not_the_rule(
    small_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ChordModule.plan

    def poisoned(self: ChordModule, step: int) -> Plan:
        if step == 2:
            poison(self.models.teacher, "embedding.weight")
        return plan(self, step)

    monkeypatch.setattr(ChordModule, "plan", poisoned)
    with pytest.raises(ConfigError, match=r"the teacher's weight embedding\.weight \(1 of \d+ num"):
        go(small_models, tmp_path / "run", "weighting=margin", *RUN)


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
