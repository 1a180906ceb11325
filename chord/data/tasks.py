"""The skills of the test bed: random problems, their answers, response styles and the split.

Every problem is a short prompt that ends in `=` and has one right final answer:

| skill       | prompt      | answer | what                                                 |
|-------------|-------------|--------|------------------------------------------------------|
| target      | `173*26=`   | 4498   | 101 to 9999 times 11 to 99, neither ending in 0      |
| addition    | `2838+405=` | 3243   | two to six digits each                               |
| subtraction | `2838-405=` | 2433   | two to four digits each, never negative              |
| short       | `173*6=`    | 1038   | product by one digit or by a multiple of ten         |
| reverse     | `r48392=`   | 29384  | the digits reversed                                  |
| sort        | `s48392=`   | 23489  | the digits in ascending order                        |

The model's own response style is the bare answer. In the *expert's style*, a target problem is
worked out in steps, each of which is one of the other skills:
`173*26=` -> `173*6=1038;173*20=3460;1038+3460=4498`.
The final answer is the text after the last `=`, so both styles are scored by the same rule.

A problem belongs to exactly one part (pre-training, training, validation, test), by a hash of its
canonical text, in which operands of `*` and `+` are ordered: `26*173` is in the part of `173*26`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from chord.data.batch import Problem

ALPHABET = "0123456789+-*=;rs"
TARGET = "target"
RETAINED = ("addition", "subtraction", "short", "reverse", "sort")
PARTS = ("pretrain", "train", "validation", "test")

FIRST = (100, 9999)
"""Range of a target problem's first operand."""
SECOND = (11, 99)
"""Range of a target problem's second operand."""

# Upper bounds of each part in per mille of the hash space, in the order of PARTS.
_BOUNDS = (450, 700, 800, 1000)


def canonical(prompt: str) -> str:
    """The canonical text of a problem, up to symmetry.

    >>> canonical("86*47=")
    '47*86='
    """
    for operator in "*+":
        if operator in prompt:
            left, right = prompt.rstrip("=").split(operator)
            low, high = sorted((int(left), int(right)))
            return f"{low}{operator}{high}="
    return prompt


def key_of(prompt: str) -> int:
    """A stable 60-bit id of a problem, the same for swapped operands and on every machine."""
    digest = hashlib.blake2b(canonical(prompt).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 4


def part_of(key: int) -> str:
    """The part of the split that holds the problem with this key."""
    # A second hash, because data sets take problems in the order of their keys.
    digest = hashlib.blake2b(key.to_bytes(8, "big"), digest_size=4, person=b"part").digest()
    share = int.from_bytes(digest, "big") % 1000
    return next(part for part, bound in zip(PARTS, _BOUNDS, strict=True) if share < bound)


def make_problem(skill: str, prompt: str) -> Problem:
    """The problem of a prompt, with its right answer."""
    return Problem(prompt=prompt, answer=_answer(prompt), key=key_of(prompt), skill=skill)


def _answer(prompt: str) -> str:
    body = prompt.removesuffix("=")
    if body[0] == "r":
        return body[:0:-1]
    if body[0] == "s":
        return "".join(sorted(body[1:]))
    operator = next(sign for sign in "+-*" if sign in body)
    left, right = (int(number) for number in body.split(operator))
    return str({"+": left + right, "-": left - right, "*": left * right}[operator])


def worked(problem: Problem) -> str:
    """The expert's response to a target problem: two short products and their sum.

    >>> worked(make_problem("target", "47*86="))
    '47*6=282;47*80=3760;282+3760=4042'
    """
    left, units, tens = _parts(problem)
    return _in_steps(left, units, tens)


def tens_first(problem: Problem) -> str:
    """The same steps in an order that pre-training has never shown.

    >>> tens_first(make_problem("target", "47*86="))
    '47*80=3760;47*6=282;3760+282=4042'
    """
    left, units, tens = _parts(problem)
    return _in_steps(left, tens, units)


def direct(problem: Problem) -> str:
    """The bare answer, which is the base's own style.

    >>> direct(make_problem("target", "47*86="))
    '4042'
    """
    return problem.answer


MANNERS: dict[str, Callable[[Problem], str]] = {
    "worked": worked,
    "tens_first": tens_first,
    "direct": direct,
}
"""The expert's response styles. The teacher has learned only the first."""


def _parts(problem: Problem) -> tuple[int, int, int]:
    """The first operand, and the units and tens of the second."""
    left, right = (int(number) for number in problem.prompt.rstrip("=").split("*"))
    return left, right % 10, right - right % 10


def _in_steps(left: int, first: int, second: int) -> str:
    """Two short products and their sum, which is left * (first + second)."""
    one, other = left * first, left * second
    return f"{left}*{first}={one};{left}*{second}={other};{one}+{other}={one + other}"


def is_worked(response: str) -> bool:
    """Whether a response is in the expert's style (more than one step), right or wrong."""
    return ";" in response


def draw(skill: str, rng: random.Random) -> Problem:
    """A random problem of a skill, from any part; operands are log-uniform.

    Target problems are of all sizes: first operand 101 to 9999, second operand 11 to 99.
    """
    return make_problem(skill, _PROMPTS[skill](rng))


def draw_from(part: str, skill: str, rng: random.Random) -> Problem:
    """A random problem of a skill from one part of the split."""
    while part_of((problem := draw(skill, rng)).key) != part:
        pass
    return problem


def draw_target(
    part: str,
    rng: random.Random,
    *,
    first: tuple[int, int] = FIRST,
    second: tuple[int, int] = SECOND,
) -> Problem:
    """A random target problem from one part of the split, with operands within these ranges."""
    while True:
        problem = make_problem(TARGET, _target(rng, first, second))
        if part_of(problem.key) == part:
            return problem


def _sized(rng: random.Random, low: int, high: int) -> int:
    return int(low * ((high + 1) / low) ** rng.random())


def _target(
    rng: random.Random, first: tuple[int, int] = FIRST, second: tuple[int, int] = SECOND
) -> str:
    left = right = 0
    while not (left % 10 and right % 10):
        left, right = _sized(rng, *first), _sized(rng, *second)
    return f"{left}*{right}="


def _addition(rng: random.Random) -> str:
    return f"{_sized(rng, 10, 899_999)}+{_sized(rng, 10, 899_999)}="


def _subtraction(rng: random.Random) -> str:
    numbers = (_sized(rng, 10, 9_999), _sized(rng, 10, 9_999))
    return f"{max(numbers)}-{min(numbers)}="


def _short(rng: random.Random) -> str:
    digit, zero = rng.randrange(1, 10), "0" * rng.randrange(2)
    return f"{_sized(rng, 11, 9999)}*{digit}{zero}="


def _digits(letter: str, rng: random.Random) -> str:
    return letter + "".join(rng.choices("0123456789", k=rng.randrange(4, 9))) + "="


_PROMPTS: dict[str, Callable[[random.Random], str]] = {
    TARGET: _target,
    "addition": _addition,
    "subtraction": _subtraction,
    "short": _short,
    "reverse": lambda rng: _digits("r", rng),
    "sort": lambda rng: _digits("s", rng),
}
