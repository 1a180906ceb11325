"""Whether the expert's responses would earn the reward: graded as rollouts, before the first step.

A reward that the expert's own responses do not earn is most likely the wrong one, reads the wrong
field, or is given responses that are longer than a rollout may be. The policy would learn nothing
from it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from chord.config.consistency import scores_answers
from chord.config.root import TrainConfig
from chord.data.batch import Pair
from chord.data.grading import Failure, short
from chord.data.statistics import beyond, enough
from chord.errors import ConfigError
from chord.io.printing import say
from chord.io.reading import printable
from chord.rewards.base import ScorerError
from chord.run.wrong import warn_of_wrong

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.rewards.base import Grader

FEW = 0.9
"""With a lower mean score there is a warning."""
TRIED = 200
"""On so many responses other rewards and other fields are tried."""
GOOD = 0.5
"""One that scores more than this share of those is named."""
WORDS = 5
"""A right answer of more words is long."""
_FRAME = re.compile(r' *File "(.+)", line (\d+)')


@dataclass(frozen=True)
class Graded:
    """Expert responses with their lengths in tokens, the end token included, and their scores."""

    pairs: Sequence[Pair]
    """With their responses as they read in their tokens."""
    lengths: Sequence[int]
    finished: Sequence[float]
    """The scores if each is finished, however long it is."""
    drawn_from: int | None
    """How many there are in all, where these are a sample; None: these are all."""
    limit: int
    """`rollout.max_new_tokens`: of a longer response the score is 0."""
    failures: Sequence[Failure]
    """Those of the verifier."""

    @property
    def scores(self) -> list[float]:
        """The scores as rollouts."""
        ends = zip(self.finished, self.lengths, strict=True)
        return [score if length <= self.limit else 0.0 for score, length in ends]

    @property
    def mean(self) -> float:
        """The mean score."""
        return _mean(self.scores)

    def longer(self, limit: int) -> int:
        """How many are longer than a limit."""
        return sum(length > limit for length in self.lengths)

    def said(self) -> str:
        """The scores in one line: `159 of 159 right`."""
        n = len(self.scores)
        whole = {0.0, 1.0}.issuperset(self.scores)
        score = (
            f"{int(sum(self.scores)):,} of {n:,} right"
            if whole
            else f"mean score {self.mean:.3f} over {n:,}"
        )
        return score if self.drawn_from is None else f"{score} (drawn from {self.drawn_from:,})"


def tell_rewards(config: TrainConfig, data: Data, graded: Graded | None) -> None:
    """Say how the reward reads right answers, how it scores the expert's responses, and how many a
    rollout could not hold.

    Raises ConfigError where it scores all of them 0, `data.expert_check` is `stop`, and the policy
    is to learn from the reward, as in SFT alone it is not. The same where a function of the user's
    scores a wrong response outside [0, 1].
    """
    if data.unanswered is None and config.reward.note is not None:
        say(config.reward.note)
    warn_of_wrong(config, data, [] if graded is None else graded.pairs)
    if graded is None:
        return
    say(printable(f"reward of the expert responses: {graded.said()}"))
    for line in too_long(config, graded):
        say(line)
    if (copied := whole_responses(config, graded)) is not None:
        say(f"warning: {copied}", file=sys.stderr)
    if graded.mean >= FEW:
        return
    stops = graded.mean == 0 and config.data.expert_check == "stop" and scores_answers(config)
    if (failed := failed_on(config, graded)) is not None:
        if stops:
            raise ConfigError(failed)
        say(f"warning: {failed}", file=sys.stderr)
        return
    reason = likely_reason(config, graded)
    if stops:
        raise ConfigError(
            printable(
                f"data.expert_check=stop: the reward scores each of the {len(graded.scores):,} "
                f"expert responses 0, so the policy could not learn from it: {reason}; "
                "data.expert_check=warn trains anyway"
            )
        )
    say(printable(f"warning: reward of the expert responses: {reason}"), file=sys.stderr)


def grade_experts(config: TrainConfig, data: Data) -> Graded | None:
    """The grades of the expert responses, as the policy would write them, to problems with a known
    answer; None if there are none, or `data.expert_check` is `skip`."""
    if config.data.expert_check == "skip":
        return None
    pairs, texts, lengths, read = [], [], [], 0
    for pair, ids, _ in data.read_experts():
        read += 1
        # A conversation that goes on is no single response; some data have no answers.
        if pair.problem.answer and not pair.turns:
            pairs.append(pair)
            texts.append(data.tokenizer.decode(ids))
            lengths.append(len(ids))
    if not pairs:
        return None
    try:
        grades = data.expert_grades.of(config.reward, pairs, texts, lengths)
    except ScorerError as error:
        if config.reward.named is None:
            raise
        reason = _with_place(config.reward, error.args[1], error.facts["traceback"])
        raise ConfigError(
            printable(
                f"{config.reward.named} failed on each of the first {error.args[0]} expert "
                f"responses: {reason}"
            )
        ) from error
    return Graded(
        pairs=[replace(pair, response=text) for pair, text in zip(pairs, texts, strict=True)],
        lengths=lengths,
        finished=[grade.score for grade in grades],
        drawn_from=len(data.expert_pairs) if read < len(data.expert_pairs) else None,
        limit=config.rollout.max_new_tokens,
        failures=[grade.failure for grade in grades if grade.failure is not None],
    )


def too_long(config: TrainConfig, graded: Graded) -> list[str]:
    """Which limits are below the longest expert response, with the numbers that would do."""
    limits = {
        "rollout.max_new_tokens": graded.limit,
        "evaluation.max_new_tokens": config.evaluation.max_new_tokens,
    }
    return [
        f"expert responses {beyond(graded.lengths, f'{name}={limit}', limit)}; "
        f"{enough(graded.lengths)}"
        for name, limit in limits.items()
        if max(graded.lengths) > limit
    ]


def whole_responses(config: TrainConfig, graded: Graded) -> str | None:
    """How many right answers are the expert's response from its beginning to its end, and long, if
    these are most: a response, and no answer, was probably named as the right answer."""
    reward = config.reward
    # Of a worked solution that ends in `#### 72`, only the 72 is compared.
    same = [
        pair
        for pair in graded.pairs
        if reward.by_letters(pair.problem)
        and pair.response.strip() == reward.known(pair.problem.answer).strip()
    ]
    long = [pair for pair in same if len(pair.response.split()) > WORDS]
    n = len(graded.pairs)
    if 2 * len(long) <= n:
        return None
    unread = (
        "for SFT alone use schedule=sft_only data.columns.answer=null"
        if scores_answers(config)
        else "data.columns.answer=null reads no right answers"
    )
    return (
        f"the right answer of {len(same):,} of {n:,} problems is the expert's whole response, so "
        f"only that very text is right; {unread}"
    )


def failed_on(config: TrainConfig, graded: Graded) -> str | None:
    """On how many responses a function of the user's failed, and why first; None if it did not on
    most of those that are not right."""
    wrong = sum(score <= GOOD for score in graded.finished)
    if config.reward.named is None or len(graded.failures) <= GOOD * wrong:
        return None
    first = graded.failures[0]
    reason = _with_place(config.reward, first.reason, first.traceback.splitlines())
    failed, n = len(graded.failures), len(graded.lengths)
    return printable(
        f"{config.reward.named} failed on {failed:,} of {n:,} expert responses: {reason}"
    )


def _with_place(reward: Grader, reason: str, traceback: Sequence[str]) -> str:
    """Why a function failed, and in which line of its module, or else where it raised."""
    lines = [found.groups() for each in traceback if (found := _FRAME.match(each))]
    own = [line for line in lines if line[0] in reward.files().values()]
    if not lines:
        return reason
    file, number = (own or lines)[-1]
    return f"{reason} ({file} line {number})"


def likely_reason(config: TrainConfig, graded: Graded) -> str:
    """Why the reward scores expert responses low, as far as trying other settings tells."""
    pairs, lengths = list(graded.pairs[:TRIED]), list(graded.lengths[:TRIED])
    cut = graded.longer(graded.limit)
    if cut and _mean(graded.finished[:TRIED]) > GOOD:
        return (
            f"{beyond(graded.lengths, f'rollout.max_new_tokens={graded.limit}', graded.limit)}; "
            f"{enough(graded.lengths)}"
        )
    for name, reward in _others(config.reward).items():
        try:
            scores = _scores(reward, pairs, lengths)
        except ConfigError:
            continue  # it can't read such answers
        finally:
            reward.close()
        if _mean(scores) > GOOD:
            return f"{_right(scores)} would be right with reward={name}"
    for field in _fields(config, pairs):
        other = [_with_answer(pair, field) for pair in pairs]
        try:
            scores = _scores(config.reward, other, lengths)
        except ConfigError:
            continue
        if _mean(scores) > GOOD:
            return f"{_right(scores)} would be right with data.columns.answer={field}"
    example = graded.pairs[graded.scores.index(min(graded.scores))]
    return (
        f"{graded.said()}; for example, {short(example.response)} where the right answer is "
        f"{short(config.reward.known(example.problem.answer))}"
    )


def _scores(reward: Grader, pairs: Sequence[Pair], lengths: Sequence[int]) -> list[float]:
    problems, responses = [pair.problem for pair in pairs], [pair.response for pair in pairs]
    return [grade.score for grade in reward.grade(problems, responses, lengths)]


def _others(reward: Grader) -> Mapping[str, Grader]:
    """The rewards with default settings that compare responses with right answers."""
    # Here and below: what only a run needs whose rewards are low.
    from chord.rewards import Math, Numeric, Text, Verifier

    found: dict[str, Grader] = {"numeric": Numeric(), "text": Text(), "exact": Verifier()}
    if find_spec("math_verify") is not None:
        found["math"] = Math()
    return {name: each for name, each in found.items() if type(each) is not type(reward)}


def _fields(config: TrainConfig, pairs: Sequence[Pair]) -> list[str]:
    """The fields that could hold the right answer instead: text or numbers in each row."""
    from chord.data.text import TextConfig

    if not isinstance(config.data, TextConfig):
        return []
    used = vars(config.data.columns).values()
    rows = [pair.problem.details for pair in pairs]
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        return []
    return [
        name
        for name in rows[0]
        if name not in used and all(isinstance(row.get(name), str | int | float) for row in rows)
    ]


def _with_answer(pair: Pair, field: str) -> Pair:
    answer = str(pair.problem.details[field])
    return replace(pair, problem=replace(pair.problem, answer=answer, others=()))


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def _right(scores: Sequence[float]) -> str:
    return f"{sum(score > GOOD for score in scores)} of {len(scores)}"
