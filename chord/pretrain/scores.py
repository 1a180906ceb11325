"""What a pre-trained model can do: the numbers on the card."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from chord.data.batch import Problem
from chord.data.tasks import PARTS, draw_target, is_worked
from chord.data.testbed import HELD_OUT, Testbed, TestbedConfig
from chord.models.transformer import Transformer
from chord.pretrain.mixture import TOKENIZER
from chord.rewards import Verifier
from chord.rollout import draw_uniforms, sample

MAX_NEW_TOKENS = 44
SAMPLES = 4
DIFFICULTIES = ((999, 19), (999, 29), (2999, 19), (2999, 29), (9999, 19), (9999, 29))
"""Values of `data.max_first` and `data.max_second` that the card gives scores for."""


def respond(
    model: Transformer, problems: Sequence[Problem], *, samples: int = 0, seed: int = 0
) -> list[list[str]]:
    """The greedy response to each problem, or `samples` responses at temperature 1.

    One cut off before its end token comes back empty, which no verifier takes for an answer.
    """
    keys = [problem.key for problem in problems]
    group = max(samples, 1)
    drawn = sample(
        model,
        [TOKENIZER.encode(problem.prompt) for problem in problems],
        group_size=group,
        max_new_tokens=MAX_NEW_TOKENS,
        uniforms=draw_uniforms(seed, 0, keys=keys, group_size=group, max_new_tokens=MAX_NEW_TOKENS)
        if samples
        else None,
        greedy=not samples,
        eos_id=TOKENIZER.eos_id,
        pad_id=TOKENIZER.pad_id,
    )
    texts = [
        TOKENIZER.decode(tokens) if done else ""
        for tokens, done in zip(drawn.responses, drawn.finished, strict=True)
    ]
    return [texts[start : start + group] for start in range(0, len(texts), group)]


def target_scores(model: Transformer, problems: Sequence[Problem]) -> dict[str, float]:
    """Scores on target problems, each a share in [0, 1].

    `greedy` right greedy answers; `mean4` right samples at temperature 1; `manner` samples in the
    expert's manner; `manner_right`, `direct_right` right ones of the samples in each manner.
    """
    verifier = Verifier()
    rows = [
        (verifier(problem, text), is_worked(text))
        for problem, row in zip(problems, respond(model, problems, samples=SAMPLES), strict=True)
        for text in row
    ]
    return {
        "greedy": greedy_score(model, problems),
        "mean4": _mean([score for score, _ in rows]),
        "manner": _mean([float(manner) for _, manner in rows]),
        "manner_right": _mean([score for score, manner in rows if manner]),
        "direct_right": _mean([score for score, manner in rows if not manner]),
    }


def greedy_score(model: Transformer, problems: Sequence[Problem]) -> float:
    """Share of right greedy answers."""
    verifier = Verifier()
    rows = respond(model, problems)
    return _mean([verifier(p, row[0]) for p, row in zip(problems, rows, strict=True)])


def retained_scores(model: Transformer, split: str) -> dict[str, float]:
    """Share of right greedy answers in each retained skill."""
    retained = TestbedConfig().build().retained(split)
    return {skill: greedy_score(model, problems) for skill, problems in retained.items()}


def part_score(model: Transformer, part: str, max_first: int, max_second: int) -> float:
    """Greedy accuracy on random target problems of one part, which shows what was memorised."""
    rng = random.Random(f"scores/{part}")
    problems = [
        draw_target(part, rng, max_first=max_first, max_second=max_second)
        for _ in range(HELD_OUT["test"])
    ]
    return greedy_score(model, problems)


def scores(model: Transformer, split: str) -> dict[str, dict[str, float]]:
    """All of the card's numbers: `target/<max_first>x<max_second>`, `retained`, and `parts`.

    `parts` compares greedy accuracy on the parts of the target problems at the default difficulty:
    equal on training and held-out problems, as the model has seen neither.
    """
    found = {
        f"target/{first}x{second}": target_scores(model, _testbed(first, second).held_out(split))
        for first, second in DIFFICULTIES
    }
    default = TestbedConfig()
    size = (default.max_first, default.max_second)
    return found | {
        "retained": retained_scores(model, split),
        "parts": {part: part_score(model, part, *size) for part in PARTS},
    }


@cache
def _testbed(max_first: int, max_second: int) -> Testbed:
    return TestbedConfig(max_first=max_first, max_second=max_second).build()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
