"""The scores of a pre-trained model for the card."""

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
"""The sizes of target problems for which the card gives scores."""


def respond(
    model: Transformer, problems: Sequence[Problem], *, samples: int = 0, seed: int = 0
) -> list[list[str]]:
    """Return the greedy response to each problem, or `samples` responses at temperature 1.

    A response that is cut off before its end token is returned empty and thus scores 0.
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
    """Return scores on target problems, each a share in [0, 1].

    `greedy`: greedy accuracy. `sampled`: accuracy of samples at temperature 1. `manner`: share of
    these samples in the expert's style. `manner_right`, `direct_right`: accuracy of the samples in
    the expert's style and of the others.
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
    """Return the greedy accuracy."""
    verifier = Verifier()
    rows = respond(model, problems)
    return _mean([verifier(p, row[0]) for p, row in zip(problems, rows, strict=True)])


def scores(
    model: Transformer, split: str, *, limit: int | None = None
) -> dict[str, dict[str, float]]:
    """Return all scores of the card: `target/<sizes>`, `retained`, and `parts`.

    `parts` is the greedy accuracy on each part of the target problems at the default difficulty. It
    should be the same on training and held-out problems, because pre-training sees neither. At most
    `limit` problems of each kind are used.
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
    """Return the sizes as text, such as `1000-9999 x 31-99`."""
    return " x ".join(f"{low}-{high}" for low, high in sizes)


def _testbed(sizes: Sizes) -> Testbed:
    (min_first, max_first), (min_second, max_second) = sizes
    return TestbedConfig(
        min_first=min_first, max_first=max_first, min_second=min_second, max_second=max_second
    ).build()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
