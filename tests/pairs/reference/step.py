"""A train step: alpha, gates, both branches, the optimizer; then what the log has to show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairs.reference import branches, schedules
from pairs.reference.look import Line, Models, mean, minmax
from pairs.reference.optimizer import AdamW, norm_of, rates
from pairs.reference.rollouts import Answer, Gather, Group, Rollouts, Sampled
from pairs.reference.shown import Shown, compared
from pairs.reference.weights import weigh

Settings = dict[str, Any]
Metrics = dict[str, float]
SHARES = {"convex": lambda s, a: (a, 1 - a), "additive": lambda s, a: (s["coef"] * a, 1.0)}


@dataclass
class Update:
    """An optimizer's step: which one, its parameters before and after, the clipped gradient."""

    optimizer: int
    before: list[Tensor]
    gradient: list[Tensor]
    after: list[Tensor]


@dataclass
class Recorded:
    """What a run shows of a step from outside."""

    start: list[Tensor]
    calls: list[Sampled] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    metrics: Metrics = field(default_factory=dict)
    completions: list[Settings] = field(default_factory=list)
    schedule_state: Metrics = field(default_factory=dict)
    gate_state: list[int] = field(default_factory=list)
    undecided: float = 0.0
    """Of the reference: how far rounding alone may move `rl/clip_fraction`."""


Expected = Recorded


@dataclass
class Plan:
    """The rows that are imitated, the shares of both branches, and each group's share of RL."""

    lines: list[Line] | None
    sft: float
    rl: float
    of_group: dict[int, float]
    own: bool = False
    metrics: Metrics = field(default_factory=dict)


class Reference:
    """A run's reference, which remembers what a run has to: averages, waiting problems, moments."""

    def __init__(
        self, config: Settings, names: dict[str, str], models: Models, data: Any, grader: Any
    ) -> None:
        self.config, self.names, self.data, self.grader = config, names, data, grader
        self.models = Models(deepcopy(models.policy), models.teacher, models.reference)
        self.gather = Gather(config, names, data, grader)
        self.shown = Shown(config, grader)
        self.steps = config["steps"]
        self.state = schedules.start(names["schedule"], config["schedule"], self.steps)
        self.waiting: list[int] = []
        self.sft_norm: float | None = None
        settings = [config["optimizer"], config["sft_optimizer"]]
        self.optimizers = [AdamW(s) for s in settings if s is not None]

    def load(self, parameters: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for mine, theirs in zip(self.models.policy.parameters(), parameters, strict=True):
                mine.copy_(theirs)

    def step(self, step: int, run: Recorded) -> Expected:
        """What the step should have been, from the weights it began with and its samples."""
        self.load(run.start)
        found, fresh = rates(self.config, self.names["schedule"], step)
        if fresh:
            self.optimizers[0].reset()
        schedule = self.names["schedule"]
        early = schedule in schedules.OF_ROLLOUTS or self.names["gate"] != "none"
        reads = self.names["gate"] != "none" or schedule in ("reward_gap", "entropy")
        reads = reads or (schedule == "gac" and step % self.config["schedule"]["every"] == 0)
        rollouts = self.gather(step, run.calls, self.models, read=reads) if early else None
        alpha = self.alpha(step, rollouts, run)
        plan, rollouts = self.plan(step, alpha, rollouts, run)
        self.config["corrected"] = self.shown.corrected(rollouts)
        result = Recorded(start=run.start)
        result.metrics = {"alpha": alpha, "lr": found[0], **plan.metrics}
        events = iter(run.updates)
        for _ in range(self.config["rollout"]["updates"]):
            shown = self.update(plan, rollouts, found, events, result)
        result.metrics |= shown
        if self.config["trainer"]["on_nonfinite"] == "skip":
            # All gradients here are finite.
            result.metrics["grad/skipped"] = 0.0
        assert next(events, None) is None, "the run took more optimizer steps than it had to"
        if rollouts is not None:
            result.metrics |= self.shown.metrics(rollouts, plan.rl)
            result.completions = self.shown.completions(rollouts)
        result.schedule_state, result.gate_state = self.state, self.waiting
        return result

    # What a step consists of

    def alpha(self, step: int, rollouts: Rollouts | None, run: Recorded) -> float:
        name, s = self.names["schedule"], self.config["schedule"]
        seen = self.feedback(step, rollouts)
        self.state = schedules.observe(name, s, self.state, step, self.steps, seen)
        found = schedules.alpha_of(name, s, step, self.steps, self.state)
        if found is None:
            found = run.metrics["alpha"]
            assert found in (0.0, 1.0), "a draw is imitation or RL"
        return found

    def feedback(self, step: int, rollouts: Rollouts | None) -> Metrics:
        name, s = self.names["schedule"], self.config["schedule"]
        if name == "gradient_ratio" and step >= schedules.warm(s, self.steps):
            assert self.sft_norm is not None
            return {"sft_grad_norm": self.sft_norm}
        if rollouts is None:
            return {}
        if name == "reward_gap":
            return {"reward": mean([a.reward - a.penalty for a in self.policys(rollouts)])}
        if name == "entropy":
            return {"entropy": mean([h for a in self.policys(rollouts) for h in a.entropies])}
        if name == "gac" and step % s["every"] == 0:
            return self.noise(step, rollouts)
        return {}

    def policys(self, rollouts: Rollouts) -> list[Answer]:
        """What the policy answered by itself, to all problems that were drawn."""
        return [answer for group in rollouts.drawn for answer in self.own(group)]

    def own(self, group: Group) -> list[Answer]:
        return group.own(self.config["rollout"])

    def noise(self, step: int, rollouts: Rollouts) -> Metrics:
        """What gac reads: two variances, and the mean square between the branches' factors."""
        own = [(g.of_own[id(a)], len(a.sampled)) for g in rollouts.drawn for a in self.own(g)]
        advantages = [advantage for advantage, _ in own]
        lines = self.stream(step)
        with torch.no_grad():
            looks = [line.look(self.models.policy) for line in lines]
            rows = weigh(
                self.config["weighting"], self.names["weighting"], lines, looks, self.models
            )
        nll, weights = [], []
        for line, tokens, row in zip(lines, looks, rows, strict=True):
            kept = [place for place, counts in enumerate(line.counts) if counts]
            nll.append(mean([-float(tokens[place].logprob()) for place in kept]))
            weights += [row[place] for place in kept]
        cut = int(self.config["schedule"]["trim"] * len(nll) + 1e-9)
        kept_nll = sorted(nll)[cut : len(nll) - cut]
        tokens_a = [advantage for advantage, count in own for _ in range(count)]
        pairs = [(w - a) ** 2 for w in weights for a in tokens_a]
        return {
            "advantage_variance": statistics.pvariance(advantages),
            "nll_variance": statistics.pvariance(kept_nll) if kept_nll else 0.0,
            "gap": mean(pairs) if pairs else 0.0,
        }

    def plan(
        self, step: int, alpha: float, rollouts: Rollouts | None, run: Recorded
    ) -> tuple[Plan, Rollouts | None]:
        sft, rl = SHARES[self.names["mix"]](self.config["mix"], alpha)
        if self.names["gate"] != "none":
            assert rollouts is not None
            return self.gated(step, alpha, rollouts), rollouts
        own = sft > 0 and self.on_own_samples(run)
        if rollouts is None and (own or rl > 0):
            rollouts = self.gather(step, run.calls, self.models, read=False)
        elif rollouts is None:
            assert not run.calls, "the run sampled what nobody reads"
        lines = None
        if own:
            assert rollouts is not None
            lines = [group.line(answer, own=True) for group, answer in rollouts.answers()]
        elif sft > 0:
            lines = self.stream(step)
        return Plan(lines, sft, rl, {}, own=own), rollouts

    def on_own_samples(self, run: Recorded) -> bool:
        name, s = self.names["target"], self.config["target"]
        if name == "reverse_kl":
            return True
        if name != "jsd" or s["own"] == 0:
            return False
        # Drawn, where it is neither never nor always.
        return s["own"] == 1 or "own/nll" in run.metrics

    def gated(self, step: int, alpha: float, rollouts: Rollouts) -> Plan:
        """Judged problems have g in alpha's place; rows of the expert stream keep alpha."""
        name, s = self.names["gate"], self.config["gate"]
        scores = [[a.score for a in self.own(group)] for group in rollouts.drawn]
        g = [0.0] * len(rollouts.drawn)
        released: list[int] = []
        if name == "solve_rate":
            g = [judge(s, each) for each in scores]
        else:
            for group, each in zip(rollouts.drawn, scores, strict=True):
                if max(each) <= 0 and group.problem.key not in self.waiting:
                    self.waiting = [*self.waiting, group.problem.key]
            if len(self.waiting) >= s["size"]:
                released = self.waiting[: s["size"]]
                self.waiting = self.waiting[s["size"] :]
        metrics = {"gate/share": mean(g), "gate/waiting": float(len(self.waiting))}
        pairs = self.data.pairs(step, self.config["seed"], self.config["data"]["expert_batch"])
        rows = [(pair, alpha) for pair in pairs] if alpha > 0 else []
        if released:
            metrics["gate/released"] = float(len(released))
            rows += [(self.data.pair_with(key), 1.0) for key in released]
        elif name == "solve_rate" and (any(g) or alpha > 0):
            keys = [group.problem.key for group in rollouts.drawn]
            rows += [(self.data.pair_with(key), v) for key, v in zip(keys, g, strict=True)]
        sft = SHARES[self.names["mix"]](self.config["mix"], 1.0)[0]
        rl = SHARES[self.names["mix"]](self.config["mix"], 0.0)[1]
        imitates = sft > 0 and (alpha > 0 or any(g) or released)
        lines = self.lines([p for p, _ in rows], [v for _, v in rows]) if imitates else None
        shares = {id(group): 1 - v for group, v in zip(rollouts.drawn, g, strict=True)}
        return Plan(lines, sft, rl, shares, metrics=metrics)

    def stream(self, step: int) -> list[Line]:
        pairs = self.data.pairs(step, self.config["seed"], self.config["data"]["expert_batch"])
        return self.lines(pairs, [1.0] * len(pairs))

    def lines(self, pairs: Sequence[Any], shares: Sequence[float]) -> list[Line]:
        """Rows of expert pairs; n is read from the verifier's scores of all of them."""
        tokenizer, lines, scores = self.data.tokenizer, [], []
        for pair, share in zip(pairs, shares, strict=True):
            answer, written = tokenizer.response(pair)
            prompt = tokenizer.prompt(pair.problem)
            lines.append(Line(list(prompt), list(answer), list(written), share=share))
            score = 1.0
            if pair.problem.answer:
                score, _ = self.gather.graded(
                    self.config["reward"], "reward", pair.problem, pair.response,
                    sum(written), self.grader,
                )  # fmt: skip
            scores.append(score)
        for line, n in zip(lines, minmax(scores), strict=True):
            line.signal = n
        return lines

    # An update

    def update(
        self,
        plan: Plan,
        rollouts: Rollouts | None,
        found: list[float],
        events: Any,
        result: Recorded,
    ) -> Metrics:
        """What the log shows of it; of several it shows the last."""
        shown: Metrics = {}
        total = 0.0
        policy = self.models.policy
        runs_rl = rollouts is not None and plan.rl > 0
        sft = rl = None
        for number in range(len(self.optimizers)):
            both = len(self.optimizers) == 1
            with_sft = plan.lines is not None and (both or number == 1)
            with_rl = runs_rl and (both or number == 0)
            if not with_sft and not with_rl and not both:
                continue
            event = next(events)
            assert event.optimizer == number, "another optimizer"
            self.load(event.before)
            whole = [torch.zeros_like(p) for p in policy.parameters()]
            if with_sft:
                assert plan.lines is not None
                loss, seen = branches.sft(
                    self.config, self.names, plan.lines, self.models, own=plan.own
                )
                sft = branches.gradients(plan.sft * loss, policy)
                self.sft_norm = norm_of(sft) / plan.sft
                shown |= seen
                shown["loss/sft_share"] = plan.sft * seen["loss/sft"]
                whole = [a + b for a, b in zip(whole, sft, strict=True)]
            if with_rl:
                assert rollouts is not None
                answers = rollouts.answers()
                shares = [plan.of_group.get(id(group), 1.0) for group, _ in answers]
                loss, seen, result.undecided = branches.rl(
                    self.config, self.names, answers, shares, self.models
                )
                rl = branches.gradients(plan.rl * loss, policy)
                shown |= seen
                shown["loss/rl_share"] = plan.rl * seen["loss/rl"]
                whole = [a + b for a, b in zip(whole, rl, strict=True)]
            if both and sft is not None and rl is not None:
                shown |= compared(sft, rl)
            clipped, norm = self.optimizers[number].clip(whole)
            shown["grad/sft_norm" if number else "grad/norm"] = norm
            after = self.optimizers[number].step(event.before, clipped, found[number])
            result.updates.append(Update(number, event.before, clipped, after))
        total = shown.get("loss/sft_share", 0.0) + shown.get("loss/rl_share", 0.0)
        return shown | {"loss/total": total}


def judge(s: Settings, scores: Sequence[float]) -> float:
    """g of a problem by the share of its answers that are right."""
    rate = sum(score >= 1 for score in scores) / len(scores)
    if rate <= s["gamma"] + 1e-9:
        return 1.0
    if not s["soft"] or rate >= 0.5:
        return 0.0
    return 1 / (1 + 4 ** (8 * rate - 2))
