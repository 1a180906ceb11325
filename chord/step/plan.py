"""What a train step consists of, decided after its rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from chord.data.batch import Pair
from chord.distributed.collectives import all_rows, rank, world_size
from chord.rollout.observed import Observed
from chord.rollout.rollouts import Rollouts
from chord.schedules.gates import Gate, Keys
from chord.schedules.mixes import Mix, Shares
from chord.step.demonstrations import Imitation
from chord.step.rows import ExpertRows


@dataclass
class Plan:
    """The two branches of a step with their shares; a branch that is None is skipped.

    `own`: the SFT branch's rows are the policy's own samples, not expert responses.
    """

    alpha: float
    shares: Shares
    experts: ExpertRows | None
    rollouts: Rollouts | None
    own: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


def gated(
    plan: Plan, gate: Gate, state: Keys, mix: Mix, imitation: Imitation, step: int
) -> tuple[Plan, Keys]:
    """The plan of a step with a gate, and the gate's new state.

    Every problem drawn for the step is judged by the policy's own responses, even if its group is
    not trained on (`objective.resample`). Groups that are trained on have the share 1 - g in RL,
    whatever the mix; the mix's coefficient scales only SFT. The expert response to each judged
    problem has the share g in SFT; with a buffer, the problems that it releases take the place of
    those rows and are distributed over the ranks. Rows of the expert stream, which no gate judges,
    have the share alpha and take nothing from RL. All expert rows are divided by one count and all
    rollouts by another, whatever their shares, so the count does not jump if every g of a step is
    0.
    """
    rollouts = plan.rollouts
    assert rollouts is not None, "a gate judges rollouts"
    seen = rollouts.observed
    g = gate.judge(seen.scores)
    state, released = gate.add(state, *_everyones(seen))
    mean = float(all_rows(g)[0].mean())
    metrics = {"gate/share": mean, "gate/waiting": float(len(state))}
    pairs: list[Pair] = []
    if plan.alpha > 0:
        pairs += imitation.pairs(step)
    share, order = [plan.alpha] * len(pairs), [0] * len(pairs)
    if released:
        metrics["gate/released"] = float(len(released))
        ours = range(rank(), len(released), world_size())
        pairs += [imitation.data.pair_with(released[place]) for place in ours]
        order += [1 + place for place in ours]
    elif gate.imitates_judged and (mean > 0 or plan.alpha > 0):
        pairs += [imitation.data.pair_with(problem.key) for problem in seen.problems]
        share += g.tolist()
        order += (1 + seen.rounds).tolist()
    share += [1.0] * (len(pairs) - len(share))
    shares = Shares(mix(1.0).sft, mix(0.0).rl)
    imitates = shares.sft > 0 and (plan.alpha > 0 or mean > 0 or len(released) > 0)
    experts = None
    if imitates:
        shares_of = torch.tensor(share, dtype=torch.float64)
        experts = imitation.of(pairs, shares_of, torch.tensor(order, dtype=torch.int64))
    places = torch.tensor(rollouts.places, dtype=torch.int64, device=g.device)
    of_rows = (1 - g)[places].repeat_interleave(rollouts.scores.shape[1])
    rows = replace(rollouts.rows, share=of_rows.to(rollouts.rows.advantages.dtype))
    rollouts = replace(rollouts, rows=rows)
    return Plan(plan.alpha, shares, experts, rollouts, metrics=metrics), state


def _everyones(seen: Observed) -> tuple[list[int], Tensor]:
    """Keys and scores of all ranks' problems, in the order in which one process would draw them."""
    keys, _ = all_rows(torch.tensor([problem.key for problem in seen.problems], dtype=torch.int64))
    scores, _ = all_rows(seen.scores)
    order = all_rows(seen.rounds)[0].argsort(stable=True)
    return keys[order].tolist(), scores[order.to(scores.device)]
