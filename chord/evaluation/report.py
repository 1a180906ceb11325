"""Evaluation, the same for every run.

The random numbers of an evaluation depend only on the problem and the number of the sample, so
all models and runs are compared on the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from chord.errors import ConfigError
from chord.evaluation.progress import OnProgress, counted
from chord.evaluation.settings import PARTS, Evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from chord.data.base import Data
    from chord.data.batch import Pair, Problem
    from chord.data.grading import Scorer
    from chord.models.policy import Policy
    from chord.rewards import Failure, Grader

# Separates the random numbers of evaluations from those of every training seed and step.
EVALUATION_STREAM = 2**32 - 1
# Responses per target problem at temperature 1.
SAMPLES = 4
MOST_SOURCES = 50
"""With more, the field that names them names something else, such as pages."""


@dataclass
class ScoredAnswer:
    """A model's response and its score from the verifier, which is 0 if the response is cut off.

    The score is not a number if the right answer is not known.

    `entropies`: entropy of the policy at each token, in nats. `failure`: how the verifier failed,
    if it did. `cut_off`: it is as long as a response may be, and has not ended.
    """

    problem: Problem
    text: str
    score: float
    entropies: Sequence[float]
    failure: Failure | None = None
    cut_off: bool = False


@dataclass
class Report:
    """The metrics of one model on one split, and its responses to the target problems.

    `answers` are the greedy ones, `sampled` those at a temperature, adjacent for each problem.
    """

    metrics: dict[str, float]
    answers: list[ScoredAnswer]
    sampled: list[ScoredAnswer] = field(default_factory=list)


def evaluate(
    policy: Policy,
    data: Data,
    config: Evaluation,
    verifier: Grader,
    *,
    split: str,
    alpha: float,
    samples: int = SAMPLES,
    temperature: float = 1.0,
    rows_at_a_time: int = 256,
    micro_batch: int = 0,
    on_progress: OnProgress | None = None,
) -> Report:
    """Score a model on `val` or `test`.

    The report has these metrics:

    - `target_accuracy`: greedy accuracy on the target problems.
    - `target_mean4`, `rl_reward`: mean score of four samples at temperature 1, no format terms;
      with `samples` and `temperature`, of so many at that temperature (`target_mean8`).
    - `expert_style`: share of those samples in the expert's style; absent if the data cannot tell.
    - `entropy`: mean over the tokens of those samples, in nats.
    - `retained/<skill>`, `retained/mean`, `retained/min`: greedy accuracy on the retained skills.
    - `sft_accuracy`, `expert_nll`: teacher-forced, on held-out expert pairs.
    - `balance`: alpha * sft_accuracy + (1 - alpha) * rl_reward.
    - `balance_at_0.5`: the same with alpha = .5, to compare runs.
    - `reward/timeouts`, `reward/errors`: number of responses that scored 0 because a verifier
      failed; present only if a verifier can fail.

    The four metrics from `sft_accuracy` to `balance_at_0.5` are absent if no expert pairs are held
    out. Without right answers, only `sft_accuracy`, `expert_nll` and the retained skills are left.
    If the problems have several sources, `source/<name>` is `target_accuracy` on those of one. The
    numbers do not depend on `rows_at_a_time` (rows sampled at once) or on `micro_batch` (rows
    scored at once; 0: all). `on_progress` is called with the numbers of responses sampled so far,
    and in all.
    """
    part = PARTS[split]
    problems = data.held_out(part)[: getattr(config, f"{split}_problems")]
    if not problems:
        raise ConfigError(f"split={split}: data.{part}=0 holds out no problems")
    longest = config.max_new_tokens
    answered = all(problem.answer for problem in problems)
    most = getattr(config, f"{split}_retained")
    skills: list[tuple[str, Sequence[Problem], Scorer]] = [
        (name, every[:most], verifier) for name, every in data.retained(part).items()
    ]
    skills += [(skill.name, skill.problems[part][:most], skill.grader) for skill in data.skills]
    sizes = [len(problems) * (1 + samples * answered)]
    sizes += [len(chosen) for _, chosen, _ in skills]
    ask = partial(
        answer,
        policy,
        data,
        max_new_tokens=longest,
        rows_at_a_time=rows_at_a_time,
        on_progress=counted(on_progress, sum(sizes)),
    )
    metrics: dict[str, float] = {}
    if answered:
        greedy = ask(problems, verifier)
        sampled = ask(problems, verifier, samples=samples, temperature=temperature)
        metrics = {
            "target_accuracy": mean([each.score for each in greedy]),
            f"target_mean{samples}": mean([each.score for each in sampled]),
            "rl_reward": mean([each.score for each in sampled]),
            **_manner([data.is_expert_style(each.text) for each in sampled]),
            "entropy": mean([value for each in sampled for value in each.entropies]),
            **_by_source(greedy),
        }
    else:
        greedy, sampled = ask(problems, None), []
    kept, asked = {}, [*greedy, *sampled]
    for name, chosen, grader in skills:
        answers = ask(chosen, grader)
        kept[name] = mean([each.score for each in answers])
        asked += answers
    metrics |= {f"retained/{skill}": accuracy for skill, accuracy in kept.items()}
    if kept:
        metrics["retained/mean"] = mean(list(kept.values()))
        metrics["retained/min"] = min(kept.values())
    if pairs := data.held_out_pairs(part)[: config.pairs]:
        metrics |= imitation(policy, data, pairs, micro_batch=micro_batch)
        if "rl_reward" in metrics:
            agreement, reward = metrics["sft_accuracy"], metrics["rl_reward"]
            metrics["balance"] = alpha * agreement + (1 - alpha) * reward
            metrics["balance_at_0.5"] = 0.5 * agreement + 0.5 * reward
    if verifier.fallible or any(skill.grader.fallible for skill in data.skills):
        metrics |= failures(asked)
    return Report(metrics, greedy, sampled)


def answer(
    policy: Policy,
    data: Data,
    problems: Sequence[Problem],
    verifier: Scorer | None,
    *,
    max_new_tokens: int,
    samples: int | None = None,
    temperature: float = 1.0,
    rows_at_a_time: int = 256,
    on_progress: Callable[[int], None] | None = None,
) -> list[ScoredAnswer]:
    """Return the greedy response to each problem, or `samples` responses at a temperature.

    All responses to a problem are adjacent; without a verifier their scores are not numbers. Each
    rank samples for its share of the problems and gets all responses. `on_progress` is called with
    numbers of further responses.
    """
    # Here and below: torch takes seconds to load, and settings are read without it.
    from chord.data.grading import Grade
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
        temperature=temperature,
        on_progress=on_progress,
    )
    repeated = [problem for problem in problems for _ in range(samples or 1)]
    texts = [tokenizer.decode(response) for response in result.responses]
    lengths = [len(response) for response in result.responses]
    entropies = [part.tolist() for part in result.entropies.split(lengths)]
    if verifier is None:
        grades = [Grade(math.nan, math.nan)] * len(texts)
    else:
        grades = verifier.grade(repeated, texts, lengths, result.finished)
    answers = [
        ScoredAnswer(problem, text, grade.score, each, grade.failure, not finished)
        for problem, text, grade, each, finished in zip(
            repeated, texts, grades, entropies, result.finished, strict=True
        )
    ]
    return joined(answers)


def imitation(
    policy: Policy, data: Data, pairs: Sequence[Pair], *, micro_batch: int = 0
) -> dict[str, float]:
    """Return teacher-forced argmax agreement and mean nll over the tokens of expert responses.

    Each rank scores its share of the pairs and gets the means over all pairs.
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
    """Return how many responses have no score because the verifier failed, by kind of failure."""
    from chord.rewards import count_failures

    counts = count_failures(answer.failure for answer in answers)
    return {name: float(count) for name, count in counts.items()}


def _manner(styled: Sequence[bool | None]) -> dict[str, float]:
    """The share of responses in the expert's style; empty if the data cannot tell."""
    known = [float(style) for style in styled if style is not None]
    return {"expert_style": mean(known)} if known else {}


def _by_source(answers: Sequence[ScoredAnswer]) -> dict[str, float]:
    """The accuracy on the problems of each source; empty unless there are several."""
    scores: dict[str, list[float]] = {}
    for each in answers:
        if each.problem.source:
            scores.setdefault(each.problem.source, []).append(each.score)
    if not 1 < len(scores) <= MOST_SOURCES:
        return {}
    return {f"source/{name}": mean(scores[name]) for name in sorted(scores)}


def mean(values: list[float]) -> float:
    """Return the mean of a non-empty list."""
    return sum(values) / len(values)


def prefixed(metrics: dict[str, float], split: str) -> dict[str, Any]:
    """Return the metrics under their names in files and dashboards: `val/...` or `test/...`."""
    return {f"{split}/{name}": value for name, value in metrics.items()}
