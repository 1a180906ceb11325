"""`dry_run=true`: what a run would train on is read, graded and shown, and nothing is trained.

No weights are loaded, no file is written, and no tracker is opened. Whatever would stop the run
before its first step because of its data stops it here too, in the same line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chord.config.consistency import check_trainable, overlap_report, reads_teacher
from chord.config.root import TrainConfig
from chord.data.text import TextConfig
from chord.distributed.launch import leads
from chord.io.printing import say
from chord.io.reading import printable
from chord.io.signs import Signs
from chord.run.experts import grade_experts, tell_rewards
from chord.run.telling import described, tell_examples

if TYPE_CHECKING:
    from chord.data.base import Data
    from chord.run.experts import Graded

EXAMPLES = 10
"""The number of examples, unless `data.preview` says another."""


def dry_run(config: TrainConfig) -> None:
    """Show what a run with this configuration would train on; raises ConfigError as it would."""
    if not leads(config.trainer.strategy):
        return
    check_trainable(config)
    # Here and below: torch takes seconds to load, and mistakes are said before.
    from chord.run.build import check_answers, check_start, open_data

    signs = Signs("reading the data")
    with signs.shown(), open_data(config) as data:
        tell_sources(config, data)

        def fit() -> int | None:
            signs.now("measuring the data")
            return check_sizes(config, data)

        def look() -> Graded | None:
            check_answers(config, data)
            signs.now("scoring the expert responses")
            return grade_experts(config, data)

        context, graded = check_start(config, data, fit=fit, look=look)
        signs.now("measuring the data")
        title("data")
        for line in described(config, data, overlap_report(data), context):
            say(f"  {line}")
        if context is None:
            say("  the context is known only with the weights, so no length is compared with it")
        tell_prompt(config, data)
        title("examples")
        tell_examples(config, data, config.data.preview or EXAMPLES)
        title("reward")
        if graded is None:
            skip = config.data.expert_check == "skip"
            why = "data.expert_check=skip" if skip else "there is none to a problem with an answer"
            say(f"no expert response was scored: {why}")
        tell_rewards(config, data, graded)
    say("\ndry_run=true: nothing was trained or written")


def title(text: str) -> None:
    """Begin a section."""
    say(f"\n{text}")


def tell_sources(config: TrainConfig, data: Data) -> None:
    """Which files were read, and how their fields were understood."""
    from chord.evaluation.retained import retained_files

    title("sources")
    for name, path in {**config.data.files(), **retained_files(config.evaluation)}.items():
        say(printable(f"  {name}={path}"))
    for line in (*data.sources(), *filter(None, (skill.understood for skill in data.skills))):
        say(printable(f"  {line}"))


def check_sizes(config: TrainConfig, data: Data) -> int | None:
    """Make the data fit models and caches that are only looked at; the policy's context.

    None where only the weights tell it.
    """
    from chord.run.build import check_shapes
    from chord.step.demonstrations import open_cache

    shape = config.model.shape()
    if shape is not None:
        teacher = config.teacher.shape() if reads_teacher(config) else None
        check_shapes(config, shape, teacher, data)
    open_cache(config, data)
    return None if shape is None else shape.context


def tell_prompt(config: TrainConfig, data: Data) -> None:
    """The first RL problem as the policy is asked it."""
    from rich.console import Console

    from chord.data.preview import example

    title("prompt of the first RL problem")
    if isinstance(config.data, TextConfig):
        say(printable(f"  data.prompt_template={config.data.prompt_template}"))
    problem = data.problems(0, config.seed, 1)[0]
    console = Console(soft_wrap=True, highlight=False)
    console.print(example(data.tokenizer, problem, None, known=config.reward.known))
