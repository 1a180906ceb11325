"""The training step: the only place where schedule, data, rollouts, weights and losses meet.

It differs from the papers' code in one important respect: each branch is divided by its own token
count over the whole optimizer step, however that is cut into micro-batches and ranks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from chord.distributed.strategies import average_gradients, local, shard, shards
from chord.models.models import Models
from chord.rollout.rollouts import Rollouts
from chord.schedules.base import OF_EXPERTS
from chord.step.collect import Collector
from chord.step.demonstrations import Imitation
from chord.step.engine import join
from chord.step.feedback import gradient_norm, measure, score_experts
from chord.step.learning_rates import set_rates
from chord.step.metrics import branch_metrics, gradient_metrics
from chord.step.nonfinite.guard import Guard
from chord.step.optimizer import take_step
from chord.step.plan import Plan, gated
from chord.step.precision import put_together
from chord.step.record import StepRecord
from chord.step.rl import add_rl_gradient
from chord.step.rows import OffPolicy, TokenLog, first_seen
from chord.step.sft import add_sft_gradient

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data
    from chord.rollout.engines import Engine


class ChordModule(LightningModule):
    """loss = alpha * SFT + (1 - alpha) * RL, one clipped optimizer step at a time.

    The batch that Lightning passes is the train step's number. The data of a step are a pure
    function of (seed, step), so a resumed run sees the same data.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Data,
        models: Models,
        engine: Engine | None = None,
        *,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.data = data
        self.policy = models.policy
        self.first_step = first_step
        # Kept in a list, so that frozen models are neither trained nor saved in checkpoints.
        self._models = [models]
        self.collect = Collector(config, data, models, engine)
        self.engine = self.collect.engine
        self.imitation = Imitation(config, data, models)
        self.record: StepRecord | None = None
        self.schedule_state = config.schedule.start()
        self.gate_state = config.gate.start()
        # From the last update that had an SFT branch; None before the first.
        self.sft_grad_norm: float | None = None
        self.guard = Guard(config)
        self.metrics: dict[str, float] = {}
        # Checkpoints leave out frozen weights, which remain where the run loaded them from.
        self.strict_loading = len(self.trainable()) == len(list(self.policy.parameters()))

    @property
    def models(self) -> Models:
        """The policy and the frozen models."""
        return self._models[0]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """The policy's optimizer, and the SFT branch's own if it has one; steps set their rates."""
        settings = [self.config.optimizer, self.config.sft_optimizer]
        return [s.build(self.trainable()) for s in settings if s is not None]

    def trainable(self) -> list[torch.nn.Parameter]:
        """The policy's parameters without frozen ones, such as those below adapters."""
        return [parameter for parameter in self.policy.parameters() if parameter.requires_grad]

    def configure_model(self) -> None:
        """Shard the policy if the strategy requires it."""
        if self.config.trainer.strategy == "fsdp":
            assert self.device_mesh is not None
            self.policy.before_sharding()
            shard(self.policy, self.policy.layers(), self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Move the frozen models to the policy's device."""
        # Lightning divides all cores among processes; a different number of threads changes
        # rounding.
        torch.set_num_threads(self.config.threads)
        for model in (self.models.teacher, self.models.reference):
            if model is not None:
                model.to(self.device)
        join(self.engine, self.config, self.data, self.policy)

    def on_fit_end(self) -> None:
        """Reassemble a sharded policy while all processes still exist."""
        if self.sharded:
            put_together(self.config, self.models)
            self.policy = self.models.policy

    def on_train_start(self) -> None:
        """Keep dropout off throughout: rollouts and ratios must see the same policy."""
        self.policy.eval()

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One train step: rollouts and expert demonstrations, then `updates` optimizer steps."""
        step, started = int(batch), time.perf_counter()
        plan = self.plan(step)
        sampled = time.perf_counter()
        self.metrics = {"alpha": plan.alpha, "lr": self.set_learning_rates(step), **plan.metrics}
        seconds_loss = seconds_update = 0.0
        for number in range(self.config.rollout.updates):
            before = time.perf_counter()
            sft, rl, updating = self.update(step, plan)
            if number == 0 and rl is not None and plan.rollouts is not None:
                plan.rollouts = first_seen(plan.rollouts, rl)
            seconds_update += updating
            seconds_loss += time.perf_counter() - before - updating
        self.metrics |= branch_metrics(plan.shares, sft, rl, own=plan.own)
        completions = []
        if plan.rollouts is not None:
            self.metrics |= plan.rollouts.metrics()
            if self.config.objective.resample:
                self.metrics["rollout/rounds"] = float(plan.rollouts.rounds)
            every = self.config.trainer.completions_every
            if every and step % every == 0:
                # All responses to the first two problems.
                completions = plan.rollouts.completions(2 * self.config.rollout.group_size)
        took = time.perf_counter() - started
        tokens = sum(self.metrics.get(f"tokens/{branch}", 0.0) for branch in ("sft", "rl"))
        timings = {
            "seconds/rollout": sampled - started,
            "seconds/loss": seconds_loss,
            "seconds/update": seconds_update,
            "seconds/step": took,
            "tokens_per_second": tokens / took,
        }
        self.record = StepRecord(
            step=step, metrics=self.metrics, timings=timings, completions=completions
        )

    def plan(self, step: int) -> Plan:
        """The branches of the step, with their rows and shares."""
        config = self.config
        rollouts = None
        if config.schedule.needs_rollouts or config.gate.needs_experts:
            rollouts = self.collect(step)
        self.observe(step, rollouts)
        alpha = self.alpha(step)
        shares = config.mix(alpha)
        if config.gate.needs_experts:
            plan, self.gate_state = gated(
                Plan(alpha, shares, None, rollouts),
                config.gate,
                self.gate_state,
                config.mix,
                self.imitation,
                step,
            )
            return plan
        own = shares.sft > 0 and config.target.on_own_samples(config.seed, step)
        if rollouts is None and (own or shares.rl > 0):
            rollouts = self.collect(step)
        if own:
            assert rollouts is not None
            return Plan(alpha, shares, self.imitation.own(rollouts), rollouts, own=True)
        experts = self.imitation.stream(step) if shares.sft > 0 else None
        return Plan(alpha, shares, experts, rollouts)

    def observe(self, step: int, rollouts: Rollouts | None) -> None:
        """Give the step's feedback to the schedule, if it reads any."""
        schedule, experts = self.config.schedule, None
        if schedule.needs_at(step) & OF_EXPERTS:
            experts = score_experts(
                self.models,
                self.imitation.stream(step),
                self.config.weighting,
                micro_batch=self.config.trainer.micro_batch,
            )
        feedback = measure(
            schedule, step, rollouts=rollouts, experts=experts, sft_grad_norm=self.sft_grad_norm
        )
        self.schedule_state = schedule.observe(self.schedule_state, step, feedback)

    def alpha(self, step: int) -> float:
        """Alpha of a step, given the present state; past the end, that of the last step."""
        return float(self.config.schedule(min(step, self.config.steps - 1), self.schedule_state))

    def set_learning_rates(self, step: int) -> float:
        """Set this step's learning rates; returns the policy optimizer's."""
        return set_rates(self.config, step, self._optimizers())

    def update(self, step: int, plan: Plan) -> tuple[TokenLog | None, TokenLog | None, float]:
        """One update: both branches into one optimizer step, or RL's and then SFT's own.

        Returns what the branches saw, and the seconds of the optimizer steps.
        """
        optimizer, *others = self._optimizers()
        if not others:
            sft, rl = self.add_gradients(step, plan)
            return sft, rl, self.take_step(step, plan, optimizer, self.config.optimizer.clip_norm)
        assert self.config.sft_optimizer is not None
        seconds = 0.0
        self.zero_gradients()
        rl = self.add_rl(plan)
        if rl is not None:
            seconds += self.take_step(step, plan, optimizer, self.config.optimizer.clip_norm)
        self.zero_gradients()
        sft = self.add_sft(plan)
        if sft is not None:
            # Lightning counts the optimizer steps that it sees, and each update is one.
            clip = self.config.sft_optimizer.clip_norm
            seconds += self.take_step(step, plan, others[0], clip, name="sft", counted=rl is None)
        return sft, rl, seconds

    def add_gradients(self, step: int, plan: Plan) -> tuple[TokenLog | None, TokenLog | None]:
        """Add both branches' gradients to the parameters; every n steps, compare them."""
        self.zero_gradients()
        sft = self.add_sft(plan)
        every = self.config.trainer.diagnostics_every
        compare = sft is not None and plan.shares.rl > 0 and every > 0 and step % every == 0
        sft_gradient = [gradient.clone() for gradient in self.gradients()] if compare else []
        rl = self.add_rl(plan)
        if compare:
            both = zip(self.gradients(), sft_gradient, strict=True)
            self.metrics |= gradient_metrics(
                sft_gradient, [b - s for b, s in both], sharded=self.sharded
            )
        return sft, rl

    def add_sft(self, plan: Plan) -> TokenLog | None:
        """The SFT branch's gradient; None if it is skipped."""
        if plan.experts is None:
            return None
        seen = add_sft_gradient(
            self.models,
            plan.experts,
            self.config.weighting,
            share=plan.shares.sft,
            target=self.config.target,
            micro_batch=self.config.trainer.micro_batch,
            backward=self.manual_backward,
        )
        if "sft_grad_norm" in self.config.schedule.needs:
            # Before the RL branch is added, and without the branch's share.
            norm = gradient_norm(self.gradients(), sharded=self.sharded) / plan.shares.sft
            # A non-finite one leaves no trace in the controller if the step is skipped.
            self.sft_grad_norm = norm if math.isfinite(norm) else self.sft_grad_norm
        return seen

    def add_rl(self, plan: Plan) -> TokenLog | None:
        """The RL branch's gradient; None if it is skipped."""
        if plan.rollouts is None or plan.shares.rl == 0:
            return None
        rollout = self.config.rollout
        return add_rl_gradient(
            self.models,
            plan.rollouts.rows,
            self.config.objective,
            self.config.weighting,
            share=plan.shares.rl,
            temperature=rollout.temperature,
            max_length=rollout.max_new_tokens,
            off_policy=OffPolicy(
                loss=rollout.off_policy_loss,
                coef=rollout.prefix_coef,
                weighting=self.config.off_policy,
            ),
            micro_batch=self.config.trainer.micro_batch,
            backward=self.manual_backward,
        )

    def take_step(
        self,
        step: int,
        plan: Plan,
        optimizer: LightningOptimizer,
        clip: float,
        *,
        name: str = "",
        counted: bool = True,
    ) -> float:
        """Clip the gradient's norm and take one optimizer step; returns its seconds."""
        metrics, seconds, taken = take_step(
            optimizer,
            self.trainable(),
            clip,
            name=name,
            counted=counted,
            not_finite=partial(self.guard, self.models, plan, step, name),
        )
        self.metrics |= metrics
        self.guard.count(name, taken, self.metrics)
        return seconds

    def zero_gradients(self) -> None:
        """Set zeros, not None: a skipped branch adds 0 to every parameter."""
        for parameter in self.trainable():
            parameter.grad = torch.zeros_like(parameter)

    def gradients(self) -> list[Tensor]:
        """This rank's part of the whole step's gradient so far."""
        average_gradients(self.trainable())
        return [local(p.grad) for p in self.trainable() if p.grad is not None]

    @property
    def sharded(self) -> bool:
        """Whether each rank holds a part of each gradient."""
        return bool(shards(self.policy))

    def _optimizers(self) -> Sequence[LightningOptimizer]:
        found = self.optimizers()
        each = found if isinstance(found, list) else [found]
        assert all(isinstance(optimizer, LightningOptimizer) for optimizer in each)
        return each
