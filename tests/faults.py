"""How often a test of faults tries: a few times in `make test`, in full with `make test-faults`.

    @pytest.mark.faults
    @pytest.mark.parametrize("seed", seeds(few=2, full=100))
    def test_a_run_survives_a_kill(seed: int) -> None: ...

    @pytest.mark.faults
    @drawn(few=300, full=100_000)
    @given(st.text())
    def test_no_text_stops_the_verifier(text: str) -> None: ...

`FAULTS=full` in the environment asks for all tries, `FAULTS_SEED=7` for others than the usual ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import hypothesis


def tries(*, few: int, full: int) -> int:
    """How many there are to be."""
    return full if os.environ.get("FAULTS") == "full" else few


def first_seed() -> int:
    """The seed that tries are counted from."""
    return int(os.environ.get("FAULTS_SEED") or 0)


def seeds(*, few: int, full: int) -> range:
    """A seed for each try."""
    return range(first_seed(), first_seed() + tries(few=few, full=full))


def drawn(*, few: int, full: int) -> Callable[[Any], Any]:
    """So many examples of hypothesis, the same ones each time unless there is a `FAULTS_SEED`."""
    amount = tries(few=few, full=full)
    if not first_seed():
        return hypothesis.settings(deadline=None, derandomize=True, max_examples=amount)

    def seeded(test: Any) -> Any:
        chosen = hypothesis.settings(deadline=None, max_examples=amount, database=None)
        return hypothesis.seed(first_seed())(chosen(test))

    return seeded
