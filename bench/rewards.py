"""Responses scored per second, in this process and in worker processes.

python bench/rewards.py [ANSWERS]
"""

from __future__ import annotations

import sys
import time

from chord.data.batch import Problem
from chord.rewards import Format, Grader, Math, Numeric

RESPONSE = (
    "Let me think. Half of 24 is 12, and 12 times 3 is 36.\n"
    "Then $36 + \\frac{{1}}{{2}} = \\frac{{73}}{{2}}$, so the answer is "
    "\\boxed{{\\frac{{{}}}{{2}}}}."
)


def rate(reward: Grader, answers: int) -> float:
    """Responses per second, in batches of 64; all responses are different."""
    problem = Problem("?", "73/2", 0)
    responses = [RESPONSE.format(number) for number in range(answers)]
    reward.grade([problem] * 64, responses[:64], [1] * 64)
    began = time.perf_counter()
    for start in range(0, answers, 64):
        batch = responses[start : start + 64]
        reward.grade([problem] * len(batch), batch, [1] * len(batch))
    took = time.perf_counter() - began
    reward.close()
    return answers / took


if __name__ == "__main__":
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    for name, reward in {
        "numeric, in this process": Numeric(),
        "format, 2 workers": Format(pattern=".*boxed.*"),
        "math, 1 worker": Math(workers=1),
        "math, 2 workers": Math(workers=2),
    }.items():
        print(f"{name:<26} {rate(reward, answers):>8.0f} responses/s")
