"""A step's rollouts: the policy answers problems, a verifier scores, advantages follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from chord.data.batch import Problem, collate
from chord.distributed import all_rows, all_sum, part_of, rank
from chord.feedback import step_signal
from chord.gradients import Models, RolloutRows, kl_in_reward, own_logprobs
from chord.losses import group_signal
from chord.metrics import Rollouts
from chord.models.scoring import scatter
from chord.processes import whole
from chord.rewards import Grade
from chord.rollout.engines import Native, open_engine
from chord.rollout.mismatch import Mismatch, compare
from chord.rollout.prefix import Given, Stage
from chord.rollout.sampling import draw_uniforms

if TYPE_CHECKING:
    from chord.config import TrainConfig
    from chord.data.base import Data
    from chord.rollout.sampling import Uniforms

# Samples of later rounds are numbered from here on, or a problem that is drawn again would get the
# same answers.
_ROUND = 1_000_000


@dataclass
class Answer:
    """A member of a group: what the expert gave of it, then what the policy sampled.

    `text` is what is graded: of several turns the last.
    """

    given: Given
    sampled: list[int]
    logprobs: Tensor
    """As the policy has them; while it samples, if it has answered itself."""
    entropies: Tensor
    finished: bool
    text: str
    sampler_logprobs: Tensor
    """As whatever sampled the tokens has them."""
    grade: Grade | None = None
    """Once it was graded."""

    @property
    def length(self) -> int:
        """Its tokens, those of others' turns left out."""
        return self.given.count + len(self.sampled)

    @property
    def graded(self) -> Grade:
        """Its grade, which every answer of a group has."""
        assert self.grade is not None, "an answer joins its group when it is graded"
        return self.grade


@dataclass
class Group:
    """A problem and its answers so far."""

    problem: Problem
    prompt: list[int]
    expert: Given
    """The expert's answer with its end token; empty where none is read."""
    stages: list[Stage]
    answers: list[Answer] = field(default_factory=list)

    @property
    def solved(self) -> float:
        """The mean score of the answers so far."""
        return sum(answer.graded.score for answer in self.answers) / max(1, len(self.answers))

    @property
    def scores(self) -> Tensor:
        """(K,) in float64."""
        return torch.tensor([answer.graded.score for answer in self.answers], dtype=torch.float64)


class Collector:
    """Answers each problem of a step `group_size` times, as the rollout settings say.

    Each rank answers its share of a step's problems, which may be none.
    """

    def __init__(self, config: TrainConfig, data: Data, models: Models) -> None:
        self.config = config
        self.data = data
        self.models = models
        self.engine = models.engine = models.engine or open_engine(config, data, models.policy)

    def __call__(self, step: int) -> Rollouts:
        """The rollouts of a train step, with their advantages.

        With `objective.resample` only groups with a signal are kept, until the batch is full or
        the rounds are over; where no group at all carries one, the last round stands for the step.
        """
        wanted, rounds = self.config.rollout.problems, 1 + self.config.objective.resample
        kept: list[Group] = []
        count = 0
        for redraw in range(rounds):
            with whole(self.models.policy):
                groups = self.round(step, redraw)
            good = [g for g in groups if rounds == 1 or bool(group_signal(g.scores[None]))]
            # Of all ranks the first ones count: a round's in rank order, then the next round's.
            counts = all_rows(torch.tensor([len(good)]))[0].tolist()
            kept += good[: max(0, wanted - count - sum(counts[: rank()]))]
            count += sum(counts)
            if count >= wanted:
                break
        return self.rollouts(kept if count else groups, rounds=redraw + 1)

    def round(self, step: int, redraw: int) -> list[Group]:
        """Our groups of newly drawn problems, sampled stage by stage and scored."""
        if redraw == 0:
            self.engine.sync(self.models.policy)
        config, seed, tokenizer = self.config.rollout, self.config.seed, self.data.tokenizer
        own = config.group_size - config.expert_in_group
        # A further round goes on where the last one stopped drawing.
        drawn = self.data.problems(step, seed, (redraw + 1) * config.problems)
        everyones = drawn[redraw * config.problems :]
        numbers = part_of(range(len(everyones)))
        problems = [everyones[number] for number in numbers]
        groups = [
            Group(
                problem=problem,
                prompt=tokenizer.prompt(problem),
                expert=Given(*tokenizer.response(self.data.pair_with(problem.key)))
                if config.needs_expert_answers
                else Given(),
                stages=config.prefixes.stages(own, step=step, seed=seed, key=problem.key),
            )
            for problem in problems
        ]
        if not groups:
            return []
        # A problem that another rank has, too, goes on counting samples there.
        uniforms = draw_uniforms(
            seed,
            step,
            keys=[problem.key for problem in everyones],
            group_size=own,
            max_new_tokens=config.max_new_tokens,
            first=redraw * _ROUND,
        )
        uniforms = uniforms[numbers.start * own : numbers.stop * own]
        # Every problem's group has the same stages, of different lengths.
        for number, stage in enumerate(groups[0].stages):
            done = len(groups[0].answers)
            rows = uniforms.reshape(len(groups), own, -1)[:, done : done + stage.count]
            self.sample(groups, number, rows.reshape(-1, uniforms.shape[1]))
        for _ in range(config.expert_in_group):
            self.add(groups, [self.expert_answer(group) for group in groups])
        return groups

    def sample(self, groups: Sequence[Group], number: int, uniforms: Uniforms) -> None:
        """Add a stage's answers to each group."""
        config, tokenizer = self.config.rollout, self.data.tokenizer
        # The last end token is left to the policy.
        lengths = [g.stages[number].length(g.expert.count - 1, g.solved) for g in groups]
        given = [g.expert.first(length) for g, length in zip(groups, lengths, strict=True)]
        count = groups[0].stages[number].count
        samples = self.engine.sample(
            self.models.policy,
            [[*group.prompt, *each.tokens] for group, each in zip(groups, given, strict=True)],
            group_size=count,
            limits=[max(1, config.max_new_tokens - len(each.tokens)) for each in given],
            uniforms=uniforms,
        )
        sizes = [len(response) for response in samples.responses]
        logprobs, entropies = samples.logprobs.split(sizes), samples.entropies.split(sizes)
        told = samples.logprobs if samples.sampler_logprobs is None else samples.sampler_logprobs
        sampler = told.split(sizes)
        answers = [
            Answer(
                given=given[row // count],
                sampled=response,
                logprobs=logprobs[row],
                entropies=entropies[row],
                sampler_logprobs=sampler[row],
                finished=samples.finished[row],
                text=tokenizer.decode([*given[row // count].turn, *response]),
            )
            for row, response in enumerate(samples.responses)
        ]
        self.add([group for group in groups for _ in range(count)], answers)

    def expert_answer(self, group: Group) -> Answer:
        """The whole of the expert's answer, with its end token."""
        nothing = torch.zeros(0, dtype=self.models.dtype)
        text = self.data.pair_with(group.problem.key).response
        return Answer(group.expert, [], nothing, nothing, True, text, nothing)

    def add(self, groups: Sequence[Group], answers: Sequence[Answer]) -> None:
        """Grade an answer to each of `groups`, and add it; one that was cut off is no answer."""
        grades = self.config.reward.grade(
            [group.problem for group in groups],
            [answer.text if answer.finished else "" for answer in answers],
            [answer.length for answer in answers],
        )
        for group, answer, grade in zip(groups, answers, grades, strict=True):
            answer.grade = grade
            group.answers.append(answer)

    def rollouts(self, groups: Sequence[Group], *, rounds: int) -> Rollouts:
        """Rows for the RL branch, problem by problem, with what the log shows of them."""
        config = self.config.rollout
        answers = [answer for group in groups for answer in group.answers]
        shape = (len(groups), config.group_size)
        tokens = collate(
            [group.prompt for group in groups for _ in group.answers],
            [[*answer.given.tokens, *answer.sampled] for answer in answers],
            pad_id=self.data.tokenizer.pad_id,
            written=[[*answer.given.written, *[True] * len(answer.sampled)] for answer in answers],
        )
        expert, device = None, self.models.policy.device
        tokens = tokens.to(device)
        if config.needs_expert_answers:
            given = torch.tensor([answer.given.count for answer in answers], device=device)
            expert = tokens.mask & (tokens.mask.cumsum(dim=1) <= given[:, None])
        own = tokens if expert is None else tokens.within(~expert)
        rewards = torch.tensor([a.graded.reward for a in answers], dtype=torch.float64)
        rewards = rewards.reshape(shape).to(device)
        kl, mean_kl, penalty = self.config.objective.kl, None, torch.zeros_like(rewards)
        if kl.coef > 0 and kl.where == "reward":
            penalty = kl_in_reward(
                self.models,
                own,
                kl,
                temperature=config.temperature,
                micro_batch=self.config.trainer.micro_batch,
            )
            penalty = penalty.reshape(shape)
            totals = torch.stack([penalty.sum(), own.mask.sum().to(penalty.dtype)])
            penalty_sum, count = all_sum(totals).tolist()
            mean_kl = penalty_sum / kl.coef / max(1, count)
        scores = torch.tensor([a.graded.score for a in answers], dtype=torch.float64, device=device)
        scores = scores.reshape(shape)
        dtype = self.models.dtype
        nothing = torch.zeros(0, dtype=dtype)
        told = torch.cat([nothing, *(a.sampler_logprobs for a in answers)]).to(device)
        rows = RolloutRows(
            tokens=tokens,
            old_logprobs=None,
            advantages=self.advantages(rewards, scores, penalty, answers).flatten().to(dtype),
            signal=step_signal(scores.flatten()).to(dtype),
            finished=torch.tensor([a.finished for a in answers], dtype=torch.bool, device=device),
            expert=expert,
            sampler_logprobs=scatter(told, own.mask),
        )
        mismatch = self.mismatch(rows, answers)
        if mismatch.weights is not None:
            rows = replace(rows, correction=scatter(mismatch.weights, own.mask))
        return Rollouts(
            rows=rows,
            problems=[group.problem for group in groups for _ in group.answers],
            texts=[a.text for a in answers],
            finished=[a.finished for a in answers],
            styled=[self.data.is_expert_style(a.text) for a in answers],
            scores=scores,
            rewards=rewards - penalty,
            entropies=torch.cat([nothing, *(a.entropies for a in answers)]).to(device),
            kl=mean_kl,
            rounds=rounds,
            experts=config.expert_in_group,
            mismatch=mismatch.metrics,
            failures=[a.graded.failure for a in answers] if self.config.reward.fallible else None,
        )

    def mismatch(self, rows: RolloutRows, answers: Sequence[Answer]) -> Mismatch:
        """How far the policy is from what sampled, where that has to be known before the update.

        Another engine's answers have been scored by the policy when they came. The policy's own are
        scored here if they are to be corrected; else the training pass tells how far they are.
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

    def advantages(
        self, rewards: Tensor, scores: Tensor, penalty: Tensor, answers: Sequence[Answer]
    ) -> Tensor:
        """Advantages of our groups (P, K); statistics over the batch are taken over all ranks."""
        advantage, shape = self.config.advantage, rewards.shape
        own = torch.tensor([len(a.sampled) > 0 for a in answers], device=rewards.device)
        spread = [float(a.entropies.double().mean()) if a.sampled else 0.0 for a in answers]
        entropy = torch.tensor(spread, dtype=torch.float64, device=rewards.device)
        columns = [rewards, scores, penalty, own.double().reshape(shape), entropy.reshape(shape)]
        gathered, start = all_rows(torch.stack(columns, dim=-1))
        rewards, scores, penalty, own, entropy = gathered.unbind(dim=-1)
        verdicts = {"scores": scores} if advantage.reads_scores else {}
        everyone = advantage(rewards, own=own > 0, entropy=entropy, **verdicts)
        if bool(penalty.any()):
            everyone = everyone - advantage.penalty(penalty, own=own > 0)
        return everyone[start : start + shape[0]]
