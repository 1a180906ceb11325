"""What a pre-trained model can do: the numbers on the card."""

from __future__ import annotations

import random
from collections.abc import Sequence

from chord.data.batch import Problem
from chord.data.tasks import PARTS, draw_target, is_worked
from chord.data.testbed import HELD_OUT, Sizes, Testbed, TestbedConfig
from chord.models.transformer import Transformer
from chord.pretrain.mixture import TOKENIZER
from chord.rewards import Verifier
from chord.rollout import draw_uniforms, sample

MAX_NEW_TOKENS = 48
SAMPLES = 16
DIFFICULTIES = (
    Sizes((100, 999), (11, 99)),
    Sizes((1000, 9999), (11, 19)),
    Sizes((1000, 9999), (21, 29)),
    Sizes((1000, 9999), (31, 49)),
    Sizes((1000, 9999), (51, 99)),
    Sizes((3000, 9999), (11, 99)),
    Sizes((3000, 9999), (13, 99)),
    Sizes((5000, 9999), (15, 99)),
)
"""Sizes of target problems that the card gives scores for."""


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
        stop_ids=TOKENIZER.stop_ids,
        pad_id=TOKENIZER.pad_id,
    )
    texts = [
        TOKENIZER.decode(tokens) if done else ""
        for tokens, done in zip(drawn.responses, drawn.finished, strict=True)
    ]
    return [texts[start : start + group] for start in range(0, len(texts), group)]


def target_scores(model: Transformer, problems: Sequence[Problem]) -> dict[str, float]:
    """Scores on target problems, each a share in [0, 1].

    `greedy` right greedy answers; `sampled` right samples at temperature 1; `manner` samples in the
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
        "sampled": _mean([score for score, _ in rows]),
        "manner": _mean([float(manner) for _, manner in rows]),
        "manner_right": _mean([score for score, manner in rows if manner]),
        "direct_right": _mean([score for score, manner in rows if not manner]),
    }


def greedy_score(model: Transformer, problems: Sequence[Problem]) -> float:
    """Share of right greedy answers."""
    verifier = Verifier()
    rows = respond(model, problems)
    return _mean([verifier(p, row[0]) for p, row in zip(problems, rows, strict=True)])


def scores(
    model: Transformer, split: str, *, limit: int | None = None
) -> dict[str, dict[str, float]]:
    """All of the card's numbers: `target/<sizes>`, `retained`, and `parts`.

    `parts` compares greedy accuracy on the parts of the target problems at the default difficulty:
    equal on training and held-out problems, as the model has seen neither. `limit` is the most
    problems taken of each kind.
    """
    found = {
        f"target/{size_name(sizes)}": target_scores(model, _testbed(sizes).held_out(split)[:limit])
        for sizes in DIFFICULTIES
    }
    default = TestbedConfig()
    return found | {
        "retained": {
            skill: greedy_score(model, problems[:limit])
            for skill, problems in default.build().retained(split).items()
        },
        "parts": {part: greedy_score(model, _part(part, default)[:limit]) for part in PARTS},
    }


def _part(part: str, config: TestbedConfig) -> list[Problem]:
    """Random target problems of one part of the split."""
    rng = random.Random(f"scores/{part}")
    return [
        draw_target(part, rng, first=config.sizes.first, second=config.sizes.second)
        for _ in range(HELD_OUT["test"])
    ]


def size_name(sizes: Sizes) -> str:
    """E.g. `1000-9999 x 31-99`."""
    return " x ".join(f"{low}-{high}" for low, high in sizes)


def _testbed(sizes: Sizes) -> Testbed:
    (min_first, max_first), (min_second, max_second) = sizes
    return TestbedConfig(
        min_first=min_first, max_first=max_first, min_second=min_second, max_second=max_second
    ).build()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
