"""What a user is told of a run before its first step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from chord.config.consistency import scores_answers, unread_teacher
from chord.config.root import TrainConfig
from chord.data.base import SPLITS
from chord.io.printing import say
from chord.io.reading import printable
from chord.models.base import ENDLESS
from chord.run.directory import RunDirectory
from chord.run.files import METRICS, read_rows
from chord.run.gaps import gaps

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.run.checkpoint import Saved


def tell_length(config: TrainConfig, run: RunDirectory, saved: Saved) -> None:
    """Say what changes in a run whose length does, before it is done."""
    # Here and below: only runs that have something to tell need it.
    from rich.console import Console

    from chord.run.identity.lengthening import followers, switched, table

    old = run.lengths[-1][1] if run.lengths else config.steps
    if old == config.steps or not saved.completed:
        return
    before = run.of_length(old)
    earlier = before.checked()
    found = table(earlier, config, saved.completed, saved.schedule)
    if found is not None:
        Console().print(found)
    moved = switched(earlier, config)
    for line in (
        *([] if moved is None else [moved]),
        *followers(before.settings(), run.settings()),
    ):
        say(line)


def tell_lost(run: RunDirectory, completed: int) -> None:
    """Say what of the steps before those that a resumed run takes is not on record any more."""
    lost = list(gaps(run.path, run.config, completed))
    if not completed and read_rows(run.path / METRICS):
        lost = ["has no checkpoint; the run begins again at its first step"]
    for each in lost:
        say(f"warning: resume={run.path}: {each}", file=sys.stderr)


def introduce(config: TrainConfig, data: Data, overlap: str, context: int) -> None:
    """What a user should know before the first step; `context`: the model's."""
    for line in described(config, data, overlap, context):
        say(line)
    if config.data.preview:
        tell_examples(config, data, config.data.preview)


def described(config: TrainConfig, data: Data, overlap: str, context: int | None) -> list[str]:
    """Lines that describe the data, and the `overlap` of their parts; `context`: the model's."""
    note = config.weighting.note
    report = data.report()
    lines = (
        *([] if note is None else [note]),
        *_unchosen(config),
        *report,
        *_unused(config, data),
        *_retained(data),
        *_lengths(config, data, context),
        # Of what RL draws nothing is learnt in SFT alone.
        *([overlap] if scores_answers(config) else []),
    )
    return [printable(line) for line in lines]


def _unchosen(config: TrainConfig) -> list[str]:
    """The test bed for a language model: that is most likely the default, and not chosen."""
    chosen = [getattr(group, "option", None) for group in (config.model, config.data)]
    if chosen != ["hf", "testbed"]:
        return []
    return [
        "data=testbed: the language model is trained on the products of the test bed; data=jsonl "
        "trains it on files of your own"
    ]


def _unused(config: TrainConfig, data: Data) -> list[str]:
    """A teacher, and right answers, that training does without."""
    teacher = unread_teacher(config)
    found = [] if teacher is None else [teacher]
    if data.unanswered is None and not scores_answers(config):
        found.append(
            "SFT alone: training does not use the right answers; evaluations score with them"
        )
    return found


def _retained(data: Data) -> list[str]:
    """The skills of `evaluation.retained`, with the number of their problems."""
    return [
        f"retained skill {skill.name}: "
        + ", ".join(f"{len(skill.problems[split])} {split}" for split in SPLITS)
        for skill in data.skills
    ]


def _lengths(config: TrainConfig, data: Data, context: int | None) -> list[str]:
    """The lengths of what is trained on and of what is held out."""
    rollout, evaluation = config.rollout.max_new_tokens, config.evaluation.max_new_tokens
    context = None if context == ENDLESS else context
    found = {
        "tokens of": data.lengths().said(
            limit="rollout.max_new_tokens", most=rollout, context=context
        ),
        "held out, tokens of": data.held_out_lengths().said(
            limit="evaluation.max_new_tokens", most=evaluation, context=context
        ),
    }
    lines = [f"{name} {said}" for name, said in found.items() if said]
    if context is not None:
        longest = data.longest_prompt
        lines.append(
            f"the model's context of {context} leaves {context - longest} tokens after the longest "
            f"prompt, of {longest}, for rollout.max_new_tokens={rollout} and "
            f"evaluation.max_new_tokens={evaluation}"
        )
    return lines


def tell_examples(config: TrainConfig, data: Data, count: int) -> None:
    """Show the first examples that a run trains on."""
    from rich.console import Console

    from chord.data.preview import preview

    console = Console(soft_wrap=True, highlight=False)
    for text in preview(data, config.seed, count, known=config.reward.known):
        console.print(text)
