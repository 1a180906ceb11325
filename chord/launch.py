"""Which of a run's processes this one is, before they know each other; imports nothing large.

Lightning starts the command once more for each further process; `torchrun` and `srun` start all
of them. Either way the environment numbers them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from chord.overrides import setting

if TYPE_CHECKING:
    from chord.trainer import TrainerConfig

NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
# A scheduler numbers processes that have nothing to do with each other, too.
SURE = NUMBERS[:-1]
RUN_DIR = "hydra.run.dir="
NOTHING_WRITTEN = (
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
)


def first(names: tuple[str, ...] = NUMBERS) -> bool:
    """Whether the environment numbers this process 0, or not at all."""
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


def leads(trainer: TrainerConfig) -> bool:
    """Whether this process writes the run directory and talks to the user."""
    return trainer.strategy == "auto" or first()


def started_by_the_first(arguments: list[str]) -> bool:
    """Whether Lightning has started this process for one that waits for it."""
    return any(word.startswith("hydra.job.name=train_ddp_process_") for word in arguments)


def follow(arguments: list[str]) -> list[str]:
    """The arguments of a process other than the first: Hydra writes nothing for it."""
    # Its numbers and its messages are the first one's.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends
    if started_by_the_first(arguments):
        # Lightning has put quotes around the run directory, whatever is in its name.
        at = max(n for n, word in enumerate(arguments) if word.startswith(RUN_DIR))
        path = arguments[at].removeprefix(RUN_DIR).strip('"')
        arguments = [*arguments[:at], setting("hydra.run.dir", path), *arguments[at + 1 :]]
    return [*arguments, *NOTHING_WRITTEN]
