"""A step's rollouts: the policy responds to problems, and a verifier scores the responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from chord.distributed.collectives import part_of
from chord.distributed.strategies import whole
from chord.models.models import Models
from chord.rollout.engines import Engine
from chord.rollout.groups import Answer, Batch, Group
from chord.rollout.prefix import Given, Stage
from chord.rollout.rollouts import Rollouts
from chord.rollout.sampling import draw_uniforms
from chord.schedules.base import OF_ROLLOUTS
from chord.step.assembly import Assembly
from chord.step.engine import open_engine

if TYPE_CHECKING:
    from chord.config.root import TrainConfig
    from chord.data.base import Data
    from chord.rollout.sampling import Uniforms

# Samples of later rounds are numbered from here on; otherwise a problem that is drawn again would
# get the same responses.
_ROUND = 1_000_000


class Collector:
    """Samples `group_size` responses to each problem of a step, as the rollout settings say.

    Each rank samples for its share of the step's problems, which may be none.
    """

    def __init__(
        self, config: TrainConfig, data: Data, models: Models, engine: Engine | None = None
    ) -> None:
        self.config = config
        self.data = data
        self.models = models
        self.engine = engine or open_engine(config, data, models.policy)
        self.assemble = Assembly(config, data, models, self.engine)

    def __call__(self, step: int) -> Rollouts:
        """The rollouts of a train step, with their advantages.

        With `objective.resample`, groups whose scores differ fill the batch until it is full or no
        round is left. Remaining places go to groups whose rewards differ through other terms; with
        a KL in the reward, these are all groups. If no group has a signal, the step consists of the
        last round. All groups that were drawn are observed.
        """
        rounds = 1 + self.config.objective.resample
        batch, drawn = Batch(self.config.rollout.problems), list[list[Group]]()
        for redraw in range(rounds):
            with whole(self.models.policy):
                drawn.append(self.round(step, redraw))
            batch.add([g for g in drawn[-1] if rounds == 1 or g.told_apart])
            if batch.full:
                break
        for groups in drawn if not batch.full else []:
            batch.add([g for g in groups if not g.told_apart and self.teaches(g)])
        kept = batch.kept if batch.count else drawn[-1]
        return self.assemble(kept, drawn)

    def teaches(self, group: Group) -> bool:
        """Whether a group has a signal although its scores are equal."""
        return self.config.objective.kl.in_reward or group.rewarded_apart

    def observes(self, step: int) -> bool:
        """Whether a schedule or a gate reads the policy's responses without a prefix."""
        asked = self.config.schedule.needs_at(step) & OF_ROLLOUTS
        return bool(asked) or self.config.gate.needs_experts

    def round(self, step: int, redraw: int) -> list[Group]:
        """This rank's groups of newly drawn problems, sampled stage by stage and scored."""
        if redraw == 0:
            self.engine.sync(self.models.policy)
        config, seed, tokenizer = self.config.rollout, self.config.seed, self.data.tokenizer
        own = config.group_size - config.expert_in_group
        # Each further round continues drawing where the last one stopped.
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
                redraw=redraw,
            )
            for problem in problems
        ]
        if not groups:
            return []
        # If another rank has the same problem too, the numbering of samples continues there.
        uniforms = draw_uniforms(
            seed,
            step,
            keys=[problem.key for problem in everyones],
            group_size=own,
            max_new_tokens=config.max_new_tokens,
            first=redraw * _ROUND,
        )
        uniforms = uniforms[numbers.start * own : numbers.stop * own].reshape(len(groups), own, -1)
        # Every problem's group has the same stages, of different lengths.
        for number, stage in enumerate(groups[0].stages):
            done = len(groups[0].answers)
            self.sample(groups, number, uniforms[:, done : done + stage.count])
        if self.observes(step):
            self.ask_aside(groups, uniforms)
        for _ in range(config.expert_in_group):
            self.add(groups, [self.expert_answer(group) for group in groups])
        return groups

    def ask_aside(self, groups: Sequence[Group], uniforms: Uniforms) -> None:
        """For groups in which all responses have a prefix, sample as many without one.

        These are the responses that the policy would give without prefixes, from the same random
        numbers.
        """
        helped = [number for number, group in enumerate(groups) if not group.own]
        if not helped:
            return
        stages = [Stage(uniforms.shape[1], 0.0)]
        alone = [replace(groups[n], stages=stages, answers=[]) for n in helped]
        self.sample(alone, 0, uniforms[helped])
        for number, group in zip(helped, alone, strict=True):
            groups[number].aside = group.answers

    def sample(self, groups: Sequence[Group], number: int, uniforms: Uniforms) -> None:
        """Add a stage's responses to each group; `uniforms` is (groups, responses, tokens)."""
        config, tokenizer = self.config.rollout, self.data.tokenizer
        # The last end token is left for the policy to write.
        lengths = [g.stages[number].length(g.expert.count - 1, g.solved) for g in groups]
        given = [g.expert.first(length) for g, length in zip(groups, lengths, strict=True)]
        count = groups[0].stages[number].count
        samples = self.engine.sample(
            self.models.policy,
            [[*group.prompt, *each.tokens] for group, each in zip(groups, given, strict=True)],
            group_size=count,
            limits=[max(1, config.max_new_tokens - len(each.tokens)) for each in given],
            uniforms=uniforms.reshape(-1, uniforms.shape[-1]),
        )
        sizes = [len(response) for response in samples.responses]
        told = samples.logprobs if samples.sampler_logprobs is None else samples.sampler_logprobs
        columns = (samples.logprobs, samples.entropies, samples.entropies_at_one, told)
        logprobs, entropies, at_one, sampler = (column.split(sizes) for column in columns)
        texts = [tokenizer.decode(each.turn) if each.count else "" for each in given]
        answers = [
            Answer(
                given=given[row // count],
                sampled=response,
                logprobs=logprobs[row],
                entropies=entropies[row],
                entropies_at_one=at_one[row],
                sampler_logprobs=sampler[row],
                finished=samples.finished[row],
                text=tokenizer.decode([*given[row // count].turn, *response]),
                prefix=texts[row // count],
            )
            for row, response in enumerate(samples.responses)
        ]
        self.add([group for group in groups for _ in range(count)], answers)

    def expert_answer(self, group: Group) -> Answer:
        """The whole expert response, with its end token."""
        nothing = torch.zeros(0, dtype=self.models.dtype)
        text = self.data.tokenizer.decode(group.expert.turn)
        return Answer(
            given=group.expert,
            sampled=[],
            logprobs=nothing,
            entropies=nothing,
            entropies_at_one=nothing,
            sampler_logprobs=nothing,
            finished=True,
            text=text,
            prefix=text,
        )

    def add(self, groups: Sequence[Group], answers: Sequence[Answer]) -> None:
        """Grade one response for each of `groups`, and add it."""
        grades = self.config.reward.grade(
            [group.problem for group in groups],
            [answer.text for answer in answers],
            [answer.length for answer in answers],
            [answer.finished for answer in answers],
        )
        for group, answer, grade in zip(groups, answers, grades, strict=True):
            answer.grade = grade
            answer.styled = self.data.is_expert_style(answer.text)
            group.answers.append(answer)
