"""What another length of a run changes, found by asking both configurations for the same steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from chord.schedules import Step
from chord.step.learning_rates import learning_rates

if TYPE_CHECKING:
    from rich.table import Table

    from chord.config.root import TrainConfig
    from chord.schedules import State

Course = Callable[[int], float]
MOST = 2000
"""Steps that are compared at most; of a longer run one of every few."""
IN_COURSES = ("schedule", "optimizer", "sft_optimizer", "rollout")
"""Groups whose `total_steps` shows in a course."""


def courses(config: TrainConfig, state: State | None) -> dict[str, Course]:
    """All that a run sets anew in each step, as functions of the step.

    `state`: what the schedule has seen so far, if it is in a closed loop.
    """
    found: dict[str, Course] = {
        "alpha": lambda step: config.schedule(step, state),
        "lr": lambda step: learning_rates(config, step)[0][0],
    }
    if config.sft_optimizer is not None:
        found["lr of sft_optimizer"] = lambda step: learning_rates(config, step)[0][1]
    if config.rollout.prefix in ("binomial", "uniform"):
        found["p_t of rollout.prefix"] = config.rollout.prefixes.share
    return found


def altered(
    old: TrainConfig, new: TrainConfig, completed: int, state: State | None = None
) -> dict[str, list[float]]:
    """The courses that the new length changes from step `completed` on, by name.

    Of each: its value in the last step taken (in the first, where none was), in the next one under
    the old length and under the new, in the last step of the old length and in that of the new.
    """
    before, after = courses(old, state), courses(new, state)
    steps = range(completed, new.steps, max(1, (new.steps - completed) // MOST))
    return {
        name: [
            before[name](max(0, completed - 1)),
            before[name](completed),
            course(completed),
            before[name](old.steps - 1),
            course(new.steps - 1),
        ]
        for name, course in after.items()
        if any(course(step) != before[name](step) for step in steps)
    }


def table(
    old: TrainConfig, new: TrainConfig, completed: int, state: State | None = None
) -> Table | None:
    """`altered` for the terminal; None where nothing is."""
    # Only a run that is lengthened shows a table.
    from rich.box import HORIZONTALS
    from rich.table import Table

    rows = altered(old, new, completed, state)
    if not rows:
        return None
    title = f"{old.steps} steps become {new.steps}, after {completed}"
    found = Table(box=HORIZONTALS, title=title, title_justify="left")
    columns = [
        f"step {max(0, completed - 1)}",
        f"step {completed} of {old.steps}",
        f"step {completed} of {new.steps}",
        f"the last of {old.steps}",
        f"the last of {new.steps}",
    ]
    # A run that was at its end had no such step.
    shown = [place for place in range(len(columns)) if place != 1 or completed < old.steps]
    found.add_column("")
    for place in shown:
        found.add_column(columns[place], justify="right")
    for name, values in rows.items():
        found.add_row(name, *(f"{values[place]:.4g}" for place in shown))
    return found


def followers(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`evaluation.every: 24, now 36` for settings that follow `steps`, of resolved settings."""
    for key, value in new.items():
        name, known = f"{prefix}{key}", old.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            yield from followers(known, value, f"{name}.")
        elif value != known and name != "steps" and not _in_course(name):
            yield f"{name}: {known}, now {value}"


def switched(old: TrainConfig, new: TrainConfig) -> str | None:
    """Where RL begins in a run of two phases, if that moves."""
    if not (isinstance(old.schedule, Step) and isinstance(new.schedule, Step)):
        return None
    before, after = old.schedule.switch, new.schedule.switch
    return None if before == after else f"RL begins at step {after}, no longer at step {before}"


def _in_course(name: str) -> bool:
    group, _, setting = name.partition(".")
    return setting == "total_steps" and group in IN_COURSES
