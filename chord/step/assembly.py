"""From a step's groups to the rows that it trains on, and to what it shows of the policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import TokenBatch, collate
from chord.distributed.collectives import all_rows, all_sum
from chord.models.models import Models
from chord.models.scoring import scatter
from chord.rollout.engines import Engine, Native
from chord.rollout.groups import Answer, Group
from chord.rollout.mismatch import Mismatch, compare
from chord.rollout.observed import Observed
from chord.rollout.rollouts import Rollouts
from chord.rollout.rows import RolloutRows
from chord.step.feedback import step_signal
from chord.step.terms import kl_in_reward, own_logprobs

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data


class Assembly:
    """Makes the `Rollouts` of a step from its groups, once all responses are sampled and graded."""

    def __init__(self, config: TrainConfig, data: Data, models: Models, engine: Engine) -> None:
        self.config = config
        self.data = data
        self.models = models
        self.engine = engine

    def __call__(self, groups: Sequence[Group], drawn: Sequence[Sequence[Group]]) -> Rollouts:
        """Rows for the RL branch, problem by problem, and what the step shows of the policy.

        `drawn` are the groups of all rounds; `groups` are those of them that are trained on.
        """
        config, everyone = self.config, [group for round in drawn for group in round]
        self.penalise(everyone)
        answers = [answer for group in groups for answer in group.answers]
        shape = (len(groups), config.rollout.group_size)
        rows = self.rows(groups, answers)
        scores, rewards, advantages = self.graded([group.answers for group in groups])
        rows.advantages = advantages.flatten().to(self.models.dtype)
        rows.signal = step_signal(scores.flatten()).to(self.models.dtype)
        mismatch = self.mismatch(rows, answers)
        if mismatch.weights is not None:
            rows.correction = scatter(mismatch.weights, rows.own().tokens.mask)
        asked = [a for group in everyone for a in (*group.answers, *group.aside)]
        return Rollouts(
            rows=rows,
            problems=[group.problem for group in groups for _ in group.answers],
            texts=[a.text for a in answers],
            finished=[a.finished for a in answers],
            scores=scores.reshape(shape),
            rewards=rewards.reshape(shape),
            observed=self.observed(everyone),
            places=[everyone.index(group) for group in groups],
            first=list(drawn[0]),
            selected=config.objective.resample > 0 or config.rollout.needs_expert_answers,
            kl=self.mean_kl(answers),
            rounds=len(drawn),
            mismatch=mismatch.metrics,
            failures=[a.graded.failure for a in asked] if config.reward.fallible else None,
        )

    def rows(self, groups: Sequence[Group], answers: Sequence[Answer]) -> RolloutRows:
        """The groups' tokens, which ones are the expert's, and the sampler's log-probabilities."""
        tokens, expert = self.collated(groups, answers)
        mask = tokens.mask if expert is None else tokens.mask & ~expert
        nothing = torch.zeros(0, dtype=self.models.dtype)
        told = torch.cat([nothing, *(a.sampler_logprobs for a in answers)]).to(mask.device)
        zeros = torch.zeros(len(answers), dtype=self.models.dtype, device=mask.device)
        return RolloutRows(
            tokens=tokens,
            old_logprobs=None,
            advantages=zeros,
            signal=zeros,
            finished=torch.tensor([a.finished for a in answers], dtype=torch.bool).to(mask.device),
            expert=expert,
            sampler_logprobs=scatter(told, mask),
            order=self.order(groups).to(mask.device),
        )

    def order(self, groups: Sequence[Group]) -> Tensor:
        """The place of each response in the whole step, round by round, as `Batch` takes groups.

        Groups whose scores are all equal come last.
        """
        rounds = 1 + self.config.objective.resample
        places = [g.redraw + (0 if rounds == 1 or g.told_apart else rounds) for g in groups]
        count = self.config.rollout.group_size
        return torch.tensor(places, dtype=torch.int64).repeat_interleave(count)

    def collated(
        self, groups: Sequence[Group], answers: Sequence[Answer]
    ) -> tuple[TokenBatch, Tensor | None]:
        """Tokens of responses, equally many per group, and which are the expert's (None: none)."""
        count = len(answers) // max(1, len(groups))
        tokens = collate(
            [group.prompt for group in groups for _ in range(count)],
            [[*answer.given.tokens, *answer.sampled] for answer in answers],
            pad_id=self.data.tokenizer.pad_id,
            written=[[*answer.given.written, *[True] * len(answer.sampled)] for answer in answers],
        ).to(self.models.policy.device)
        if not self.config.rollout.needs_expert_answers:
            return tokens, None
        given = torch.tensor([answer.given.count for answer in answers], device=tokens.mask.device)
        return tokens, tokens.mask & (tokens.mask.cumsum(dim=1) <= given[:, None])

    def penalise(self, groups: Sequence[Group]) -> None:
        """Lower the rewards by the KL of the policy's own tokens, if it goes into the reward."""
        kl = self.config.objective.kl
        if not kl.in_reward:
            return
        parts = [(group, group.answers) for group in groups]
        parts += [(group, group.aside) for group in groups if group.aside]
        answers = [answer for _, members in parts for answer in members]
        tokens, expert = self.collated([group for group, m in parts for _ in m], answers)
        penalty = kl_in_reward(
            self.models,
            tokens if expert is None else tokens.within(~expert),
            kl,
            temperature=self.config.rollout.temperature,
            micro_batch=self.config.trainer.micro_batch,
        )
        for answer, value in zip(answers, penalty.tolist(), strict=True):
            answer.penalty = value

    def mean_kl(self, answers: Sequence[Answer]) -> float | None:
        """Mean KL over the tokens trained on, on all ranks, if the KL goes into the reward."""
        kl = self.config.objective.kl
        if not kl.in_reward:
            return None
        lowered = torch.tensor([a.penalty for a in answers], dtype=torch.float64).sum()
        count = torch.tensor(sum(len(a.sampled) for a in answers), dtype=torch.float64)
        total, tokens = all_sum(torch.stack([lowered, count])).tolist()
        return float(total / kl.coef / max(1, tokens))

    def observed(self, groups: Sequence[Group]) -> Observed:
        """The policy's own responses to all problems drawn."""
        seen = [group for group in groups if group.own]
        own = [group.own for group in seen]
        size = self.config.rollout.unaided
        # Advantages compare all members of a group, including those that are not the policy's.
        members = [group.aside or group.answers for group in seen]
        scores, rewards, advantages = (table[:, :size] for table in self.graded(members))
        device, dtype = rewards.device, self.models.dtype
        answers = [answer for each in own for answer in each]

        def table(values: Sequence[float], kind: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=kind, device=device).reshape(len(own), size)

        def tokens(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat([torch.zeros(0, dtype=dtype), *parts]).to(device)

        styled = [math.nan if a.styled is None else float(a.styled) for a in answers]
        return Observed(
            problems=[group.problem for group in seen],
            rounds=torch.tensor([group.redraw for group in seen], dtype=torch.int64),
            scores=scores,
            rewards=rewards,
            advantages=advantages.to(dtype),
            lengths=table([len(a.sampled) for a in answers], torch.int64),
            finished=table([a.finished for a in answers], torch.bool),
            styled=table(styled, torch.float64),
            entropies=tokens([a.entropies for a in answers]),
            entropies_at_one=tokens([a.entropies_at_one for a in answers]),
        )

    def mismatch(self, rows: RolloutRows, answers: Sequence[Answer]) -> Mismatch:
        """The mismatch between policy and sampler, if it has to be known before the update.

        The responses of another engine were scored by the policy when they arrived. The policy's
        own are scored here if they are to be corrected; otherwise the training pass measures the
        mismatch.
        """
        config, mask = self.config.rollout, rows.own().tokens.mask
        assert rows.sampler_logprobs is not None
        if not isinstance(self.engine, Native):
            nothing = torch.zeros(0, dtype=self.models.dtype)
            logprobs = torch.cat([nothing, *(a.logprobs for a in answers)]).to(mask.device)
        elif config.correct_native:
            logprobs = own_logprobs(
                self.models,
                rows,
                temperature=config.temperature,
                micro_batch=self.config.trainer.micro_batch,
            )[mask]
        else:
            return Mismatch({}, None)
        return compare(
            logprobs,
            rows.sampler_logprobs[mask],
            threshold=config.correction_threshold,
            cap=config.correction_cap,
        )

    def graded(self, groups: Sequence[Sequence[Answer]]) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, rewards and advantages (P, K) of the responses in this rank's groups.

        Statistics over the batch are taken over the groups of all ranks.
        """
        advantage, device = self.config.advantage, self.models.policy.device
        answers = [answer for members in groups for answer in members]
        entropies = [float(a.entropies.double().mean()) if a.sampled else 0.0 for a in answers]
        columns = [
            [a.graded.reward for a in answers],
            [a.graded.score for a in answers],
            [a.penalty for a in answers],
            [float(len(a.sampled) > 0) for a in answers],
            entropies,
        ]
        size = self.config.rollout.group_size
        ours = torch.tensor(columns, dtype=torch.float64, device=device)
        ours = ours.reshape(len(columns), len(groups), size).movedim(0, -1)
        gathered, start = all_rows(ours)
        rewards, scores, penalty, own, entropy = gathered.unbind(dim=-1)
        verdicts = {"scores": scores} if advantage.reads_scores else {}
        everyone = advantage(rewards, own=own > 0, entropy=entropy, **verdicts)
        if self.config.objective.kl.in_reward:
            everyone = everyone - advantage.penalty(penalty, own=own > 0)
        part = slice(start, start + len(groups))
        return scores[part], (rewards - penalty)[part], everyone[part]
