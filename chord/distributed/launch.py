"""Which of a run's processes this one is, before they know each other; imports nothing large.

Lightning starts the command once more for each further process; `torchrun` and `srun` start all
of them. Either way the environment numbers them.
"""

from __future__ import annotations

import os

NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
# A scheduler numbers processes that have nothing to do with each other, too.
SURE = NUMBERS[:-1]


def first(names: tuple[str, ...] = NUMBERS) -> bool:
    """Whether the environment numbers this process 0, or not at all."""
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


def leads(strategy: str) -> bool:
    """Whether this process writes the run directory and talks to the user."""
    return strategy == "auto" or first()


def started_by_the_first(arguments: list[str]) -> bool:
    """Whether Lightning has started this process for one that waits for it."""
    return any(word.startswith("hydra.job.name=train_ddp_process_") for word in arguments)
