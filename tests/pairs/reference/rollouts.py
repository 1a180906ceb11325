"""A step's groups, from the tokens that were sampled: scores, rewards, advantages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rows.schedules import half_cosine, length

from pairs.reference.advantages import advantages
from pairs.reference.look import Line, Models, mean, minmax
from pairs.reference.losses import kl

Settings = dict[str, Any]


@dataclass
class Sampled:
    """One prompt's answers in a call of the engine, expert prefix included in the prompt."""

    prompt: list[int]
    answers: list[list[int]]
    told: list[list[float]] | None
    """The engine's log-probabilities, where it is not the policy."""
    at: tuple[int, int] = (0, 0)
    """The round of problems, and the number of the call in it."""


@dataclass(eq=False)
class Answer:
    given: list[int]
    sampled: list[int]
    finished: bool
    text: str
    told: list[float] | None = None
    score: float = 0.0
    reward: float = 0.0
    failed: tuple[bool, bool] = (False, False)
    """Whether its scorer took too long, or failed otherwise."""
    old: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    at_one: list[float] = field(default_factory=list)
    """Entropies at the sampling temperature, and at temperature 1."""
    penalty: float = 0.0
    advantage: float = 0.0
    signal: float = 0.0

    @property
    def length(self) -> int:
        return len(self.given) + len(self.sampled)


@dataclass(eq=False)
class Group:
    problem: Any
    prompt: list[int]
    answers: list[Answer] = field(default_factory=list)
    aside: list[Answer] = field(default_factory=list)
    """The policy's own answers, where all of `answers` start from a prefix and they are read."""
    of_own: dict[int, float] = field(default_factory=dict)
    """Advantages of the policy's own answers among all groups drawn, by the answer."""

    @property
    def members(self) -> list[Answer]:
        return self.aside or self.answers

    def own(self, s: Settings) -> list[Answer]:
        """What the policy answers with no word of an expert's, of every problem as many."""
        if s["prefix"] == "uniform":
            return self.answers[: s["group_size"] - s["prefix_samples"]]
        if s["prefix"] == "staged":
            return self.answers[: stages(s, s["group_size"])[0]]
        sampled = [answer for answer in self.answers if answer.sampled]
        helped = any(answer.given for answer in sampled)
        return self.aside if helped else sampled

    def line(self, answer: Answer, *, own: bool) -> Line:
        """The answer as a row, of which the policy's own tokens count or the expert's."""
        counts = [not own] * len(answer.given) + [own] * len(answer.sampled)
        return Line(self.prompt, [*answer.given, *answer.sampled], counts, signal=answer.signal)


@dataclass
class Rollouts:
    """All groups that were answered, and those that are trained on."""

    drawn: list[Group]
    kept: list[Group]
    first: list[Group]
    """Those of the first round."""
    rounds: int

    def answers(self) -> list[tuple[Group, Answer]]:
        return [(group, answer) for group in self.kept for answer in group.answers]


class Gather:
    """Makes a step's rollouts from the calls of its engine."""

    def __init__(self, config: Settings, names: dict[str, str], data: Any, grader: Any) -> None:
        self.config, self.names, self.data, self.grader = config, names, data, grader

    def __call__(
        self, step: int, calls: Sequence[Sampled], models: Models, *, read: bool
    ) -> Rollouts:
        """`read`: whether a schedule or gate reads what the policy answers by itself."""
        s, o = self.config["rollout"], self.config["objective"]
        rest, wanted, rounds = iter(calls), s["problems"], 1 + o["resample"]
        drawn: list[Group] = []
        told_apart: list[Group] = []
        for number in range(rounds):
            first = number * wanted
            problems = self.data.problems(step, self.config["seed"], first + wanted)[first:]
            groups = [Group(p, self.data.tokenizer.prompt(p)) for p in problems]
            self.answer(step, groups, rest, models, read=read)
            drawn += groups
            told_apart += [g for g in groups if rounds == 1 or differ(a.score for a in g.answers)]
            if len(told_apart) >= wanted:
                break
        assert next(rest, None) is None, "the run sampled more than it had to"
        # Then those that other terms of the reward tell apart.
        others = [g for g in drawn if g not in told_apart and self.teaches(g)]
        trained = [*told_apart, *others][:wanted] or groups
        own = self.advantages([group.members for group in drawn])
        for group, row in zip(drawn, own, strict=True):
            group.of_own = {id(a): v for a, v in zip(group.members, row, strict=True)}
        for group, row in zip(trained, self.advantages([g.answers for g in trained]), strict=True):
            for answer, value in zip(group.answers, row, strict=True):
                answer.advantage = value
        flat = [answer for group in trained for answer in group.answers]
        for answer, n in zip(flat, minmax([answer.score for answer in flat]), strict=True):
            answer.signal = n
        return Rollouts(drawn, trained, drawn[:wanted], number + 1)

    def teaches(self, group: Group) -> bool:
        """Whether a group whose scores are equal has a signal all the same."""
        kl = self.config["objective"]["kl"]
        in_reward = kl["coef"] > 0 and kl["where"] == "reward"
        return in_reward or differ(answer.reward for answer in group.answers)

    def answer(
        self,
        step: int,
        groups: list[Group],
        calls: Iterator[Sampled],
        models: Models,
        *,
        read: bool,
    ) -> None:
        """Stage by stage all groups' answers."""
        s = self.config["rollout"]
        own = s["group_size"] - s["expert_in_group"]
        for number, count in enumerate(stages(s, own)):
            for group in groups:
                call = next(calls)
                assert call.prompt[: len(group.prompt)] == group.prompt, "another problem"
                given = call.prompt[len(group.prompt) :]
                self.check_prefix(step, group, given, number)
                assert len(call.answers) == count
                limit = max(1, s["max_new_tokens"] - len(given))
                for k, sampled in enumerate(call.answers):
                    told = None if call.told is None else call.told[k]
                    group.answers.append(self.one(group, given, sampled, limit, told, models))
        helped = [g for g in groups if read and not g.own(s)]
        for group in helped:
            call = next(calls)
            assert call.prompt == group.prompt, "the policy's own answers were not asked for"
            for k, sampled in enumerate(call.answers):
                told = None if call.told is None else call.told[k]
                limit = s["max_new_tokens"]
                group.aside.append(self.one(group, [], sampled, limit, told, models))
        for _ in range(s["expert_in_group"]):
            for group in groups:
                tokens = [*self.expert(group), self.data.tokenizer.eos_id]
                text = self.data.tokenizer.decode(tokens)
                answer = Answer(tokens, [], True, text)
                self.grade(group, answer)
                group.answers.append(answer)

    def expert(self, group: Group) -> list[int]:
        tokens, _ = self.data.tokenizer.response(self.data.pair_with(group.problem.key))
        return list(tokens[:-1])

    def check_prefix(self, step: int, group: Group, given: list[int], number: int) -> None:
        """A prefix is the beginning of the expert's response, as long as the rule may make it."""
        s = self.config["rollout"]
        kind = s["prefix"]
        if kind == "none":
            assert given == []
            return
        expert = self.expert(group)
        assert given == expert[: len(given)], "not the expert's"
        until = length(s["prefix_until"], s["total_steps"])
        q = min(step / until, 1.0) if until > 0 else 1.0
        share = half_cosine(s["prefix_initial"], s["prefix_final"], q)
        allowed = {0}
        if kind == "binomial" and q < 1:
            allowed = {math.floor(k / 5 * len(expert) + 1e-9) for k in range(6)}
        if kind == "uniform" and number == 1:
            low, high = (math.floor(x * len(expert) + 1e-9) for x in (share, s["prefix_initial"]))
            allowed = set(range(min(low, high), max(low, high) + 1))
        if kind == "staged" and number > 0:
            part, below = {1: (0.25, 0.5), 2: (0.5, 4 / 6), 3: (1.0, 1.0)}[number]
            solved = mean([answer.score for answer in group.answers])
            allowed = {math.floor(part * len(expert) + 1e-9)} if solved < below else {0}
        assert len(given) in allowed, f"a prefix of {len(given)} of {len(expert)} tokens"

    def one(
        self,
        group: Group,
        given: list[int],
        sampled: list[int],
        limit: int,
        told: list[float] | None,
        models: Models,
    ) -> Answer:
        """A sampled answer, looked at by the policy that sampled it."""
        finished = sampled[-1] == self.data.tokenizer.eos_id
        assert self.data.tokenizer.eos_id not in sampled[:-1]
        assert len(sampled) <= limit
        assert finished or len(sampled) == limit
        text = self.data.tokenizer.decode([*given, *sampled])
        answer = Answer(given, sampled, finished, text, told)
        self.grade(group, answer)
        temperature = self.config["rollout"]["temperature"]
        with torch.no_grad():
            line = group.line(answer, own=True)
            tokens = line.look(models.policy)[len(given) :]
            answer.old = [float(token.logprob(temperature)) for token in tokens]
            answer.entropies = [float(token.entropy_at(temperature)) for token in tokens]
            answer.at_one = [token.entropy for token in tokens]
            s = self.config["objective"]["kl"]
            if s["coef"] > 0 and s["where"] == "reward":
                other = models.teacher if s["to"] == "teacher" else models.reference
                there = line.look(other)[len(given) :]
                values = [
                    float(kl(s, t, o, temperature)) for t, o in zip(tokens, there, strict=True)
                ]
                answer.penalty = s["coef"] * math.fsum(values)
        return answer

    def grade(self, group: Group, answer: Answer) -> None:
        """The verifier's score, and the reward that is made of it."""
        text = answer.text if answer.finished else ""
        answer.score, answer.reward = self.graded(
            self.config["reward"], "reward", group.problem, text, answer.length, self.grader,
            answer.finished,
        )  # fmt: skip

    def graded(
        self, s: Settings, path: str, problem: Any, text: str, tokens: int, grader: Any,
        finished: bool = True,
    ) -> tuple[float, float]:  # fmt: skip
        name = self.names[path]
        if name == "exact":
            stated = text.rsplit("=", 1)[-1]
            right = float(stated.isdigit() and stated == problem.answer)
            steps = all(re.fullmatch("[0-9]+[-+*][0-9]+=[0-9]+", part) for part in text.split(";"))
            formed = text.isdigit() or steps
            return right, right + s["format_coef"] * formed
        if name == "length":
            free = s["soft"] * s["hard"]
            penalty = max(-1.0, min(0.0, (free - tokens) / (s["hard"] - free)))
            return (1 + penalty if finished else 0.0), penalty
        if name == "weighted":
            parts = {
                part: self.graded(
                    s["parts"][part], f"reward.parts.{part}", problem, text, tokens,
                    grader.parts[part], finished,
                )
                for part in s["parts"]
            }  # fmt: skip
            reward = math.fsum(s["weights"][part] * earned for part, (_, earned) in parts.items())
            return parts[s["score"]][0], reward
        (grade,) = grader.grade([problem], [text], [tokens])
        # Of an answer that was cut off the verdict is 0.
        return (grade.score, grade.reward) if finished else (0.0, 0.0)

    def advantages(self, rows: list[list[Answer]]) -> list[list[float]]:
        """Of groups, with statistics over all of them where the rule says `batch`."""
        return advantages(
            self.config["advantage"],
            self.names["advantage"],
            [[a.reward for a in row] for row in rows],
            penalties=[[a.penalty for a in row] for row in rows],
            own=[[bool(a.sampled) for a in row] for row in rows],
            right=[[a.score >= 1 for a in row] for row in rows],
            entropies=[[mean(a.entropies) if a.sampled else 0.0 for a in row] for row in rows],
        )


def differ(values: Iterable[float]) -> bool:
    return len(set(values)) > 1


def stages(s: Settings, own: int) -> list[int]:
    """How many answers of a group are sampled one after the other."""
    if s["prefix"] == "uniform":
        return [own - s["prefix_samples"], s["prefix_samples"]]
    if s["prefix"] == "staged":
        later = [max(1, round(own / parts)) for parts in (4, 8, 8)]
        return [own - sum(later), *later]
    return [own]
