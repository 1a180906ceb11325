"""Evaluation, the same for every run.

Sampling in an evaluation is seeded by the problem and the sample alone, so two models, or two runs,
are compared on the same random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from chord.evaluation.settings import PARTS, Evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from chord.data.base import Data
    from chord.data.batch import Pair, Problem
    from chord.data.skills import Scores
    from chord.models.policy import Policy
    from chord.rewards import Failure, Grader

# Keeps the random numbers of evaluations apart from those of any training seed and step.
EVALUATION_STREAM = 2**32 - 1
# Answers to each target problem at temperature 1.
SAMPLES = 4


@dataclass
class ScoredAnswer:
    """What a model wrote, and the verifier's score of it: 0 for one cut off before its end.

    `entropies`: in nats, of the distribution that each of its tokens came from. `failure`: why it
    has no score, where the verifier failed.
    """

    problem: Problem
    text: str
    score: float
    entropies: Sequence[float]
    failure: Failure | None = None


@dataclass
class Report:
    """The metrics of one model on one split, and the greedy answers to its target problems."""

    metrics: dict[str, float]
    answers: list[ScoredAnswer]


def evaluate(
    policy: Policy,
    data: Data,
    config: Evaluation,
    verifier: Grader,
    *,
    split: str,
    alpha: float,
    rows_at_a_time: int = 256,
    micro_batch: int = 0,
) -> Report:
    """Score a model on `val` or `test`.

    Keys: `target_accuracy` greedy pass@1; `target_mean4` and `rl_reward` the verifier's mean score
    at temperature 1, without format terms; `expert_style` the share of those samples in the
    expert's manner, absent where the data can't tell, and `entropy` the mean over their tokens, in
    nats; `retained/<skill>`, `/mean`, `/min` greedy; `sft_accuracy` and `expert_nll` teacher-forced
    on held-out expert pairs; `balance` = alpha * sft_accuracy + (1 - alpha) * rl_reward,
    `balance_at_0.5` the same with .5 for alpha, by which runs compare. Where no expert answers are
    held out, these four are absent. Where a verifier can fail, `reward/timeouts` and
    `reward/errors` count the answers that scored 0 for that. The numbers do not depend on how many
    `rows_at_a_time` are sampled, nor on how many are scored, a `micro_batch` (0: all).
    """
    part = PARTS[split]
    problems = data.held_out(part)[: getattr(config, f"{split}_problems")]
    longest = config.max_new_tokens
    ask = partial(answer, policy, data, max_new_tokens=longest, rows_at_a_time=rows_at_a_time)
    greedy = ask(problems, verifier)
    sampled = ask(problems, verifier, samples=SAMPLES)
    metrics = {
        "target_accuracy": mean([each.score for each in greedy]),
        "target_mean4": mean([each.score for each in sampled]),
        "rl_reward": mean([each.score for each in sampled]),
        **_manner([data.is_expert_style(each.text) for each in sampled]),
        "entropy": mean([value for each in sampled for value in each.entropies]),
    }
    kept, asked = {}, [*greedy, *sampled]
    skills: list[tuple[str, Sequence[Problem], Scores]] = [
        (name, every, verifier) for name, every in data.retained(part).items()
    ]
    skills += [(skill.name, skill.problems[part], skill.grader) for skill in data.skills]
    for name, every, grader in skills:
        chosen = every[: getattr(config, f"{split}_retained")]
        answers = ask(chosen, grader)
        kept[name] = mean([each.score for each in answers])
        asked += answers
    metrics |= {f"retained/{skill}": accuracy for skill, accuracy in kept.items()}
    if kept:
        metrics["retained/mean"] = mean(list(kept.values()))
        metrics["retained/min"] = min(kept.values())
    if pairs := data.held_out_pairs(part)[: config.pairs]:
        metrics |= imitation(policy, data, pairs, micro_batch=micro_batch)
        agreement, reward = metrics["sft_accuracy"], metrics["rl_reward"]
        metrics["balance"] = alpha * agreement + (1 - alpha) * reward
        metrics["balance_at_0.5"] = 0.5 * agreement + 0.5 * reward
    if verifier.fallible or any(skill.grader.fallible for skill in data.skills):
        metrics |= failures(asked)
    return Report(metrics, greedy)


def answer(
    policy: Policy,
    data: Data,
    problems: Sequence[Problem],
    verifier: Scores,
    *,
    max_new_tokens: int,
    samples: int | None = None,
    rows_at_a_time: int = 256,
) -> list[ScoredAnswer]:
    """The greedy answer to each problem, or `samples` in a row to each at temperature 1.

    Each rank answers its share of the problems, and gets all answers.
    """
    from chord.distributed.collectives import joined, part_of
    from chord.rollout import draw_uniforms, sample

    tokenizer = data.tokenizer
    uniforms = None
    if samples is not None:
        uniforms = draw_uniforms(
            EVALUATION_STREAM,
            0,
            keys=[problem.key for problem in problems],
            group_size=samples,
            max_new_tokens=max_new_tokens,
        )
        numbers = part_of(range(len(problems)))
        uniforms = uniforms[numbers.start * samples : numbers.stop * samples]
    problems = part_of(problems)
    result = sample(
        policy,
        [tokenizer.prompt(problem) for problem in problems],
        group_size=samples or 1,
        max_new_tokens=max_new_tokens,
        rows_at_a_time=rows_at_a_time,
        uniforms=uniforms,
        stop_ids=tokenizer.stop_ids,
        pad_id=tokenizer.pad_id,
        greedy=samples is None,
    )
    repeated = [problem for problem in problems for _ in range(samples or 1)]
    texts = [tokenizer.decode(response) for response in result.responses]
    lengths = [len(response) for response in result.responses]
    entropies = [part.tolist() for part in result.entropies.split(lengths)]
    grades = verifier.grade(repeated, texts, lengths, result.finished)
    answers = [
        ScoredAnswer(problem, text, grade.score, each, grade.failure)
        for problem, text, grade, each in zip(repeated, texts, grades, entropies, strict=True)
    ]
    return joined(answers)


def imitation(
    policy: Policy, data: Data, pairs: Sequence[Pair], *, micro_batch: int = 0
) -> dict[str, float]:
    """Teacher-forced argmax agreement and mean nll over the tokens of expert responses.

    Each rank scores its share of the pairs, and gets the means over all.
    """
    import torch

    from chord.data.batch import collate_pairs
    from chord.distributed.collectives import all_sum, part_of
    from chord.models.scoring import score
    from chord.models.sharing import policy_batches
    from chord.weightings import token_logprobs

    def of_tokens(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return logits.argmax(dim=-1) == targets, token_logprobs(logits, targets)

    tokens = collate_pairs(part_of(pairs), data.tokenizer).to(policy.device)
    sums = torch.zeros(3, dtype=torch.float64, device=policy.device)
    with torch.no_grad():
        for index in policy_batches(policy, tokens, micro_batch):
            piece = tokens.select(index)
            agrees, logprobs = score(policy, piece).map(of_tokens, piece.targets[piece.mask])
            sums[0] += agrees.sum()
            sums[1] += logprobs.double().sum()
            sums[2] += len(agrees)
    agreeing, logprob, count = all_sum(sums).tolist()
    return {"sft_accuracy": agreeing / count, "expert_nll": -logprob / count}


def failures(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
    """How many answers have no score of their own."""
    from chord.rewards import count_failures

    counts = count_failures(answer.failure for answer in answers)
    return {name: float(count) for name, count in counts.items()}


def _manner(styled: Sequence[bool | None]) -> dict[str, float]:
    """The share of responses in the expert's style; empty if the data can't tell."""
    known = [float(style) for style in styled if style is not None]
    return {"expert_style": mean(known)} if known else {}


def mean(values: list[float]) -> float:
    """The mean of a list that has at least one value."""
    return sum(values) / len(values)


def prefixed(metrics: dict[str, float], split: str) -> dict[str, Any]:
    """Metric names as they stand in files and dashboards: `val/...` or `test/...`."""
    return {f"{split}/{name}": value for name, value in metrics.items()}
