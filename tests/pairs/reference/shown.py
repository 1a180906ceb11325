"""What the log shows of a step's rollouts, and of both branches' gradients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pairs.reference.look import mean
from pairs.reference.optimizer import norm_of
from pairs.reference.rollouts import Answer, Rollouts

Settings = dict[str, Any]
Metrics = dict[str, float]


class Shown:
    """Metrics and kept answers of the rollouts; `rl` is the share of the RL branch."""

    def __init__(self, config: Settings, grader: Any) -> None:
        self.config, self.grader = config, grader

    def corrected(self, rollouts: Rollouts | None) -> bool:
        gaps = self.gaps(rollouts)
        return bool(gaps) and (
            mean([abs(gap) for gap in gaps]) >= self.config["rollout"]["correction_threshold"]
        )

    def gaps(self, rollouts: Rollouts | None) -> list[float]:
        """ln p - ln q of the tokens, where another engine has sampled them."""
        answers = [] if rollouts is None else [answer for _, answer in rollouts.answers()]
        s = self.config["rollout"]
        return [
            p - q
            for answer in answers
            if answer.told is not None or s.get("correct_native")
            for p, q in zip(answer.old, answer.told or answer.old, strict=True)
        ]

    def metrics(self, rollouts: Rollouts, rl: float) -> Metrics:
        groups = [g for g in (group.own(self.config["rollout"]) for group in rollouts.drawn) if g]
        answers = [answer for group in groups for answer in group]
        found: Metrics = {}
        if answers:
            rewards = [answer.reward - answer.penalty for answer in answers]
            found |= {
                "rollout/reward": mean(rewards),
                "rollout/reward_std": statistics.stdev(rewards),
                "rollout/score": mean([answer.score for answer in answers]),
                "rollout/length": mean([float(answer.length) for answer in answers]),
                "rollout/no_eos": mean([float(not answer.finished) for answer in answers]),
                "rollout/entropy": mean([h for answer in answers for h in answer.at_one]),
                **shares_of("rollout", groups),
            }
        s = self.config["rollout"]
        if self.config["objective"]["resample"] or s["expert_in_group"] or s["prefix"] != "none":
            trained = [group.answers for group in rollouts.kept]
            members = [answer for group in trained for answer in group]
            found |= {
                "rollout/problems": float(len(groups)),
                "trained/problems": float(len(trained)),
                "trained/reward": mean([answer.reward - answer.penalty for answer in members]),
                "trained/score": mean([answer.score for answer in members]),
                **shares_of("trained", trained),
            }
        kl = self.config["objective"]["kl"]
        if kl["coef"] > 0 and kl["where"] == "reward":
            trained_on = [answer for _, answer in rollouts.answers()]
            tokens = sum(len(answer.sampled) for answer in trained_on)
            penalty = math.fsum(answer.penalty for answer in trained_on)
            found["rl/kl"] = penalty / kl["coef"] / max(1, tokens)
        if self.config["objective"]["resample"]:
            found["rollout/rounds"] = float(rollouts.rounds)
        if self.grader.fallible:
            found |= {"reward/timeouts": 0.0, "reward/errors": 0.0}
        return found | self.mismatch(rollouts, rl)

    def mismatch(self, rollouts: Rollouts, rl: float) -> Metrics:
        gaps = self.gaps(rollouts)
        if not gaps and rl > 0:
            # Its own sampling, in double precision.
            masked = self.config["objective"]["overlong"] == "mask"
            answers = [a for _, a in rollouts.answers() if a.finished or not masked]
            gaps = [0.0 for answer in answers for _ in answer.sampled]
        if not gaps:
            return {}
        found = {
            "rollout/mismatch_mean": mean([abs(gap) for gap in gaps]),
            "rollout/mismatch_max": max(abs(gap) for gap in gaps),
            "rollout/mismatch_ratio": mean([math.exp(gap) for gap in gaps]),
            "rollout/mismatch_kl": mean([math.exp(gap) - 1 - gap for gap in gaps]),
        }
        if self.config["corrected"]:
            cap = self.config["rollout"]["correction_cap"]
            weights = [min(math.exp(gap), cap) for gap in gaps]
            found["rollout/correction_mean"] = mean(weights)
            found["rollout/correction_capped"] = mean([float(w >= cap) for w in weights])
        return found

    def completions(self, rollouts: Rollouts) -> list[Settings]:
        """All answers to the first two problems of the first round."""
        return [
            {
                "problem": group.problem.prompt,
                "answer": group.problem.answer,
                "response": answer.text,
                "score": answer.score,
                "reward": answer.reward - answer.penalty,
                "advantage": answer.advantage if group in rollouts.kept else None,
                "finished": answer.finished,
            }
            for group in rollouts.first[:2]
            for answer in group.answers
        ]


def shares_of(what: str, groups: Sequence[Sequence[Answer]]) -> Metrics:
    """Shares of problems with right answers only, and with wrong ones only."""
    return {
        f"{what}/all_right": mean([float(min(a.score for a in g) >= 1) for g in groups]),
        f"{what}/all_wrong": mean([float(max(a.score for a in g) <= 0) for g in groups]),
    }


def compared(sft: list[Tensor], rl: list[Tensor]) -> Metrics:
    found = {"grad/sft_norm": norm_of(sft), "grad/rl_norm": norm_of(rl)}
    if all(found.values()):
        product = math.fsum(float((a * b).sum()) for a, b in zip(sft, rl, strict=True))
        found["grad/cosine"] = product / (found["grad/sft_norm"] * found["grad/rl_norm"])
    return found
