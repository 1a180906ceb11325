"""The grades of expert responses: each is graded once, and read as the policy's own would be."""

from __future__ import annotations

from collections.abc import Sequence

from chord.data.batch import Pair
from chord.data.grading import Grade, Scorer
from chord.data.split import number_of


class ExpertGrades:
    """The grades of a run's reward, by the content of the rows."""

    def __init__(self) -> None:
        self._known: dict[int, Grade] = {}

    def of(
        self, reward: Scorer, pairs: Sequence[Pair], texts: Sequence[str], lengths: Sequence[int]
    ) -> list[Grade]:
        """The grade of each response; only those that have none yet are graded.

        `texts`: what is graded, the last turn as it reads in its tokens. `lengths`: the tokens that
        the expert wrote. A response counts as finished, however long it is. Where the verifier
        failed, it is asked again the next time.
        """
        keys = [_content(pair) for pair in pairs]
        rows = {key: row for row, key in enumerate(keys) if key not in self._known}
        new = rows.values()
        graded = reward.grade(
            [pairs[row].problem for row in new],
            [texts[row] for row in new],
            [lengths[row] for row in new],
        )
        found = dict(zip(rows, graded, strict=True))
        self._known |= {key: grade for key, grade in found.items() if grade.failure is None}
        return [found[key] if key in found else self._known[key] for key in keys]


def _content(pair: Pair) -> int:
    """A hash of all that a reward can read."""
    problem = pair.problem
    return number_of(repr((pair, problem.details, problem.conversational)))
