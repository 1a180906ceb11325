"""Which of a run's processes this one is, before they are connected; imports nothing large.

Lightning starts the command again for each further process; `torchrun` and `srun` start all of
them. Either way, environment variables number the processes.
"""

from __future__ import annotations

import os

NUMBERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
# Without SLURM's: it also numbers processes that have nothing to do with each other.
SURE = NUMBERS[:-1]


def first(names: tuple[str, ...] = NUMBERS) -> bool:
    """Return whether the environment gives this process the number 0, or none."""
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


def leads(strategy: str) -> bool:
    """Return whether this process writes the run directory and the messages to the user."""
    return strategy == "auto" or first()


def started_by_the_first(arguments: list[str]) -> bool:
    """Return whether Lightning started this process from the run's first, which waits for it."""
    return any(word.startswith("hydra.job.name=train_ddp_process_") for word in arguments)
