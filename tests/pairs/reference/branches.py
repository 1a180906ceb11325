"""The loss of each branch with its gradient, added up token by token, and what the log shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pairs.reference.look import Line, Models, Token, mean, number
from pairs.reference.losses import imitation, kl, objective
from pairs.reference.rollouts import Answer, Group
from pairs.reference.weights import weigh

Settings = dict[str, Any]
Metrics = dict[str, float]
BUCKETS = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)


def gradients(loss: Tensor | float, policy: Any) -> list[Tensor]:
    """Zeros where the loss reads no parameter."""
    parameters = list(policy.parameters())
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def sft(
    config: Settings, names: dict[str, str], lines: Sequence[Line], models: Models, *, own: bool
) -> tuple[Tensor | float, Metrics]:
    """sum_i g_i sum_t w l / N over the rows that are imitated, N all their tokens."""
    rule, target = config["weighting"], config["target"]
    looks = [line.look(models.policy) for line in lines]
    weights = weigh(rule, names["weighting"], lines, looks, models)
    total: Tensor | float = 0.0
    counted: list[tuple[Token, float]] = []
    for line, tokens, row in zip(lines, looks, weights, strict=True):
        teacher: list[Any] = [None] * len(tokens)
        if names["target"] != "tokens":
            teacher = line.look(models.teacher)
        for place, token in enumerate(tokens):
            if line.counts[place]:
                loss = imitation(target, names["target"], token, teacher[place])
                total = total + line.share * row[place] * loss
                counted.append((token, row[place]))
    loss = total / max(1, len(counted))
    return loss, sft_metrics(counted, number(loss), own=own)


def sft_metrics(counted: Sequence[tuple[Token, float]], loss: float, *, own: bool) -> Metrics:
    weights = [w for _, w in counted]
    found = {"loss/sft": loss, "tokens/sft": float(len(counted))}
    if not counted:
        return found
    found["weight/mean"] = mean(weights)
    squares = math.fsum(w * w for w in weights)
    if squares > 0:
        found["weight/ess"] = math.fsum(weights) ** 2 / (len(weights) * squares)
    for low, high in pairwise(BUCKETS):
        inside = [w for t, w in counted if low <= t.p and (t.p < high or high == 1)]
        if inside:
            found[f"weight/p_{low:.2f}_{high:.2f}"] = mean(inside)
    of = "own" if own else "expert"
    found[f"{of}/nll"] = mean([-number(token.logprob()) for token, _ in counted])
    found[f"{of}/mean_p"] = mean([token.p for token, _ in counted])
    return found


def rl(
    config: Settings,
    names: dict[str, str],
    answers: Sequence[tuple[Group, Answer]],
    shares: Sequence[float],
    models: Models,
) -> tuple[Tensor | float, Metrics, float]:
    """The objective over the answers that count, with its terms and the expert's tokens."""
    s, rollout = config["objective"], config["rollout"]
    rows = [
        (group, answer, share)
        for (group, answer), share in zip(answers, shares, strict=True)
        if s["overlong"] == "keep" or answer.finished
    ]
    off = rollout["prefix_loss"] if rollout["prefix"] != "none" else "advantage"
    own_lines = [group.line(answer, own=True) for group, answer, _ in rows]
    looks = [line.look(models.policy) for line in own_lines]
    scales = [[1.0] * len(tokens) for tokens in looks]
    if config["weighting"]["apply_to"] == "both":
        scales = weigh(config["weighting"], names["weighting"], own_lines, looks, models)
    expert_lines = [group.line(answer, own=False) for group, answer, _ in rows]
    experts: list[list[float]] = [[] for _ in rows]
    if off != "none":
        experts = weigh(config["off_policy"], names["off_policy"], expert_lines, looks, models)
    log = Log()
    losses: list[list[Tensor]] = []
    nll: Tensor | float = 0.0
    for k, (group, answer, share) in enumerate(rows):
        given = len(answer.given)
        own = of_answer(
            config, names, group, answer, looks[k][given:], scales[k][given:], models, log
        )
        written = looks[k][:given] if off != "none" else []
        weighted = [w * t.logprob() for t, w in zip(written, experts[k], strict=False)]
        log.off += [(number(t.logprob()), w) for t, w in zip(written, experts[k], strict=False)]
        if off == "advantage":
            own = [-answer.advantage * each for each in weighted] + own
        elif weighted:
            nll = nll + share * sum(-each for each in weighted)
        losses.append([share * each for each in own])
    total = aggregate(losses, s["aggregation"], rollout["max_new_tokens"])
    if off == "nll":
        total = total + rollout["prefix_coef"] * nll / max(1, len(log.off))
    inside = rollout["expert_in_group"] > 0 or rollout["prefix"] != "none"
    shown = log.metrics(number(total), off=inside and off != "none")
    return total, shown, log.undecided


class Log:
    """What is shown of the tokens."""

    def __init__(self) -> None:
        self.own: list[Token] = []
        self.gaps: list[float] = []
        self.kl: list[float] = []
        self.off: list[tuple[float, float]] = []
        self.sums: Metrics = {}
        self.undecided = 0.0
        """The share of tokens at which rounding says whether the clip counts."""

    def metrics(self, loss: float, *, off: bool) -> Metrics:
        count = len(self.own)
        found = {"loss/rl": loss, "tokens/rl": float(count)}
        if count:
            found["trained/entropy"] = mean([token.entropy for token in self.own])
            found["rl/logprob_gap"] = max(self.gaps)
            self.undecided = self.sums.pop("undecided", 0.0) / count
            found |= {f"rl/{name}": value / count for name, value in self.sums.items()}
            if self.kl:
                found["rl/kl"] = mean(self.kl)
        if off:
            found["tokens/off_policy"] = float(len(self.off))
            if self.off:
                found["off_policy/nll"] = mean([-logprob for logprob, _ in self.off])
                found["off_policy/weight_mean"] = mean([w for _, w in self.off])
        return found


def of_answer(
    config: Settings,
    names: dict[str, str],
    group: Group,
    answer: Answer,
    tokens: list[Token],
    scales: list[float],
    models: Models,
    log: Log,
) -> list[Tensor]:
    """The losses of the policy's own tokens of an answer."""
    s, temperature = config["objective"], config["rollout"]["temperature"]
    logprobs = [token.logprob(temperature) for token in tokens]
    losses, sums = objective(s, names["objective"], logprobs, answer.old, answer.advantage)
    log.own += tokens
    told = answer.old if answer.told is None else answer.told
    log.gaps += [abs(number(n) - q) for n, q in zip(logprobs, told, strict=True)]
    if config["corrected"] and answer.told is not None:
        cap = config["rollout"]["correction_cap"]
        factors = [math.exp(o - q) for o, q in zip(answer.old, answer.told, strict=True)]
        losses = [min(f, cap) * each for f, each in zip(factors, losses, strict=True)]
    if s["kl"]["coef"] > 0 and s["kl"]["where"] == "loss":
        other = models.teacher if s["kl"]["to"] == "teacher" else models.reference
        there = group.line(answer, own=True).look(other)[len(answer.given) :]
        values = [kl(s["kl"], t, o, temperature) for t, o in zip(tokens, there, strict=True)]
        log.kl += [number(value) for value in values]
        losses = [a + s["kl"]["coef"] * b for a, b in zip(losses, values, strict=True)]
    if s["entropy_coef"] > 0:
        spreads = [token.entropy_at(temperature) for token in tokens]
        sums["entropy"] = math.fsum(number(spread) for spread in spreads)
        losses = [a - s["entropy_coef"] * h for a, h in zip(losses, spreads, strict=True)]
    for name, value in sums.items():
        log.sums[name] = log.sums.get(name, 0.0) + value
    return [w * each for w, each in zip(scales, losses, strict=True)]


def aggregate(losses: list[list[Tensor]], how: str, longest: int) -> Tensor | float:
    """From token losses, row by row, to one number."""
    rows = [row for row in losses if row]
    if how == "sequence":
        return sum(sum(row) / len(row) for row in rows) / max(1, len(rows))
    count = sum(map(len, rows)) if how == "token" else len(losses) * longest
    return sum(each for row in rows for each in row) / max(1, count)
