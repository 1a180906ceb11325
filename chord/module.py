"""The training step: the only place where schedule, data, rollouts, weights and losses meet.

It departs from the papers' codes in one respect that matters: each branch is divided by its own
token count over the whole optimizer step, however that is cut into micro-batches and ranks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from chord.data.batch import collate
from chord.distributed import all_max, all_min, all_rows
from chord.feedback import gradient_norm, measure, score_experts
from chord.gradients import (
    ExpertRows,
    Models,
    RolloutRows,
    Tokens,
    add_rl_gradient,
    add_sft_gradient,
    kl_in_reward,
)
from chord.metrics import Rollouts, branch_metrics, gradient_metrics
from chord.models.scoring import scatter
from chord.recorder import StepRecord
from chord.rollout import draw_uniforms, sample
from chord.schedules import Step
from chord.schedules.base import OF_EXPERTS
from chord.weightings import minmax_signal

if TYPE_CHECKING:
    from chord.config import TrainConfig
    from chord.data.base import Data


class DivergedError(ValueError):
    """Training cannot go on: a gradient is not finite."""


class ChordModule(LightningModule):
    """loss = alpha * SFT + (1 - alpha) * RL, one clipped optimizer step at a time.

    The batch that Lightning hands over is the train step's number; the data of a step are a pure
    function of (seed, step), so that a resumed run sees the same.
    """

    def __init__(
        self, config: TrainConfig, data: Data, models: Models, *, first_step: int = 0
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.data = data
        self.policy = models.policy
        self.first_step = first_step
        # Held in a list, so that frozen models are neither trained nor saved in checkpoints.
        self._models = [models]
        self.record: StepRecord | None = None
        self.schedule_state = config.schedule.start()
        # Of the last update that had an SFT branch; None until one has.
        self.sft_grad_norm: float | None = None
        self.metrics: dict[str, float] = {}

    @property
    def models(self) -> Models:
        """The policy with the frozen models beside it."""
        return self._models[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the policy; its learning rate is set in each step."""
        return self.config.optimizer.build(self.policy.parameters())

    def on_train_start(self) -> None:
        """Dropout stays off throughout: rollouts and ratios must see one and the same policy."""
        self.policy.eval()

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One train step: rollouts and expert pairs, then `updates` optimizer steps on them."""
        step, started = int(batch), time.perf_counter()
        rollouts = self.collect(step) if self.config.schedule.needs_rollouts else None
        self.observe(step, rollouts)
        alpha = self.alpha(step)
        if rollouts is None and alpha < 1:
            rollouts = self.collect(step)
        sampled = time.perf_counter()
        self.metrics = {"alpha": alpha, "lr": self.set_learning_rate(step)}
        experts = self.expert_rows(step) if alpha > 0 else None
        seconds_loss = seconds_update = 0.0
        for _ in range(self.config.rollout.updates):
            before = time.perf_counter()
            sft, rl = self.add_gradients(step, alpha, experts, rollouts)
            between = time.perf_counter()
            self.update()
            seconds_loss += between - before
            seconds_update += time.perf_counter() - between
        self.metrics |= branch_metrics(alpha, sft, rl)
        completions = []
        if rollouts is not None:
            self.metrics |= rollouts.metrics()
            every = self.config.trainer.completions_every
            # All answers to the first two problems.
            kept = 2 * self.config.rollout.group_size if every and step % every == 0 else 0
            completions = rollouts.completions(kept)
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

    def observe(self, step: int, rollouts: Rollouts | None) -> None:
        """Hand the step's feedback to the schedule, if it reads any."""
        schedule, experts = self.config.schedule, None
        if schedule.needs_at(step) & OF_EXPERTS:
            experts = score_experts(
                self.models,
                self.expert_rows(step),
                self.config.weighting,
                micro_batch=self.config.trainer.micro_batch,
            )
        feedback = measure(
            schedule, step, rollouts=rollouts, experts=experts, sft_grad_norm=self.sft_grad_norm
        )
        self.schedule_state = schedule.observe(self.schedule_state, step, feedback)

    def alpha(self, step: int) -> float:
        """Alpha of a step as things stand; beyond the run that of its last step."""
        return float(self.config.schedule(min(step, self.config.steps - 1), self.schedule_state))

    def set_learning_rate(self, step: int) -> float:
        """Set this step's learning rate; at the switch of phases, forget the optimizer's state."""
        config, schedule = self.config.optimizer, self.config.schedule
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        rate, since, length = config.lr, step, self.config.steps
        if isinstance(schedule, Step):
            in_rl = step >= schedule.switch
            if schedule.phase.lr is not None:
                rate = schedule.phase.lr[int(in_rl)]
            if schedule.phase.reset_optimizer:
                length = length - schedule.switch if in_rl else schedule.switch
                since = step - schedule.switch if in_rl else step
                if in_rl and since == 0:
                    optimizer.optimizer.state.clear()
        rate *= config.factor(since, length)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate

    def collect(self, step: int) -> Rollouts:
        """Answer this step's problems `group_size` times each and score the answers."""
        config, tokenizer = self.config.rollout, self.data.tokenizer
        problems = self.data.problems(step, self.config.seed, config.problems)
        prompts = [tokenizer.encode(problem.prompt) for problem in problems]
        samples = sample(
            self.policy,
            prompts,
            group_size=config.group_size,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            uniforms=draw_uniforms(
                self.config.seed,
                step,
                keys=[problem.key for problem in problems],
                group_size=config.group_size,
                max_new_tokens=config.max_new_tokens,
            ),
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )
        repeated = [problem for problem in problems for _ in range(config.group_size)]
        texts = [tokenizer.decode(response) for response in samples.responses]
        complete = [t if done else "" for t, done in zip(texts, samples.finished, strict=True)]
        score, reward = self.config.reward.score, self.config.reward.reward
        shape = (config.problems, config.group_size)
        scores = _table([score(p, t) for p, t in zip(repeated, complete, strict=True)], shape)
        rewards = _table([reward(p, t) for p, t in zip(repeated, complete, strict=True)], shape)
        tokens = collate(
            [prompt for prompt in prompts for _ in range(config.group_size)],
            samples.responses,
            pad_id=tokenizer.pad_id,
        )
        kl, mean_kl = self.config.objective.kl, None
        if kl.coef > 0 and kl.where == "reward":
            penalty = kl_in_reward(
                self.models,
                tokens,
                kl,
                temperature=config.temperature,
                micro_batch=self.config.trainer.micro_batch,
            )
            rewards = rewards - penalty.reshape(shape)
            mean_kl = float(penalty.sum() / kl.coef / tokens.mask.sum().clamp(min=1))
        rows = RolloutRows(
            tokens=tokens,
            old_logprobs=scatter(samples.logprobs, tokens.mask),
            advantages=self.advantages(rewards).flatten().to(self.dtype_of_policy),
            signal=self.signal(scores.flatten()),
            finished=torch.tensor(samples.finished, dtype=torch.bool),
        )
        styled = [self.data.is_expert_style(text) for text in texts]
        return Rollouts(
            rows,
            repeated,
            texts,
            samples.finished,
            styled,
            scores,
            rewards,
            samples.entropies,
            mean_kl,
        )

    def advantages(self, rewards: Tensor) -> Tensor:
        """Advantages of our rows; statistics over the batch are taken over all ranks."""
        gathered, start = all_rows(rewards)
        return self.config.advantage(gathered)[start : start + rewards.shape[0]]

    def signal(self, scores: Tensor) -> Tensor:
        """Scores to n in [0, 1] by the smallest and largest of the whole step, on all ranks."""
        magnitude = scores.abs()
        low, high = all_min(magnitude.min()), all_max(magnitude.max())
        return minmax_signal(scores, low=low, high=high).to(self.dtype_of_policy)

    @property
    def dtype_of_policy(self) -> torch.dtype:
        """What the policy computes in."""
        return next(self.policy.parameters()).dtype

    def expert_rows(self, step: int) -> ExpertRows:
        """This step's expert pairs; the signal of a pair is the verifier's score of its answer."""
        tokenizer = self.data.tokenizer
        pairs = self.data.pairs(step, self.config.seed, self.config.data.expert_batch)
        tokens = collate(
            [tokenizer.encode(pair.problem.prompt) for pair in pairs],
            [[*tokenizer.encode(pair.response), tokenizer.eos_id] for pair in pairs],
            pad_id=tokenizer.pad_id,
        )
        scores = [self.config.reward.score(pair.problem, pair.response) for pair in pairs]
        return ExpertRows(tokens, self.signal(torch.tensor(scores, dtype=torch.float64)))

    def add_gradients(
        self, step: int, alpha: float, experts: ExpertRows | None, rollouts: Rollouts | None
    ) -> tuple[Tokens | None, Tokens | None]:
        """Both branches' gradients into the parameters; every n steps they are compared."""
        config, models = self.config, self.models
        micro_batch = config.trainer.micro_batch
        for parameter in self.policy.parameters():
            parameter.grad = torch.zeros_like(parameter)
        sft = rl = None
        if experts is not None and alpha > 0:
            sft = add_sft_gradient(
                models,
                experts,
                config.weighting,
                share=alpha,
                micro_batch=micro_batch,
                backward=self.manual_backward,
            )
        if sft is not None and "sft_grad_norm" in config.schedule.needs:
            # Before the RL branch is added, and without the factor alpha.
            self.sft_grad_norm = gradient_norm(list(map(_grad, self.policy.parameters()))) / alpha
        every = config.trainer.diagnostics_every
        compare = sft is not None and alpha < 1 and every > 0 and step % every == 0
        sft_gradient = [_grad(p).clone() for p in self.policy.parameters()] if compare else []
        if rollouts is not None and alpha < 1:
            rl = add_rl_gradient(
                models,
                rollouts.rows,
                config.objective,
                config.weighting,
                share=1 - alpha,
                temperature=config.rollout.temperature,
                max_length=config.rollout.max_new_tokens,
                micro_batch=micro_batch,
                backward=self.manual_backward,
            )
        if compare:
            both = [_grad(p) for p in self.policy.parameters()]
            rl_gradient = [b - s for b, s in zip(both, sft_gradient, strict=True)]
            self.metrics |= gradient_metrics(sft_gradient, rl_gradient)
        return sft, rl

    def update(self) -> None:
        """Clip the gradient's norm and take one optimizer step."""
        norm = torch.nn.utils.clip_grad_norm_(
            self.policy.parameters(), self.config.optimizer.clip_norm
        )
        if not torch.isfinite(norm):
            raise DivergedError(
                f"optimizer.lr={self.config.optimizer.lr}: the gradient is no longer finite; what "
                "was computed before is kept, a lower learning rate may help"
            )
        self.metrics["grad/norm"] = float(norm)
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        optimizer.step()


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _table(values: list[float], shape: tuple[int, int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(shape)
